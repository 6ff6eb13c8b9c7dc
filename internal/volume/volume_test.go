package volume

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
	"golang.org/x/sys/unix"
)

func newStore(t testing.TB) *Store {
	return &Store{Dir: t.TempDir(), Now: func() time.Time { return time.Unix(1e9, 0) }}
}

func data(version int) system.Data {
	return system.Data{Path: "/var/lib/a-b", Version: version, Mode: 0o2750, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Snapshots: system.Snapshots{Keep: 2}}
}

// use opens the volume as a container would, writes a file when text is not
// empty, and returns what the file held.
func use(t testing.TB, s *Store, d system.Data, text string) string {
	t.Helper()
	h, err := s.Open("day", "probe", d)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	file := filepath.Join(h.Dir, "f")
	was, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if text != "" {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return string(was)
}

func list(t testing.TB, s *Store) wire.Volume {
	t.Helper()
	all, err := s.Volumes(context.Background())
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v; want one volume", all, err)
	}
	return all[0]
}

var probe = Name{"day", "probe", "/var/lib/a-b"}

func TestVersions(t *testing.T) {
	s := newStore(t)
	use(t, s, data(1), "one")
	if got := use(t, s, data(1), ""); got != "one" {
		t.Errorf("the next start sees %q", got)
	}
	if v := list(t, s); len(v.Snapshots) != 0 {
		t.Errorf("the same version made a snapshot: %+v", v)
	}
	if got := use(t, s, data(2), "two"); got != "one" {
		t.Errorf("version 2 sees %q", got)
	}
	if v := list(t, s); v.Version != 2 || len(v.Snapshots) != 1 || v.Snapshots[0].Version != 1 {
		t.Errorf("after the upgrade: %+v", v)
	}
	if why, err := s.Foresee("day", "probe", data(1)); err != nil || !strings.Contains(why, "has version 2, and it wants 1") {
		t.Errorf("foreseen %q, %v", why, err)
	}
	for _, d := range []system.Data{data(2), data(3), {Path: "/elsewhere", Version: 1}} {
		if why, err := s.Foresee("day", "probe", d); err != nil || why != "" {
			t.Errorf("foreseen of version %d: %q, %v", d.Version, why, err)
		}
	}
	_, err := s.Open("day", "probe", data(1))
	if err == nil || !strings.Contains(err.Error(), "has version 2, the container wants 1") {
		t.Errorf("an older version got %v", err)
	}
	older := data(1)
	older.OnOlder = system.RestoreOlder
	if why, err := s.Foresee("day", "probe", older); err != nil || why != "" {
		t.Errorf("foreseen with a snapshot: %q, %v", why, err)
	}
	if got := use(t, s, older, "one again"); got != "one" {
		t.Errorf("restored: %q", got)
	}
	v := list(t, s)
	if v.Version != 1 || len(v.Snapshots) != 2 || v.Snapshots[1].Version != 2 || v.Snapshots[1].Reason != string(BeforeDowngrade) {
		t.Errorf("after the downgrade: %+v", v)
	}
	if err := s.Restore(probe, v.Snapshots[1].Number); err != nil {
		t.Fatal(err)
	}
	if got := use(t, s, data(2), ""); got != "two" {
		t.Errorf("restored: %q", got)
	}
}

func TestNoSnapshotIsOldEnough(t *testing.T) {
	s := newStore(t)
	use(t, s, data(3), "x")
	d := data(2)
	d.OnOlder = system.RestoreOlder
	if why, err := s.Foresee("day", "probe", d); err != nil || why == "" {
		t.Errorf("foreseen %q, %v", why, err)
	}
	if _, err := s.Open("day", "probe", d); err == nil || !strings.Contains(err.Error(), "no snapshot is as old") {
		t.Errorf("got %v", err)
	}
}

func TestRetention(t *testing.T) {
	s := newStore(t)
	for v := 1; v <= 5; v++ {
		use(t, s, data(v), strings.Repeat("x", v))
	}
	v := list(t, s)
	if len(v.Snapshots) != 2 || v.Snapshots[0].Version != 3 || v.Snapshots[1].Version != 4 {
		t.Errorf("kept %+v", v.Snapshots)
	}
	entries, err := os.ReadDir(s.place(probe).dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("%d generations on the disk, %v; want 3", len(entries), err)
	}
}

