package pe

import (
	"bytes"
	stdpe "debug/pe"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	saferwall "github.com/saferwall/pe"
)

// fakePE makes a PE32+ EFI application of the named sections, 512 bytes each,
// whose raw data begins at firstRaw.
func fakePE(machine uint16, nx bool, firstRaw uint32, names ...string) []byte {
	b := make([]byte, firstRaw)
	copy(b, "MZ")
	le := binary.LittleEndian
	le.PutUint32(b[60:], 64)
	copy(b[64:], "PE\x00\x00")
	coff := b[68:]
	le.PutUint16(coff, machine)
	le.PutUint16(coff[2:], uint16(len(names)))
	le.PutUint16(coff[16:], 240)
	le.PutUint16(coff[18:], 0x206)
	opt := coff[20:]
	le.PutUint16(opt, magicPE32Plus)
	le.PutUint64(opt[24:], 0x140000000)
	le.PutUint32(opt[optAlignSection:], 4096)
	le.PutUint32(opt[optAlignFile:], 512)
	le.PutUint32(opt[optSizeOfImage:], uint32(len(names)+1)*4096)
	le.PutUint32(opt[optSizeOfHeader:], firstRaw)
	le.PutUint16(opt[optSubsystem:], subsystemEFI)
	if nx {
		le.PutUint16(opt[optDLL:], nxCompat)
	}
	le.PutUint32(opt[optDirCount:], 16)
	var raw []byte
	for i, n := range names {
		h := opt[240+i*sectionSize:]
		copy(h, n)
		le.PutUint32(h[8:], 300)
		le.PutUint32(h[12:], uint32(i+1)*4096)
		le.PutUint32(h[16:], 512)
		le.PutUint32(h[20:], firstRaw+uint32(len(raw)))
		le.PutUint32(h[36:], initData|memRead)
		raw = append(raw, bytes.Repeat([]byte{byte('a' + i)}, 512)...)
	}
	return append(b, raw...)
}

// uki reads the image of UKI as a whole, in pieces that cross the borders of its parts.
func uki(stub []byte, o Options) ([]byte, error) {
	f, err := UKI(stub, o)
	if err != nil {
		return nil, err
	}
	b := make([]byte, f.Size())
	for at := 0; at < len(b); at += 777 {
		if n, err := f.ReadAt(b[at:min(at+777, len(b))], int64(at)); n == 0 {
			return nil, err
		}
	}
	return b, nil
}

func fakeStub() []byte { return fakePE(MachineAMD64, true, 512, ".text", ".sbat", ".sdmagic") }

func options(profiles int) Options {
	o := Options{
		OSRelease: "NAME=instar\nID=instar\nVERSION_ID=1\n",
		Release:   "6.12.0-cloud-amd64",
		Kernel:    bytes.NewReader(fakePE(MachineAMD64, false, 1024, ".text")),
		Initrd:    bytes.NewReader(bytes.Repeat([]byte("initrd"), 1000)),
	}
	for i := range profiles {
		id := fmt.Sprintf("p%d", i)
		o.Profiles = append(o.Profiles, Profile{ID: id, Title: "Profile " + id, Command: "instar.configuration=" + id})
	}
	if profiles == 0 {
		o.Command = "quiet"
	}
	return o
}

// wantNames lists the sections a UKI must have after the stub's.
func wantNames(o Options) []string {
	names := []string{".osrel", ".cmdline", ".uname", ".linux", ".initrd"}
	if len(o.Profiles) > 0 {
		names = []string{".osrel", ".uname", ".linux", ".initrd"}
	}
	for range o.Profiles {
		names = append(names, ".profile", ".cmdline")
	}
	return names
}

func checkUKI(t *testing.T, stub, uki []byte, o Options) {
	t.Helper()
	before, err := Parse(stub)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(uki)
	if err != nil {
		t.Fatal(err)
	}
	n := len(before.Sections)
	for i, s := range before.Sections {
		g := m.Sections[i]
		if g.Name != s.Name || g.VirtualAddress != s.VirtualAddress || !bytes.Equal(m.Data(g), before.Data(s)) {
			t.Errorf("the stub's section %s changed", s.Name)
		}
	}
	var names []string
	end := uint32(0)
	for i, s := range m.Sections {
		if s.VirtualAddress%m.SectionAlign != 0 || s.RawOffset%m.FileAlign != 0 || s.RawSize%m.FileAlign != 0 {
			t.Errorf("section %s is not aligned: %+v", s.Name, s)
		}
		if s.VirtualAddress < end || s.RawOffset < m.SizeOfHeaders {
			t.Errorf("section %s overlaps what is before it", s.Name)
		}
		end = s.VirtualAddress + s.VirtualSize
		if i >= n {
			names = append(names, s.Name)
		}
	}
	if got, want := strings.Join(names, " "), strings.Join(wantNames(o), " "); got != want {
		t.Errorf("sections %s, want %s", got, want)
	}
	if m.NXCompat {
		t.Error("NX_COMPAT stayed, though the kernel lacks it")
	}
	profiles := m.Sections[len(m.Sections)-2*len(o.Profiles):]
	for i, p := range o.Profiles {
		head, cmd := string(m.Data(profiles[2*i])), string(m.Data(profiles[2*i+1]))
		if want := "ID=" + p.ID + "\nTITLE=\"" + p.Title + "\"\n"; head != want || cmd != p.Command {
			t.Errorf("profile %d is %q with command line %q", i, head, cmd)
		}
	}
	if _, err := stdpe.NewFile(bytes.NewReader(uki)); err != nil {
		t.Errorf("debug/pe: %v", err)
	}
}

