package kernel

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/instar-os/instar/internal/cpio"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/tree"
)

const release = "6.12.1-test"

// memory is a store in memory.
type memory map[digest.Digest][]byte

func (m memory) Bytes(d digest.Digest, limit int64) ([]byte, error) {
	b, ok := m[d]
	if !ok || int64(len(b)) > limit {
		return nil, fmt.Errorf("object %s: missing or too large", d.Short())
	}
	return b, nil
}

func (m memory) put(t *testing.T, tr *tree.Tree, p string, b []byte) {
	t.Helper()
	d := digest.Of(b)
	m[d] = b
	if err := tr.Put(p, tree.Entry{Kind: tree.File, Mode: 0o644, Size: int64(len(b)), Digest: d}); err != nil {
		t.Fatal(err)
	}
}

// module makes an ELF object with a .modinfo of the given fields.
func module(fields ...string) []byte {
	info := []byte(strings.Join(append([]string{"vermagic=" + release + " SMP"}, fields...), "\x00") + "\x00")
	names := []byte("\x00.modinfo\x00.shstrtab\x00")
	h := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	h.Shoff = uint64(64 + len(info) + len(names))
	var b bytes.Buffer
	for _, part := range []any{
		h, info, names, elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: 64, Size: uint64(len(info))},
		elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(64 + len(info)), Size: uint64(len(names))},
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

