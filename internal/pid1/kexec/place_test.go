package kexec

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
)

const mib = 1 << 20

// image is an arm64 Image of so many bytes in the file and in memory.
func image(file, memory int) []byte {
	b := make([]byte, file)
	binary.LittleEndian.PutUint64(b[16:], uint64(memory))
	copy(b[56:], "ARM\x64")
	return b
}

const iomem = `00000000-03ffffff : 0.flash flash@0
09000000-09000fff : pl011@9000000
40000000-5fffffff : System RAM
  40000000-40ffffff : reserved
  41000000-42ffffff : Kernel code
  43000000-43ffffff : Kernel data
  48000000-48ffffff : reserved
60000000-7fffffff : System RAM
`

// tree makes a device tree of one node below the root.
func tree(node string, properties ...value) []byte {
	r := rewriter{}
	be := binary.BigEndian
	r.out = be.AppendUint32(be.AppendUint32(nil, beginNode), 0)
	name := append([]byte(node), 0)
	for len(name)%4 != 0 {
		name = append(name, 0)
	}
	r.out = append(be.AppendUint32(r.out, beginNode), name...)
	for _, p := range properties {
		r.add(p)
	}
	for _, token := range []uint32{endNode, nop, endNode, endTree} {
		r.out = be.AppendUint32(r.out, token)
	}
	head := make([]byte, treeHeader)
	be.PutUint32(head, treeMagic)
	be.PutUint32(head[20:], treeVersion)
	be.PutUint32(head[24:], 16)
	reserved := append(be.AppendUint64(be.AppendUint64(nil, 0x48000000), 0x1000), make([]byte, 16)...)
	return assemble(head, reserved, r.out, r.names)
}

// properties lists the properties of /chosen.
func properties(t *testing.T, b []byte) map[string]string {
	t.Helper()
	be := binary.BigEndian
	structure, names := b[be.Uint32(b[8:]):], b[be.Uint32(b[12:]):]
	found, path := map[string]string{}, []string{}
	for {
		switch be.Uint32(structure) {
		case beginNode:
			name, _, _ := bytes.Cut(structure[4:], []byte{0})
			path = append(path, string(name))
			structure = structure[4+(len(name)+4)&^3:]
		case endNode:
			path = path[:len(path)-1]
			structure = structure[4:]
		case property:
			n, at := be.Uint32(structure[4:]), be.Uint32(structure[8:])
			name, _, _ := bytes.Cut(names[at:], []byte{0})
			if strings.Join(path, "/") == "/chosen" {
				if _, twice := found[string(name)]; twice {
					t.Errorf("%s stands twice", name)
				}
				found[string(name)] = string(structure[12 : 12+n])
			}
			structure = structure[12+(n+3)&^3:]
		case nop:
			structure = structure[4:]
		case endTree:
			return found
		default:
			t.Fatalf("token %d", be.Uint32(structure))
		}
	}
}

func TestPlace(t *testing.T) {
	kernel, initrd := image(20*mib, 30*mib), make([]byte, 40*mib+5)
	firmware := tree("chosen", value{"bootargs", []byte("old\x00")}, value{"linux,uefi-system-table", make([]byte, 8)}, value{"rng-seed", []byte("used")})
	got, err := place(kernel, initrd, firmware, iomem, "new line", [8]byte{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	free, err := freeMemory(iomem)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range got {
		inside := false
		for _, f := range free {
			inside = inside || p.at >= f.begin && p.at+p.size <= f.end
		}
		if !inside || uint64(len(p.data)) > p.size || p.at%pageAlign != 0 || p.size%4096 != 0 {
			t.Errorf("part %d is at %#x, %d bytes for %d", i, p.at, p.size, len(p.data))
		}
		for _, q := range got[:i] {
			if p.at < q.at+q.size && q.at < p.at+p.size {
				t.Errorf("part %d lies over another", i)
			}
		}
	}
	if got[0].at != 0x41000000 || got[0].at%imageAlign != 0 || got[0].size != 30*mib {
		t.Errorf("the kernel is at %#x, %d bytes", got[0].at, got[0].size)
	}
	be := binary.BigEndian
	want := map[string]string{
		"bootargs": "new line\x00", "linux,uefi-system-table": string(make([]byte, 8)), "kaslr-seed": "\x01\x02\x00\x00\x00\x00\x00\x00",
		"linux,initrd-start": string(be.AppendUint64(nil, got[1].at)), "linux,initrd-end": string(be.AppendUint64(nil, got[1].at+uint64(len(initrd)))),
	}
	have := properties(t, got[2].data)
	for name, v := range want {
		if have[name] != v {
			t.Errorf("%s is %q, want %q", name, have[name], v)
		}
	}
	if len(have) != len(want) {
		t.Errorf("/chosen has %q", have)
	}
	if code := got[3].data; binary.LittleEndian.Uint64(code[24:]) != got[0].at || binary.LittleEndian.Uint64(code[32:]) != got[2].at {
		t.Errorf("the first code goes elsewhere: %x", code)
	}
	if reserve := got[2].data[be.Uint32(got[2].data[16:]):]; be.Uint64(reserve) != 0x48000000 {
		t.Error("reservations are lost")
	}
	// A tree without /chosen gets one.
	without, err := chosen(tree("cpus"), "line", 1, 2, [8]byte{})
	if err != nil || properties(t, without)["bootargs"] != "line\x00" {
		t.Errorf("%q, %v", properties(t, without), err)
	}
}

func TestPlaceRefuses(t *testing.T) {
	good := tree("chosen")
	for name, try := range map[string]func() error{
		"a bzImage":     func() error { _, err := place(make([]byte, 100), good, good, iomem, "", [8]byte{}); return err },
		"a small image": func() error { _, err := place(image(100, 50), good, good, iomem, "", [8]byte{}); return err },
		"no memory":     func() error { _, err := place(image(100, 900*mib), good, good, iomem, "", [8]byte{}); return err },
		"no tree":       func() error { _, err := place(image(100, mib), good, good[1:], iomem, "", [8]byte{}); return err },
		"hidden memory": func() error {
			_, err := place(image(100, mib), good, good, "00000000-00000000 : System RAM\n", "", [8]byte{})
			return err
		},
		"a big initrd": func() error {
			_, err := place(image(100, mib), make([]byte, 600*mib), good, iomem, "", [8]byte{})
			return err
		},
	} {
		if try() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// What is loaded is what its digest says, whatever a slot holds.
func TestPartIsVerified(t *testing.T) {
	text := "a kernel"
	part := func(s string, size int64) Part {
		return Part{strings.NewReader(s), digest.Of([]byte(text)), size}
	}
	f, err := part(text, int64(len(text))).file("kernel")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, p := range []Part{part("another!", 8), part(text+"x", 8), part(text[1:], 8), part("", 0)} {
		if f, err := p.file("kernel"); err == nil {
			f.Close()
			t.Errorf("%+v is taken", p)
		}
	}
}

func FuzzTree(f *testing.F) {
	f.Add(tree("chosen", value{"bootargs", []byte("x\x00")}), iomem)
	f.Add(tree("cpus"), "40000000-5fffffff : System RAM\n")
	f.Fuzz(func(t *testing.T, b []byte, memory string) {
		if out, err := chosen(b, "line", 1, 2, [8]byte{}); err == nil {
			if _, err := chosen(out, "line", 1, 2, [8]byte{}); err != nil {
				t.Errorf("what was written cannot be read: %v", err)
			}
		}
		if free, err := freeMemory(memory); err == nil {
			take(&free, mib, imageAlign, 0)
		}
	})
}