func TestBudget(t *testing.T) {
	s := newStore(t)
	use(t, s, data(1), strings.Repeat("x", 64<<10))
	d := data(2)
	d.Snapshots.Budget = 4 << 10
	if _, err := s.Open("day", "probe", d); err == nil || !strings.Contains(err.Error(), "exceed the budget") {
		t.Fatalf("got %v", err)
	}
	if got := use(t, s, data(1), ""); len(got) != 64<<10 {
		t.Errorf("the refused upgrade changed something: %d bytes", len(got))
	}
	d.Snapshots.Budget = 100 << 10
	use(t, s, d, "")
	d.Version = 3
	use(t, s, d, "")
	if v := list(t, s); len(v.Snapshots) != 1 || v.Snapshots[0].Version != 2 {
		t.Errorf("the budget keeps %+v", v.Snapshots)
	}
}

// TestCuts repeats a change after a cut at every write: what is on the disk
// before the record is written, in every combination, does not matter.
func TestCuts(t *testing.T) {
	s := newStore(t)
	use(t, s, data(1), "one")
	p := s.place(probe)
	// An upgrade that was cut: half of generation 2 is there, no record names it.
	if err := os.Mkdir(p.generation(2), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.generation(2), "f"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := use(t, s, data(2), "two"); got != "one" {
		t.Errorf("after a cut: %q", got)
	}
	snapshot, err := os.ReadFile(filepath.Join(p.generation(2), "f"))
	if err != nil || string(snapshot) != "one" {
		t.Errorf("the snapshot holds %q, %v", snapshot, err)
	}
	// A record that was being written is not read.
	if err := os.WriteFile(filepath.Join(filepath.Dir(p.dir), ".durable-123"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := use(t, s, data(2), ""); got != "two" {
		t.Errorf("after a cut record: %q", got)
	}
	// A first start that was cut before the record.
	other := data(1)
	other.Path = "/other"
	half := s.place(Name{"day", "probe", "/other"})
	if err := os.MkdirAll(filepath.Join(half.generation(1), "left"), 0o700); err != nil {
		t.Fatal(err)
	}
	h, err := s.Open("day", "probe", other)
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(h.Dir); err != nil || len(entries) != 0 {
		t.Errorf("a first generation with %v, %v", entries, err)
	}
}

func TestInUse(t *testing.T) {
	s := newStore(t)
	h, err := s.Open("day", "probe", data(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Import(probe, 0, bytes.NewReader(nil)); !errors.Is(err, ErrInUse) {
		t.Errorf("importing into data in use: %v", err)
	}
	if v := list(t, s); !v.InUse {
		t.Errorf("not in use: %+v", v)
	}
	h.Close()
	h.Close()
	if v := list(t, s); v.InUse {
		t.Errorf("still in use: %+v", v)
	}
}

// fill makes one of everything that a volume can hold.
func fill(t testing.TB, dir string) {
	t.Helper()
	old := time.Unix(1e9, 123456789)
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "d"), 0o750),
		os.WriteFile(filepath.Join(dir, "d/file"), []byte("content"), 0o640),
		os.Link(filepath.Join(dir, "d/file"), filepath.Join(dir, "hard")),
		os.Symlink("d/../../outside", filepath.Join(dir, "soft")),
		unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
		os.WriteFile(filepath.Join(dir, "holes"), nil, 0o600),
		os.Truncate(filepath.Join(dir, "holes"), 1<<20),
		os.Chmod(filepath.Join(dir, "d/file"), 0o640|os.ModeSetuid),
		os.Chtimes(filepath.Join(dir, "d/file"), old, old),
		os.Chtimes(filepath.Join(dir, "d"), old, old),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setxattr(filepath.Join(dir, "d/file"), "user.note", []byte("kept"), 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Fatal(err)
	}
}

// describe is the archive of a directory as text, for comparison.
func describe(t testing.TB, dir string) string {
	t.Helper()
	var b bytes.Buffer
	if err := pack(dir, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCopyKeepsEverything(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	fill(t, from)
	if err := copyTree(from, to, 0); err != nil {
		t.Fatal(err)
	}
	if describe(t, from) != describe(t, to) {
		t.Error("the copy differs")
	}
	info, err := os.Stat(filepath.Join(to, "d/file"))
	if err != nil || info.Mode()&os.ModeSetuid == 0 {
		t.Errorf("%v, %v; want setuid", info, err)
	}
	if _, bytes, err := measure(to); err != nil || bytes > 512<<10 {
		t.Errorf("the hole was filled: %d bytes, %v", bytes, err)
	}
}

func TestExportAndImport(t *testing.T) {
	s := newStore(t)
	use(t, s, data(1), "current")
	other := t.TempDir()
	fill(t, other)
	archive := describe(t, other)
	if err := s.Import(probe, 0, strings.NewReader(archive)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Export(probe, 0, &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != archive {
		t.Error("what was imported is exported otherwise")
	}
	v := list(t, s)
	if len(v.Snapshots) != 1 || v.Snapshots[0].Reason != string(BeforeImport) {
		t.Fatalf("snapshots %+v", v.Snapshots)
	}
	out.Reset()
	if err := s.Export(probe, v.Snapshots[0].Number, &out); err != nil || !strings.Contains(out.String(), "current") {
		t.Errorf("the snapshot's archive: %v", err)
	}
	if err := s.Export(probe, 99, io.Discard); err == nil {
		t.Error("a snapshot that is not there was exported")
	}
}

func TestImportRefuses(t *testing.T) {
	for want, headers := range map[string][]tar.Header{
		"lies outside":          {{Name: "../x", Typeflag: tar.TypeReg}},
		"links outside":         {{Name: "x", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}},
		"is of type":            {{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
		"escapes":               {{Name: "up", Typeflag: tar.TypeSymlink, Linkname: "/"}, {Name: "up/x", Typeflag: tar.TypeReg}},
		"more than the data's":  {{Name: "big", Typeflag: tar.TypeReg, Size: 2 << 20}},
		"reading the archive: ": nil,
	} {
		t.Run(want, func(t *testing.T) {
			s := newStore(t)
			d := data(1)
			d.Size = 1 << 20
			use(t, s, d, "kept")
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, h := range headers {
				h.Mode, h.Uid, h.Gid = 0o644, os.Getuid(), os.Getgid()
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(make([]byte, h.Size)); err != nil {
					t.Fatal(err)
				}
			}
			if headers == nil {
				b.WriteString(strings.Repeat("no archive at all ", 100))
			}
			if err := s.Import(probe, 0, &b); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
			if got := use(t, s, d, ""); got != "kept" {
				t.Errorf("a refused import left %q", got)
			}
			if v := list(t, s); len(v.Snapshots) != 0 {
				t.Errorf("a refused import left %+v", v)
			}
		})
	}
}

func TestTransfer(t *testing.T) {
	s := newStore(t)
	use(t, s, data(1), strings.Repeat("content ", 300_000))
	c := &Control{Store: s}
	defer c.Close()
	ctx := context.Background()
	name := wire.VolumeName(probe)
	x, err := c.Export(ctx, wire.ExportRequest{VolumeName: name})
	if err != nil {
		t.Fatal(err)
	}
	var archive []byte
	for end := false; !end; {
		if _, err := c.Read(ctx, wire.ReadRequest{ID: x.ID, Offset: int64(len(archive)) + 1}); err == nil {
			t.Fatal("a read at the wrong offset was answered")
		}
		p, err := c.Read(ctx, wire.ReadRequest{ID: x.ID, Offset: int64(len(archive))})
		if err != nil {
			t.Fatal(err)
		}
		archive, end = append(archive, p.Data...), p.End
	}
	use(t, s, data(1), "other")
	if x, err = c.Import(ctx, wire.ImportRequest{VolumeName: name}); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(archive); {
		n := min(wire.MaxWritePiece, len(archive)-at)
		if err := c.Write(ctx, wire.Piece{ID: x.ID, Offset: int64(at), Data: archive[at : at+n], End: at+n == len(archive)}); err != nil {
			t.Fatal(err)
		}
		at += n
	}
	if got := use(t, s, data(1), ""); len(got) != 2_400_000 {
		t.Errorf("%d bytes came back", len(got))
	}
	if x, err = c.Import(ctx, wire.ImportRequest{VolumeName: name}); err != nil {
		t.Fatal(err)
	}
	if err := c.Abort(ctx, x); err != nil {
		t.Fatal(err)
	}
	if got := use(t, s, data(1), ""); len(got) != 2_400_000 {
		t.Errorf("after an aborted import: %d bytes", len(got))
	}
	if x, err = c.Export(ctx, wire.ExportRequest{VolumeName: wire.VolumeName{Configuration: "night"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(ctx, wire.ReadRequest{ID: x.ID}); err == nil || !strings.Contains(err.Error(), "there is no data") {
		t.Errorf("reading what is not there: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"format":1,"path":"/x","version":2,"current":3,"last":4,"snapshots":[{"generation":4,"version":1,"bytes":1,"made":"2026-01-01T00:00:00Z","reason":"before upgrade"}]}`))
	f.Add([]byte(`{"format":1,"current":1,"last":1,"snapshots":[{"generation":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err == nil && (r.Current < 1 || r.Current > r.Last) {
			t.Errorf("accepted %+v", r)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	dir := f.TempDir()
	fill(f, dir)
	f.Add([]byte(describe(f, dir)))
	f.Fuzz(func(t *testing.T, b []byte) {
		base := t.TempDir()
		_ = unpack(bytes.NewReader(b), base, filepath.Join(base, "to"), 1<<20, 0) // must neither panic nor leave base
	})
}