func TestUKI(t *testing.T) {
	// The synthetic stub has space for one further header; the rest must move.
	for _, n := range []int{0, 1, 3, 40} {
		o := options(n)
		made, err := uki(fakeStub(), o)
		if err != nil {
			t.Fatalf("%d profiles: %v", n, err)
		}
		checkUKI(t, fakeStub(), made, o)
		again, _ := uki(fakeStub(), o)
		if !bytes.Equal(made, again) {
			t.Errorf("%d profiles: not deterministic", n)
		}
	}
}

func TestRefused(t *testing.T) {
	good := options(1)
	rows := []struct {
		name, want string
		stub       []byte
		change     func(*Options)
	}{
		{"no stub", "the UEFI stub: reading a PE image: no MZ header", []byte("x"), nil},
		{"not systemd's", "no .sdmagic", fakePE(MachineAMD64, true, 512, ".text"), nil},
		{"no kernel", "the kernel: reading a PE image", nil, func(o *Options) { o.Kernel = strings.NewReader("gzip") }},
		{"other machine", "for machine 0x8664, the kernel for 0xaa64", nil, func(o *Options) {
			o.Kernel = bytes.NewReader(fakePE(MachineARM64, true, 512, ".text"))
		}},
		{"no command", "neither profiles nor", nil, func(o *Options) { o.Profiles = nil }},
		{"both", "both profiles and", nil, func(o *Options) { o.Command = "x" }},
		{"bad ID", `profile ID "a b"`, nil, func(o *Options) { o.Profiles[0].ID = "a b" }},
		{"line break", "line break", nil, func(o *Options) { o.Profiles[0].Command = "a\nb" }},
		{"twice", "stands twice", nil, func(o *Options) { o.Profiles = append(o.Profiles, o.Profiles[0]) }},
		{"too many", "a UKI of 97 sections", nil, func(o *Options) { *o = options(45) }},
		{"no room in memory", "do not fit before section", nil, func(o *Options) { *o = options(44) }},
	}
	for _, r := range rows {
		o := good
		o.Profiles = append([]Profile(nil), good.Profiles...)
		if r.change != nil {
			r.change(&o)
		}
		stub := fakeStub()
		if r.stub != nil {
			stub = r.stub
		}
		if _, err := uki(stub, o); err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: got %v, want %q", r.name, err, r.want)
		}
	}
}

// realStub is the stub of Debian's package systemd-boot-efi.
func realStub(t *testing.T) []byte {
	t.Helper()
	const name = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	for _, root := range []string{os.Getenv("INSTAR_TEST_TREE"), ""} {
		if b, err := os.ReadFile(root + name); err == nil {
			return b
		}
	}
	t.Skip("systemd-boot-efi is not installed")
	return nil
}

func TestRealStub(t *testing.T) {
	stub := realStub(t)
	for _, n := range []int{0, 3, 35} {
		o := options(n)
		made, err := uki(stub, o)
		if err != nil {
			t.Fatal(err)
		}
		checkUKI(t, stub, made, o)
	}
}

// Foreign readers accept the image, and pefile's or saferwall's idea of its
// checksum is ours.
func TestForeignReaders(t *testing.T) {
	made, err := uki(realStub(t), options(3))
	if err != nil {
		t.Fatal(err)
	}
	f, err := saferwall.NewBytes(made, &saferwall.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Parse(); err != nil {
		t.Fatalf("saferwall/pe: %v", err)
	}
	oh := f.NtHeader.OptionalHeader.(saferwall.ImageOptionalHeader64)
	if got := f.Checksum(); got != oh.CheckSum {
		t.Errorf("checksum %#x in the image, %#x computed by saferwall/pe", oh.CheckSum, got)
	}
	name := filepath.Join(t.TempDir(), "uki.efi")
	if err := os.WriteFile(name, made, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tool := range [][]string{{"objdump", "-h"}, {"sbverify", "--list"}} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			t.Logf("%s is not installed", tool[0])
			continue
		}
		out, err := exec.Command(tool[0], append(tool[1:], name)...).CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("warning")) {
			t.Errorf("%v: %v: %s", tool, err, out)
		}
		if tool[0] == "objdump" && bytes.Count(out, []byte(".profile")) != 3 {
			t.Errorf("objdump does not see 3 profiles: %s", out)
		}
	}
}

// ukify reads the sections as we wrote them.
func TestUkify(t *testing.T) {
	root := os.Getenv("INSTAR_TEST_TREE")
	if root == "" {
		t.Skip("INSTAR_TEST_TREE with systemd-ukify and python3-pefile is not set")
	}
	made, err := uki(realStub(t), options(2))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "uki.efi")
	if err := os.WriteFile(name, made, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", root+"/usr/bin/ukify", "--all", "inspect", name)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+root+"/usr/lib/python3/dist-packages")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("ukify inspect: %v: %s", err, out)
	}
	for _, want := range []string{"ID=p0", "ID=p1", "instar.configuration=p1", "6.12.0-cloud-amd64", "VERSION_ID=1"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("ukify does not show %q: %s", want, out)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(fakeStub())
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		for _, s := range m.Sections {
			m.Data(s)
		}
		uki(b, options(2))
	})
}
