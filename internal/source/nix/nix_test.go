package nix_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/source/nix"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
	"github.com/instar-os/instar/internal/source/nix/nixtest"
	"github.com/instar-os/instar/internal/source/nix/s3"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/tree"
)

// The tree of nixtest.Store's closure, whatever way it came.
const wantTree = `. dir 0755
nix dir 0755
nix/store dir 0755
nix/store/00000000000000000000000000000aaa-tool-1.2 dir 0555
nix/store/00000000000000000000000000000aaa-tool-1.2/bin dir 0555
nix/store/00000000000000000000000000000aaa-tool-1.2/bin/alias symlink 0777 -> tool
nix/store/00000000000000000000000000000aaa-tool-1.2/bin/tool file 0555 78
nix/store/00000000000000000000000000000aaa-tool-1.2/share dir 0555
nix/store/00000000000000000000000000000aaa-tool-1.2/share/nothing file 0444 0
nix/store/00000000000000000000000000000aaa-tool-1.2/share/self file 0444 70056
nix/store/00000000000000000000000000000bbb-lib-3 dir 0555
nix/store/00000000000000000000000000000bbb-lib-3/data symlink 0777 -> /nix/store/00000000000000000000000000000ccc-data
nix/store/00000000000000000000000000000bbb-lib-3/lib dir 0555
nix/store/00000000000000000000000000000bbb-lib-3/lib/run file 0555 400000
nix/store/00000000000000000000000000000ccc-data file 0444 10
`

