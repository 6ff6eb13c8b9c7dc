package launch

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

// broker is a container with something of everything.
func broker() *Spec {
	filter, _ := DefaultSeccomp("amd64", nil)
	return &Spec{
		Arch: "amd64", Filter: filter,
		Container: &system.Container{
			Name: "broker", Source: "instar.yaml:7", IDs: system.IDRange{Base: 0x30000, Count: 0x10000}, Args: []string{"/usr/sbin/mosquitto"}, Env: []string{"HOME=/", "PATH=/usr/bin"},
			Dir: "/", UID: 101, GID: 102, Groups: []uint32{7, 8}, Root: system.Ephemeral,
			Tmpfs:   []system.Tmpfs{{Path: "/run/mosquitto", Size: 1 << 20, Mode: 0o750, UID: 101, GID: 102}},
			Data:    []system.Data{{Path: "/var/lib/mosquitto", Version: 1, Mode: 0o750, UID: 101, GID: 102}},
			Control: true, Network: system.HostNetwork, Hostname: "greenhouse",
			Capabilities: []string{"CAP_NET_BIND_SERVICE"},
			Limits:       system.Limits{Memory: 64 << 20, Rlimits: map[string]int64{"core": 0, "memlock": -1}},
		},
	}
}

func compile(t *testing.T, s *Spec) *Launch {
	t.Helper()
	l, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func programs(l *Launch) map[string]*Program {
	return map[string]*Program{"spaces": l.Spaces, "root": l.Root, "drop": l.Drop, "start": l.Start, "join": l.Join}
}

// TestGolden shows what a container's start is, system call by system call.
func TestGolden(t *testing.T) {
	for name, p := range programs(compile(t, broker())) {
		file := "testdata/broker." + name + ".txt"
		if *update {
			if err := os.WriteFile(file, []byte(p.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.String(); got != string(want) {
			t.Errorf("%s differs (go test -run TestGolden -update writes it):\n%s", file, got)
		}
	}
}

func TestCompileIsDeterministic(t *testing.T) {
	first := programs(compile(t, broker()))
	for range 20 {
		for name, p := range programs(compile(t, broker())) {
			if !bytes.Equal(encode(t, p), encode(t, first[name])) {
				t.Fatalf("%s differs from compilation to compilation", name)
			}
		}
	}
}

func encode(t *testing.T, p *Program) []byte {
	t.Helper()
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEncodeDecode(t *testing.T) {
	for name, p := range programs(compile(t, broker())) {
		b := encode(t, p)
		back, err := Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if back.String() != p.String() || !bytes.Equal(encode(t, back), b) {
			t.Errorf("%s: not the same after decoding", name)
		}
		for i := range b {
			if _, err := Decode(b[:i]); err == nil {
				t.Fatalf("%s: decoded when cut at %d of %d", name, i, len(b))
			}
		}
		if _, err := Decode(append(slices.Clip(b), 0)); err == nil {
			t.Errorf("%s: decoded with a byte too many", name)
		}
	}
}

func TestEncodeDecodeLaunch(t *testing.T) {
	l := compile(t, broker())
	b, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeLaunch(b)
	if err != nil {
		t.Fatal(err)
	}
	if back.String() != l.String() || !strings.Contains(l.String(), "spaces: launch program for amd64") {
		t.Errorf("not the same after decoding:\n%v", back)
	}
	for i := range b {
		if _, err := DecodeLaunch(b[:i]); err == nil {
			t.Fatalf("decoded when cut at %d of %d", i, len(b))
		}
	}
	if _, err := DecodeLaunch(append(slices.Clip(b), 0)); err == nil {
		t.Error("decoded with a byte too many")
	}
	other := compile(t, broker())
	other.Join.Arch = "arm64"
	if b, err = other.Encode(); err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeLaunch(b); err == nil || !strings.Contains(err.Error(), "join is for arm64, the others for amd64") {
		t.Errorf("programs of two architectures: %v", err)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, breakIt := range map[string]func(*Program){
		"unknown architecture":        func(p *Program) { p.Arch = "mips" },
		"unknown call":                func(p *Program) { p.Ops[0].Call = Call(len(calls)) },
		"result":                      func(p *Program) { p.Ops[0].Out = p.Slots },
		"argument 0 points":           func(p *Program) { p.Ops[0].Args[0] = Arg{Pool, uint64(len(p.Pool))} },
		"argument 4 is no string":     func(p *Program) { p.Pool = append(p.Pool, 'x'); p.Ops[0].Args[4] = Arg{Text, uint64(len(p.Pool) - 1)} },
		"argument 5 is slot":          func(p *Program) { p.Ops[0].Args[5] = Arg{Slot, uint64(p.Slots)} },
		"unknown kind":                func(p *Program) { p.Ops[0].Args[1].Kind = Text + 1 },
		"no error number":             func(p *Program) { p.Ops[0].Tolerate = 4096 },
		"relocation":                  func(p *Program) { p.Relocs[0].At = uint32(len(p.Pool)) &^ 7 },
		"slots":                       func(p *Program) { p.Slots = 3 },
		"of the table that it shares": func(p *Program) { p.Clone |= unix.CLONE_FILES; p.Ops[0].Call = Close },
		"label":                       func(p *Program) { p.Ops[0].Label = strings.Repeat("x", MaxLabel+1) },
		"operations":                  func(p *Program) { p.Ops = make([]Op, MaxOps+1) },
	} {
		p := compile(t, broker()).Start
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		breakIt(p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for want, breakIt := range map[string]func(*Spec){
		`unknown architecture "mips"`:         func(s *Spec) { s.Arch = "mips" },
		"a system call filter of 9 bytes":     func(s *Spec) { s.Filter = make([]byte, 9) },
		`unknown rlimit "files"`:              func(s *Spec) { s.Container.Limits.Rlimits = map[string]int64{"files": 1} },
		`unknown capability "NET_ADMIN"`:      func(s *Spec) { s.Container.Capabilities = []string{"NET_ADMIN"} },
		`path "tmp" is not absolute`:          func(s *Spec) { s.Container.Dir = "tmp" },
		"nothing may be mounted at /":         func(s *Spec) { s.Container.Data[0].Path = "/usr/.." },
		"nothing may be mounted below":        func(s *Spec) { s.Container.Tmpfs[0].Path = "/proc/sys" },
		"two mounts at /run/mosquitto":        func(s *Spec) { s.Container.Data[0].Path = "/run/mosquitto/" },
		`"A=\x00" contains a NUL byte`:        func(s *Spec) { s.Container.Env = []string{"A=\x00"} },
		"user or group 65536 is not":          func(s *Spec) { s.Container.Groups = []uint32{65536} },
		"65536 IDs from 4294901761":           func(s *Spec) { s.Container.IDs.Base = 1<<32 - 0xffff },
		"more than 192 slots":                 func(s *Spec) { manyData(s, 300) },
		"a pool of ":                          func(s *Spec) { s.Container.Env = []string{strings.Repeat("x", MaxPool)} },
		"compiling the start of container br": func(s *Spec) { s.Arch = "" },
	} {
		s := broker()
		breakIt(s)
		if _, err := Compile(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func manyData(s *Spec, n int) {
	s.Container.Data = nil
	for i := range n {
		s.Container.Data = append(s.Container.Data, system.Data{Path: "/d/" + strings.Repeat("x", i+1)})
	}
}

func TestExplain(t *testing.T) {
	p := compile(t, broker()).Start
	err := p.Explain(len(p.Ops)-1, syscall.ENOENT)
	var e *Error
	if !errors.As(err, &e) || e.Call != Execve || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%#v", err)
	}
	if want := "executing the program: execve: no such file or directory"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%q does not end with %q", err, want)
	}
	if err := p.Explain(len(p.Ops), syscall.EIO); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
}

func TestMountPoints(t *testing.T) {
	c := broker().Container
	c.Data = append(c.Data, system.Data{Path: "/run/lib"}, system.Data{Path: "/srv/"})
	var got []string
	for _, m := range MountPoints(c) {
		if m.File {
			m.Path += " file"
		}
		got = append(got, m.Path)
	}
	want := "dev|etc/hostname file|etc/hosts file|etc/resolv.conf file|proc|run|srv|sys|tmp|var/lib/mosquitto"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
}

func FuzzDecode(f *testing.F) {
	l, err := Compile(broker())
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range programs(l) {
		b, err := p.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(magic))
	whole, err := l.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := DecodeLaunch(b); err == nil {
			if back, err := l.Encode(); err != nil || !bytes.Equal(back, b) {
				t.Errorf("decoded a launch of %d bytes that encodes to %d, %v", len(b), len(back), err)
			}
		}
		p, err := Decode(b)
		if err != nil {
			return
		}
		if back, err := p.Encode(); err != nil || !bytes.Equal(back, b) {
			t.Errorf("decoded %d bytes that encode to %d, %v", len(b), len(back), err)
		}
		_ = p.String()
	})
}