func packXZ(b []byte) []byte {
	var out bytes.Buffer
	w, err := xz.WriterConfig{CheckSum: xz.CRC32}.NewWriter(&out)
	if err != nil {
		panic(err)
	}
	if _, err := w.Write(b); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func packZstd(b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(b, nil)
}

// set makes a kernel's tree; values are the content of files.
func set(t *testing.T, files map[string][]byte) *Set {
	t.Helper()
	m, tr := memory{}, tree.New()
	for name, b := range files {
		m.put(t, tr, "usr/lib/modules/"+release+"/"+name, b)
	}
	s, err := ReadModules(m, tr, release)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func world(t *testing.T) *Set {
	return set(t, map[string][]byte{
		"modules.builtin":         []byte("kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio-pci.ko\n"),
		"kernel/a.ko":             module("depends=c,b"),
		"kernel/b.ko.xz":          packXZ(module("depends=base-one")),
		"kernel/c.ko.zst":         packZstd(module("depends=base_one,ext4", "alias=x")),
		"kernel/base-one.ko":      module("depends="),
		"kernel/soft.ko":          module("softdep=pre: b crypto-gone post: after", "softdep=post: soft"),
		"kernel/after.ko":         module("softdep=pre: soft"),
		"kernel/loop1.ko":         module("depends=loop2"),
		"kernel/loop2.ko":         module("depends=loop1"),
		"kernel/broken.ko":        []byte("no ELF"),
		"kernel/cut.ko.xz":        packXZ(module())[:40],
		"kernel/needs_broken.ko":  module("depends=broken"),
		"kernel/needs_missing.ko": module("depends=base_onf"),
		"kernel/other.ko":         bytes.Replace(module(), []byte(release), []byte("9"+release[1:]), 1),
	})
}

func names(ms []Module) string {
	var all []string
	for _, m := range ms {
		all = append(all, m.Name)
	}
	return strings.Join(all, " ")
}

func TestClosure(t *testing.T) {
	rows := []struct{ ask, want, err string }{
		{"a", "base_one c b a", ""},
		{"b", "base_one b", ""},
		{"base-one b", "base_one b", ""},
		{"b a ext4 virtio_pci", "base_one b c a", ""},
		{"soft", "base_one b soft after", ""},
		{"after", "base_one b soft after", ""},
		{"ext4", "", ""},
		{"ext5 basf_one", "", `kernel 6.12.1-test has no module "ext5"; kernel 6.12.1-test has no module "basf_one"; did you mean "base_one"?`},
		{"loop1", "", "in a circle: loop1 -> loop2 -> loop1"},
		{"broken", "", "module broken: usr/lib/modules/6.12.1-test/kernel/broken.ko: no ELF file"},
		{"cut", "", "decompressing: "},
		{"needs_broken", "", "needs_broken -> broken: module broken"},
		{"needs_missing", "", `needs_missing -> base_onf: kernel 6.12.1-test has no module "base_onf"; did you mean "base_one"?`},
		{"other", "", `made for kernel "9.12.1-test"`},
	}
	for _, r := range rows {
		got, err := world(t).Closure(strings.Fields(r.ask))
		if r.err != "" {
			if err == nil || !strings.Contains(err.Error(), r.err) {
				t.Errorf("%s: got %v, want %q", r.ask, err, r.err)
			}
			continue
		}
		if err != nil || names(got) != r.want {
			t.Errorf("%s: got %q, %v; want %q", r.ask, names(got), err, r.want)
		}
	}
}

func TestReadModulesRefused(t *testing.T) {
	m, tr := memory{}, tree.New()
	if _, err := ReadModules(m, tr, release); err == nil {
		t.Error("a tree without modules was accepted")
	}
	m.put(t, tr, "lib/modules/"+release+"/x/a-b.ko", module())
	m.put(t, tr, "lib/modules/"+release+"/y/a_b.ko", module())
	if _, err := ReadModules(m, tr, release); err == nil || !strings.Contains(err.Error(), "are both module a_b") {
		t.Errorf("two files of one module: %v", err)
	}
}

func TestInitrd(t *testing.T) {
	ms, err := world(t).Closure([]string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Initrd([]byte("init"), ms)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := cpio.Read(bytes.NewReader(b), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprintf("%s %o", e.Path, e.Mode))
	}
	want := []string{"init 100755", "modules 40755", "modules/000-base_one.ko 100644", "modules/001-c.ko 100644",
		"modules/002-b.ko 100644", "modules/003-a.ko 100644"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !bytes.Equal(entries[4].Data, module("depends=base-one")) {
		t.Error("module b is not unpacked")
	}
}

// kernelTree is a Debian kernel package, unpacked.
func kernelTree(t *testing.T) (memory, *tree.Tree, string) {
	t.Helper()
	root := os.Getenv("INSTAR_TEST_KERNEL")
	if root == "" {
		t.Skip("INSTAR_TEST_KERNEL, an unpacked linux-image package, is not set")
	}
	m, tr := memory{}, tree.New()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		m.put(t, tr, strings.TrimPrefix(p, root+"/"), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(root + "/boot/vmlinuz-*")
	if err != nil || len(found) != 1 {
		t.Fatalf("kernels: %v, %v", found, err)
	}
	return m, tr, strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-")
}

func TestDebianKernel(t *testing.T) {
	m, tr, rel := kernelTree(t)
	s, err := ReadModules(m, tr, rel)
	if err != nil {
		t.Fatal(err)
	}
	ms, err := s.Closure(s.Minimal("amd64"))
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	at := map[string]int{}
	for i, mod := range ms {
		size += len(mod.Data)
		at[mod.Name] = i
		for _, d := range mod.Depends {
			if j, ok := at[d]; !s.Builtin(d) && (!ok || j >= i) {
				t.Errorf("%s stands before %s", mod.Name, d)
			}
		}
	}
	t.Logf("%d modules, %d bytes: %s", len(ms), size, names(ms))
	if len(ms) < 10 || size > 8<<20 {
		t.Errorf("%d modules of %d bytes", len(ms), size)
	}
	againstModinfo(t, ms)
	e, _ := tr.Get("boot/vmlinuz-" + rel)
	if got, err := Release(m[e.Digest]); err != nil || got != rel {
		t.Errorf("Release = %q, %v; want %q", got, err, rel)
	}
}

// againstModinfo compares with what kmod reads.
func againstModinfo(t *testing.T, ms []Module) {
	t.Helper()
	if _, err := exec.LookPath("modinfo"); err != nil {
		t.Log("modinfo (package kmod) is not installed")
		return
	}
	for _, m := range ms {
		name := filepath.Join(t.TempDir(), m.Name+".ko")
		if err := os.WriteFile(name, m.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("modinfo", "-F", "depends", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := normal(strings.TrimSpace(string(out))); got != strings.Join(m.Depends, ",") {
			t.Errorf("%s depends on %v, modinfo says %q", m.Name, m.Depends, got)
		}
	}
}

func TestRelease(t *testing.T) {
	img := make([]byte, 0x800)
	copy(img[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(img[0x20e:], 0x300)
	copy(img[0x500:], "6.12.1-x (someone)")
	if got, err := Release(img); err != nil || got != "6.12.1-x" {
		t.Errorf("Release = %q, %v", got, err)
	}
	var z bytes.Buffer
	gzip.NewWriter(&z).Close()
	for _, bad := range [][]byte{nil, z.Bytes(), img[:0x502], make([]byte, 0x800)} {
		if _, err := Release(bad); err == nil {
			t.Errorf("%d bytes were accepted", len(bad))
		}
	}
}

func FuzzReadInfo(f *testing.F) {
	f.Add(module("depends=a,b", "softdep=pre: x post: y", "alias=z"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := ReadInfo(b); errors.Is(err, nil) {
			return
		}
		Release(b)
	})
}