func dump(t *tree.Tree) string {
	var b strings.Builder
	for p, e := range t.All() {
		fmt.Fprintf(&b, "%s %v %04o", p, e.Kind, e.Mode)
		if e.Kind == tree.File {
			fmt.Fprintf(&b, " %d", e.Size)
		}
		if e.Target != "" {
			fmt.Fprintf(&b, " -> %s", e.Target)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func openStore(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func client(t testing.TB) *fetch.Client {
	return &fetch.Client{Dir: t.TempDir(), Attempts: 2, Wait: func(context.Context, time.Duration) error { return nil }}
}

func open(t testing.TB, word string, o nix.Options) nix.Place {
	t.Helper()
	p, err := nix.Open(word, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// all resolves the closure of Tool and reads it.
func all(t testing.TB, trust nix.Trust, places ...nix.Place) (*tree.Tree, []narinfo.Info, error) {
	t.Helper()
	infos, err := nix.Resolve(t.Context(), places, nixtest.Tool, trust)
	if err != nil {
		return nil, nil, err
	}
	job := nix.Job{Places: places, Objects: openStore(t), Parallel: 3}
	got, err := job.Paths(t.Context(), infos)
	return got, infos, err
}

func same(t *testing.T, got *tree.Tree, infos []narinfo.Info, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if len(infos) != 3 || dump(got) != wantTree {
		t.Errorf("%d paths, the tree is\n%s", len(infos), dump(got))
	}
}

func trusted(t testing.TB) nix.Trust {
	return nix.Trust{Keys: []narinfo.Key{nixtest.Secret(t, "test-1").Key()}}
}

func TestCompressions(t *testing.T) {
	root := nixtest.Store(t)
	infos := nixtest.Infos(t, root)
	for _, c := range []string{"none", "xz", "zstd", "bzip2", "gzip"} {
		t.Run(c, func(t *testing.T) {
			dir := nixtest.Cache(t, root, c, nixtest.Secret(t, "test-1"), infos)
			got, infos, err := all(t, trusted(t), open(t, "file:"+dir, nix.Options{}))
			same(t, got, infos, err)
		})
	}
	dir := nixtest.Cache(t, root, "none", nil, infos)
	edit(t, dir, nixtest.Lib, "Compression: none", "Compression: br")
	if _, _, err := all(t, nix.Trust{Unsigned: true}, open(t, "file://"+dir, nix.Options{})); err == nil || !strings.Contains(err.Error(), `"br"`) {
		t.Errorf("an unknown compression: %v", err)
	}
}

// edit changes a .narinfo of a cache.
func edit(t testing.TB, dir string, n narinfo.Name, old, new string) {
	t.Helper()
	name := filepath.Join(dir, n.Hash()+".narinfo")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(old)) {
		t.Fatalf("%s has no %q", name, old)
	}
	if err := os.WriteFile(name, bytes.Replace(text, []byte(old), []byte(new), 1), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What a cache says is believed by signature alone, unless the definition says
// otherwise, and never against what is pinned.
func TestTrust(t *testing.T) {
	root := nixtest.Store(t)
	infos := nixtest.Infos(t, root)
	for name, c := range map[string]struct {
		secret *narinfo.Secret
		change func(dir string)
		trust  nix.Trust
		want   string
	}{
		"unsigned":  {nil, nil, trusted(t), "nobody has signed it"},
		"accepted":  {nil, nil, nix.Trust{Unsigned: true}, ""},
		"other key": {nixtest.Secret(t, "test-2"), nil, trusted(t), "signed by test-2"},
		"no references": {nixtest.Secret(t, "test-1"), func(dir string) {
			edit(t, dir, nixtest.Lib, "References: "+string(nixtest.Data), "References: ")
		}, trusted(t), "no key of the definition has signed it"},
		"other size": {nixtest.Secret(t, "test-1"), func(dir string) {
			edit(t, dir, nixtest.Data, "NarSize: 1", "NarSize: 2")
		}, trusted(t), "no key"},
		"missing": {nixtest.Secret(t, "test-1"), func(dir string) {
			os.Remove(filepath.Join(dir, nixtest.Data.Hash()+".narinfo"))
		}, trusted(t), "none of file:"},
		"about another": {nixtest.Secret(t, "test-1"), func(dir string) {
			text, _ := os.ReadFile(filepath.Join(dir, nixtest.Lib.Hash()+".narinfo"))
			os.WriteFile(filepath.Join(dir, nixtest.Data.Hash()+".narinfo"), text, 0o644)
		}, trusted(t), "the answer is about"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := nixtest.Cache(t, root, "none", c.secret, infos)
			if c.change != nil {
				c.change(dir)
			}
			got, infos, err := all(t, c.trust, open(t, "file:"+dir, nix.Options{}))
			if c.want == "" {
				same(t, got, infos, err)
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// An archive that is not what is pinned is refused, whoever gives it.
func TestPinned(t *testing.T) {
	root := nixtest.Store(t)
	infos := nixtest.Infos(t, root)
	for name, c := range map[string]struct {
		change func(in *narinfo.Info)
		file   string
		want   string
	}{
		"hash":       {func(in *narinfo.Info) { in.NarHash[0] ^= 1 }, "", "pinned is sha256:"},
		"longer":     {func(in *narinfo.Info) { in.NarSize -= 8 }, "", "more than"},
		"shorter":    {func(in *narinfo.Info) { in.NarSize += 8 }, "", "pinned are"},
		"references": {func(in *narinfo.Info) { in.References = []narinfo.Name{nixtest.Tool} }, "", "which its references do not name"},
		"damage":     {nil, "bin/tool", "NarHash"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := nixtest.Cache(t, root, "none", nil, infos)
			pins := slices.Clone(infos)
			at := slices.IndexFunc(pins, func(in narinfo.Info) bool { return in.Name == nixtest.Tool })
			if c.change != nil {
				c.change(&pins[at])
			} else {
				text, _ := os.ReadFile(filepath.Join(dir, nixtest.Tool.Hash()+".narinfo"))
				in, _ := narinfo.Parse(text)
				b, _ := os.ReadFile(filepath.Join(dir, in.URL))
				os.WriteFile(filepath.Join(dir, in.URL), bytes.Replace(b, []byte("exec /nix"), []byte("EXEC /nix"), 1), 0o644)
			}
			job := nix.Job{Places: []nix.Place{open(t, "file:"+dir, nix.Options{})}, Objects: openStore(t), Parallel: 2}
			if _, err := job.Paths(t.Context(), pins); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			// Another place that has it right makes up for it.
			job.Places = append(job.Places, open(t, "store:"+root, nix.Options{}))
			if _, err := job.Paths(t.Context(), pins); c.change == nil && err != nil {
				t.Error(err)
			}
		})
	}
}

func serve(t testing.TB, dir string, count *atomic.Int64) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestHTTP(t *testing.T) {
	root := nixtest.Store(t)
	dir := nixtest.Cache(t, root, "xz", nixtest.Secret(t, "test-1"), nixtest.Infos(t, root))
	var asked atomic.Int64
	f := client(t)
	word := serve(t, dir, &asked) + "/"
	place := open(t, word, nix.Options{Fetch: f})
	got, infos, err := all(t, trusted(t), open(t, "file:"+t.TempDir(), nix.Options{}), place)
	same(t, got, infos, err)
	// Again without a network.
	f = &fetch.Client{Dir: f.Dir, Offline: true}
	before := asked.Load()
	got, infos, err = all(t, trusted(t), open(t, word, nix.Options{Fetch: f}))
	same(t, got, infos, err)
	if asked.Load() != before {
		t.Error("offline, the cache was asked")
	}
	edit(t, dir, nixtest.Tool, "URL: nar/", "URL: http://elsewhere.example/")
	if _, _, err := all(t, trusted(t), open(t, word, nix.Options{Fetch: client(t)})); err == nil || !strings.Contains(err.Error(), "no place within the cache") {
		t.Errorf("an archive elsewhere: %v", err)
	}
}

// bucket serves a directory to those who sign as S3 demands it. It computes the
// signature again from what arrived, with the headers that are named as signed.
func bucket(t testing.TB, dir string, c s3.Credentials) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		again, _ := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
		if v := r.Header.Get("Range"); v != "" {
			again.Header.Set("Range", v)
		}
		s3.Sign(again, c, "eu-test-1", at)
		if err != nil || time.Since(at).Abs() > 15*time.Minute || r.Header.Get("Authorization") != again.Header.Get("Authorization") ||
			r.Header.Get("X-Amz-Security-Token") != c.Session {
			http.Error(w, "SignatureDoesNotMatch", http.StatusForbidden)
			return
		}
		http.StripPrefix("/caches/team a", http.FileServer(http.Dir(dir))).ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return "s3://caches/team%20a?scheme=http&region=eu-test-1&endpoint=" + strings.TrimPrefix(srv.URL, "http://")
}

func TestS3(t *testing.T) {
	root := nixtest.Store(t)
	dir := nixtest.Cache(t, root, "zstd", nixtest.Secret(t, "test-1"), nixtest.Infos(t, root))
	c := s3.Credentials{Key: "AKIDEXAMPLE", Secret: "secret/with+signs", Session: "token=="}
	word := bucket(t, dir, c)
	got, infos, err := all(t, trusted(t), open(t, word, nix.Options{Fetch: client(t), S3: c}))
	same(t, got, infos, err)
	got, infos, err = all(t, trusted(t), open(t, word+"&profile=ci", nix.Options{Fetch: client(t), S3: s3.Credentials{Profiles: map[string]s3.Credentials{"ci": c}}}))
	same(t, got, infos, err)
	for name, bad := range map[string]s3.Credentials{"nobody": {}, "other secret": {Key: c.Key, Secret: "other", Session: c.Session}} {
		if _, _, err := all(t, trusted(t), open(t, word, nix.Options{Fetch: client(t), S3: bad})); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A store directory is read in three ways, which find the same.
func TestStoreDir(t *testing.T) {
	root := nixtest.Store(t)
	want := nixtest.Infos(t, root)
	check := func(what, word string) {
		t.Helper()
		got, infos, err := all(t, nix.Trust{}, open(t, word, nix.Options{Dir: filepath.Dir(root)}))
		same(t, got, infos, err)
		for _, in := range infos {
			i := slices.IndexFunc(want, func(w narinfo.Info) bool { return w.Name == in.Name })
			if i < 0 || in.Fingerprint() != want[i].Fingerprint() {
				t.Errorf("%s: %s", what, in.Fingerprint())
			}
		}
	}
	check("looking", "store:"+root)
	check("relative", "store:"+filepath.Base(root))
	check("the store itself", "store:"+filepath.Join(root, "nix/store"))
	reg := filepath.Join(root, nix.RegistrationFile)
	if err := os.WriteFile(reg, narinfo.Registration(want), 0o644); err != nil {
		t.Fatal(err)
	}
	check("registered", "store:"+root)
	// What is registered is what is pinned: a file that was changed since is found.
	if err := os.WriteFile(filepath.Join(root, "nix/store", string(nixtest.Data)), []byte("0nly data\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := all(t, nix.Trust{}, open(t, "store:"+root, nix.Options{})); err == nil || !strings.Contains(err.Error(), "NarHash") {
		t.Errorf("a changed file: %v", err)
	}
	if err := os.WriteFile(reg, []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := all(t, nix.Trust{}, open(t, "store:"+root, nix.Options{})); err == nil || !strings.Contains(err.Error(), reg) {
		t.Errorf("a damaged registration: %v", err)
	}
}

func TestCache(t *testing.T) {
	root := nixtest.Store(t)
	infos := nixtest.Infos(t, root)
	st := openStore(t)
	job := nix.Job{Places: []nix.Place{open(t, "store:"+root, nix.Options{})}, Objects: st, Parallel: 2, Cache: &nix.Cache{Dir: t.TempDir(), Has: st.Has}}
	if _, err := job.Paths(t.Context(), infos); err != nil {
		t.Fatal(err)
	}
	job.Places = nil
	got, err := job.Paths(t.Context(), infos)
	same(t, got, infos, err)
	names, _ := filepath.Glob(filepath.Join(job.Cache.Dir, "*"))
	if len(names) != 3 || !job.Cache.Known(&infos[0]) {
		t.Fatal(names)
	}
	for _, n := range names {
		b, _ := os.ReadFile(n)
		b = bytes.Replace(bytes.Replace(b, []byte(" 0555 "), []byte(" 0755 "), 1), []byte(" 0444 "), []byte(" 0644 "), 1) // a listing still
		os.WriteFile(n, b, 0o644)
	}
	if _, err := job.Paths(t.Context(), infos); !errors.Is(err, nix.ErrNotHere) {
		t.Errorf("with a damaged cache: %v", err)
	}
	job.Cache.Has = func(digest.Digest) bool { return false }
	if job.Cache.Known(&infos[0]) {
		t.Error("a tree without contents is known")
	}
}

// Vendored archives are found by their hash, plain.
func TestVendored(t *testing.T) {
	root := nixtest.Store(t)
	infos := nixtest.Infos(t, root)
	vendor := t.TempDir()
	job := nix.Job{Places: []nix.Place{open(t, "store:"+root, nix.Options{})}}
	for _, in := range infos {
		var b bytes.Buffer
		if err := job.Archive(t.Context(), &b, &in); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(vendor, "files", in.NarHash.Hex()[:2], in.NarHash.Hex())
		os.MkdirAll(filepath.Dir(at), 0o755)
		if err := os.WriteFile(at, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := client(t)
	f.Vendor = vendor
	got, err := (&nix.Job{Places: []nix.Place{nix.Vendored(f, infos)}, Objects: openStore(t)}).Paths(t.Context(), infos)
	same(t, got, infos, err)
	wrong := infos[0]
	wrong.NarHash[1] ^= 1
	if err := job.Archive(t.Context(), io.Discard, &wrong); err == nil {
		t.Error("an archive that is not the pinned one is vendored")
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, word := range []string{"", "x", "ftp://x/", "s3://", "ssh://host"} {
		if _, err := nix.Open(word, nix.Options{Fetch: client(t)}); err == nil {
			t.Errorf("%q is opened", word)
		}
	}
}
