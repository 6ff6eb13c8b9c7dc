package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
	"github.com/instar-os/instar/internal/uki"
)

const epoch = 1755000000

// testTree is a directory of unpacked Debian 13 packages: e2fsprogs with its
// libraries, libarchive13t64 and systemd-boot-efi.
func testTree(t *testing.T) string {
	t.Helper()
	root := os.Getenv("INSTAR_TEST_TREE")
	if root == "" {
		t.Skip("INSTAR_TEST_TREE with e2fsprogs, libarchive13t64 and systemd-boot-efi is not set")
	}
	return root
}

func treeTool(root string) Tool {
	return func(ctx context.Context, name string, args ...string) *exec.Cmd {
		full := append([]string{"--inhibit-cache", "--library-path", root + "/usr/lib/x86_64-linux-gnu", root + "/usr/sbin/" + name}, args...)
		cmd := exec.CommandContext(ctx, root+"/usr/lib64/ld-linux-x86-64.so.2", full...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
		return cmd
	}
}

func run(t *testing.T, tool Tool, name string, args ...string) string {
	t.Helper()
	out, err := tool(context.Background(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

func host(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, name, args...)
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// world is a store with one system.
type world struct {
	*store.Store
	t *testing.T
	m *system.Manifest
	d digest.Digest
}

func (w *world) put(b []byte) system.Object {
	w.t.Helper()
	d, err := w.PutBytes(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return system.Object{Digest: d, Size: int64(len(b))}
}

func (w *world) image(files map[string][]byte) system.Object {
	w.t.Helper()
	tr := tree.New()
	for p, b := range files {
		o := w.put(b)
		if err := tr.Put(p, tree.Entry{Kind: tree.File, Mode: 0o644, Size: o.Size, Digest: o.Digest, MTime: epoch}); err != nil {
			w.t.Fatal(err)
		}
	}
	o, err := w.PutImage(context.Background(), tr)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// boot is what a boot slot is made of.
type boot struct{ stub, loader, kernel, initrd, init []byte }

func newWorld(t *testing.T, b boot, release string) *world {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{Store: s, t: t}
	files := map[string][]byte{"usr/bin/big": random(3<<20, 1), "empty": nil}
	for i := range 300 {
		files[fmt.Sprintf("usr/share/f%03d", i)] = random(65+i*37, uint64(i))
	}
	image := w.image(files)
	container := system.Container{Name: "web", Image: image, Args: []string{"/usr/bin/big"}}
	w.m = &system.Manifest{
		Version: system.Version, Machine: "test", Arch: "amd64", Epoch: epoch, Default: "day",
		Kernel: system.Kernel{Release: release, Image: w.put(b.kernel), Initrd: w.put(b.initrd), Stub: w.put(b.stub),
			Loader: w.put(b.loader), Init: w.put(b.init), Command: []string{"console=ttyS0"}},
		Boot: system.Boot{Slots: 2, SlotSize: 64 << 20, DataFS: w.put(make([]byte, 1<<20))},
		Configurations: []system.Configuration{
			{Name: "rescue", Fallback: true, Containers: []system.Container{}},
			{Name: "day", Containers: []system.Container{container}},
			{Name: "night", Command: []string{"note=a b"}, Containers: []system.Container{container}},
		},
	}
	w.system()
	return w
}

// system puts the manifest, as it is now, and commits.
func (w *world) system() {
	w.t.Helper()
	var err error
	if w.d, err = w.PutSystem(w.m); err != nil {
		w.t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		w.t.Fatal(err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// realBoot has Debian's stub, which also stands in for the kernel: a PE image.
func realBoot(t *testing.T) boot {
	dir := testTree(t) + "/usr/lib/systemd/boot/efi/"
	stub := read(t, dir+"linuxx64.efi.stub")
	return boot{stub: stub, loader: read(t, dir+"systemd-bootx64.efi"), kernel: stub, initrd: random(30000, 5), init: random(20000, 6)}
}

func plan(t *testing.T, w *world, o Options) *Plan {
	t.Helper()
	p, err := NewPlan(w.Store, w.d, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestUKI(t *testing.T) {
	w := newWorld(t, realBoot(t), "6.12.1")
	image, err := uki.Build(verified(w, w.m), w.m, w.d)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(image, 0, image.Size()))
	if err != nil {
		t.Fatal(err)
	}
	m, err := pe.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range m.Sections {
		if s.Name == ".cmdline" || s.Name == ".profile" || s.Name == ".osrel" {
			got = append(got, string(m.Data(s)))
		}
	}
	line := func(name, rest string) string {
		return "instar.system=" + w.d.String() + " instar.configuration=" + name + " panic=10 console=ttyS0" + rest
	}
	want := []string{
		"NAME=instar\nID=instar\nVERSION_ID=" + w.d.Short() + "\nIMAGE_ID=test\nPRETTY_NAME=\"test " + w.d.Short() + "\"\n",
		"ID=day\nTITLE=\"day\"\n", line("day", ""), "ID=rescue\nTITLE=\"rescue\"\n", line("rescue", ""),
		"ID=night\nTITLE=\"night\"\n", line("night", ` note="a b"`),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	back, err := uki.Open(image)
	if err != nil || back.System != w.d {
		t.Fatalf("taken apart: %+v, %v", back, err)
	}
	for o, c := range map[system.Object]pe.Content{w.m.Kernel.Image: back.Kernel, w.m.Kernel.Initrd: back.Initrd} {
		if d, n, err := digest.FromReader(io.NewSectionReader(c, 0, c.Size())); err != nil || d != o.Digest || n != o.Size {
			t.Errorf("taken apart, a part has %d bytes of %s, want %d of %s", n, d, o.Size, o.Digest)
		}
	}
}

func TestBudget(t *testing.T) {
	w := newWorld(t, realBoot(t), "6.12.1")
	p := plan(t, w, Options{})
	if used := p.Sizes.Used(); used < 5<<20 || used > 8<<20 {
		t.Errorf("%d bytes used: %+v", used, p.Sizes)
	}
	rows := []struct {
		o    Options
		want string
	}{
		{Options{Budget: Budget{Slot: 1000}}, "the boot slot's content of"},
		{Options{Budget: Budget{Store: 1 << 20}}, "the largest parts: web:/usr/bin/big (3145728), image of web (90112)"},
		{Options{Budget: Budget{Total: 1 << 20}}, "slot and store together of"},
		{Options{StoreSize: 4 << 20}, "a store partition of 4194304 bytes; this system alone needs "},
		{Options{Size: 100 << 20}, "a disk of 104857600 bytes; 2 slots of 67108864 and a store of"},
	}
	for _, r := range rows {
		if _, err := NewPlan(w.Store, w.d, r.o); err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%+v: got %v, want %q", r.o, err, r.want)
		}
	}
	w.m.Boot.SlotSize = 33 << 20
	w.m.Kernel.Initrd = w.put(random(34<<20, 1))
	w.system()
	if _, err := NewPlan(w.Store, w.d, Options{}); err == nil || !strings.Contains(err.Error(), "the largest is EFI/Linux/instar-") {
		t.Errorf("an initrd larger than the slot: %v", err)
	}
	w.m.Kernel.Initrd = w.put(random(17<<20, 1))
	w.system()
	if _, err := NewPlan(w.Store, w.d, Options{}); err == nil || !strings.Contains(err.Error(), "too small for an update: two systems, the new and the last good one, with 18017280 bytes a system") {
		t.Errorf("an initrd larger than half of the slot: %v", err)
	}
}

// A disk with everything in it, read back by other tools.
func TestRaw(t *testing.T) {
	root := testTree(t)
	w := newWorld(t, realBoot(t), "6.12.1")
	tool := treeTool(root)
	p := plan(t, w, Options{Size: 300 << 20})
	name := filepath.Join(t.TempDir(), "disk.img")
	if err := p.WriteRaw(context.Background(), tool, name); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, _ := f.Stat(); info.Size() != 300<<20 || info.Mode() != 0o644 || disk.Allocated(info) > 24<<20 {
		t.Errorf("%d bytes, mode %v, %d allocated", info.Size(), info.Mode(), disk.Allocated(info))
	}
	g, err := disk.ReadGPT(f, 300<<20)
	if err != nil || g.Recovered || len(g.Partitions) != 4 {
		t.Fatalf("partitions %+v: %v", g, err)
	}
	checkSlots(t, f, g, p)
	part, _ := g.Find(record.Partition)
	book, err := record.Open(section{f, part.Offset()}, part.Size())
	if err != nil || book.Damaged != nil || book.Record().Current != p.System || part.Type != disk.TypeRecord {
		t.Errorf("the record: %+v, %v", book, err)
	}
	part, _ = g.Find(StoreName)
	checkStore(t, tool, extract(t, f, part), w)
}

// section is a part of a disk.
type section struct {
	f  *os.File
	at int64
}

func (s section) ReadAt(p []byte, off int64) (int, error)  { return s.f.ReadAt(p, s.at+off) }
func (s section) WriteAt(p []byte, off int64) (int, error) { return s.f.WriteAt(p, s.at+off) }
func (s section) Sync() error                              { return s.f.Sync() }

func checkSlots(t *testing.T, f *os.File, g *disk.GPT, p *Plan) {
	t.Helper()
	for i, part := range g.Partitions[:2] {
		off, size := slot.Span(part)
		v, err := disk.ReadFAT(io.NewSectionReader(f, off, size), size)
		if err != nil {
			t.Fatalf("slot %d: %v", i, err)
		}
		var names []string
		for _, file := range v.Files {
			names = append(names, file.Path)
		}
		want := []string{"EFI/BOOT/BOOTX64.EFI", "EFI/Linux/" + slot.Entry{System: p.System.Short()}.Name(), "loader/loader.conf"}
		if i == 1 {
			want = nil
		}
		if !slices.Equal(names, want) {
			t.Errorf("slot %d holds %q, want %q", i, names, want)
		}
	}
}

// extract copies a partition to a file.
func extract(t *testing.T, f *os.File, part disk.Partition) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "store.img")
	e, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Truncate(part.Size()); err != nil {
		t.Fatal(err)
	}
	if err := disk.Copy(e, 0, io.NewSectionReader(f, part.Offset(), part.Size()), part.Size()); err != nil {
		t.Fatal(err)
	}
	return name
}

// checkStore checks the store's file system, dumps it and verifies it.
func checkStore(t *testing.T, tool Tool, ext string, w *world) {
	t.Helper()
	run(t, tool, "e2fsck", "-fn", ext)
	out := run(t, tool, "debugfs", "-R", "ls -l /objects", ext)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 5 && f[8] != "." && f[8] != ".." && (f[1] != "40755" || f[3] != "0" || f[4] != "0") {
			t.Errorf("objects: %q", line)
		}
	}
	if out := run(t, tool, "debugfs", "-R", "stat /systems/"+w.d.String(), ext); !strings.Contains(out, "Mode:  0444") ||
		!strings.Contains(out, "User:     0   Group:     0") || !strings.Contains(out, fmt.Sprintf("mtime: 0x%08x", epoch)) {
		t.Errorf("manifest: %s", out)
	}
	dir := t.TempDir()
	run(t, tool, "debugfs", "-R", "rdump / "+dir, ext)
	s, err := store.Open(dir, store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	report, err := s.Verify(context.Background(), nil)
	if err != nil || len(report.Damaged) != 0 {
		t.Fatalf("verifying the store partition: %+v, %v", report, err)
	}
	// What is only in the slot is missing in the store partition, nothing else.
	k, slot := w.m.Kernel, map[digest.Digest]bool{}
	for _, o := range []system.Object{k.Image, k.Initrd, k.Loader, k.Init} {
		slot[o.Digest] = true
	}
	for _, f := range report.Missing {
		if !slot[f.Digest] {
			t.Errorf("missing: %+v", f)
		}
		delete(slot, f.Digest)
	}
	if len(slot) != 0 {
		t.Errorf("in slot and store: %v", slot)
	}
}

// Umask, user environment and time make no difference.
func TestDeterministic(t *testing.T) {
	root := testTree(t)
	var images [2][]byte
	for i := range images {
		w := newWorld(t, realBoot(t), "6.12.1")
		tool := func(ctx context.Context, name string, args ...string) *exec.Cmd {
			cmd := treeTool(root)(ctx, name, args...)
			if i == 1 {
				cmd.Env = append(cmd.Env, "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "USER=other", "MKE2FS_DEVICE_SECTSIZE=")
			}
			return cmd
		}
		name := filepath.Join(t.TempDir(), fmt.Sprintf("d%d.img", i))
		if err := plan(t, w, Options{}).WriteRaw(context.Background(), tool, name); err != nil {
			t.Fatal(err)
		}
		images[i] = read(t, name)
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two disks of one system differ")
	}
}

func TestQcow2(t *testing.T) {
	root := testTree(t)
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img (package qemu-utils) is not installed")
	}
	w := newWorld(t, realBoot(t), "6.12.1")
	p, dir := plan(t, w, Options{}), t.TempDir()
	raw, q := filepath.Join(dir, "d.img"), filepath.Join(dir, "d.qcow2")
	if err := p.WriteRaw(context.Background(), treeTool(root), raw); err != nil {
		t.Fatal(err)
	}
	if err := p.WriteQcow2(context.Background(), treeTool(root), q); err != nil {
		t.Fatal(err)
	}
	run(t, host, "qemu-img", "check", q)
	run(t, host, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, q)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A failure leaves neither a disk nor a temporary file.
func TestFailures(t *testing.T) {
	w := newWorld(t, realBoot(t), "6.12.1")
	p, dir := plan(t, w, Options{}), t.TempDir()
	name := filepath.Join(dir, "d.img")
	fails := func(context.Context, string, ...string) *exec.Cmd {
		return exec.Command("/bin/sh", "-c", "echo no space >&2; exit 1")
	}
	if err := p.WriteRaw(context.Background(), fails, name); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("mke2fs fails: %v", err)
	}
	victim := w.ImagePath(w.m.Images()[0].Digest)
	if err := os.Chmod(victim, 0o644); err != nil {
		t.Fatal(err)
	}
	b := read(t, victim)
	b[len(b)-1] ^= 1
	if err := os.WriteFile(victim, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.WriteRaw(context.Background(), treeTool(testTree(t)), name); err == nil || !strings.Contains(err.Error(), "does not have the digest") {
		t.Errorf("damaged store: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDataTemplate(t *testing.T) {
	tool := treeTool(testTree(t))
	a, err := DataTemplate(context.Background(), tool)
	if err != nil {
		t.Fatal(err)
	}
	b, err := DataTemplate(context.Background(), tool)
	if err != nil || !bytes.Equal(a, b) {
		t.Fatalf("made twice, different: %v", err)
	}
	used := 0
	for at := 0; at < len(a); at += 4096 {
		if !bytes.Equal(a[at:at+4096], make([]byte, 4096)) {
			used += 4096
		}
	}
	if len(a) != dataSize || used > 128<<10 {
		t.Errorf("%d bytes, %d of them not in blocks of zeros", len(a), used)
	}
	name := filepath.Join(t.TempDir(), "data.img")
	if err := os.WriteFile(name, a, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, tool, "e2fsck", "-fn", name)
}
