package seccomp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// exporter builds the program that has libseccomp write filters.
func exporter(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	out := filepath.Join(t.TempDir(), "export")
	b, err := exec.Command("gcc", "-O1", "-o", out, "testdata/libseccomp/export.c", "-lseccomp").CombinedOutput()
	if err != nil && bytes.Contains(b, []byte("seccomp.h: No such file")) {
		t.Skip("libseccomp-dev is not installed")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return out
}

// compares are enum scmp_compare of seccomp.h.
var compares = map[specs.LinuxSeccompOperator]int{
	specs.OpNotEqual: 1, specs.OpLessThan: 2, specs.OpLessEqual: 3, specs.OpEqualTo: 4,
	specs.OpGreaterEqual: 5, specs.OpGreaterThan: 6, specs.OpMaskedEqual: 7,
}

// libseccompFilter returns libseccomp's filter for the profile, and the names
// of calls that libseccomp does not know.
func libseccompFilter(t *testing.T, program, arch string, p *moby.Seccomp, caps []string) ([]Insn, []string) {
	t.Helper()
	var rules strings.Builder
	fmt.Fprintln(&rules, map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch], *p.DefaultErrnoRet)
	for _, s := range p.Syscalls {
		switch {
		case !applies(s, arch),
			s.Includes != nil && len(s.Includes.Caps) > 0 && !slices.Contains(caps, s.Includes.Caps[0]),
			s.Excludes != nil && len(s.Excludes.Caps) > 0 && slices.Contains(caps, s.Excludes.Caps[0]):
			continue
		}
		errno := uint(0)
		if s.Action == specs.ActErrno {
			errno = *s.ErrnoRet
		}
		for _, name := range s.Names {
			fmt.Fprint(&rules, name, " ", errno, " ", len(s.Args))
			for _, a := range s.Args {
				fmt.Fprint(&rules, " ", a.Index, " ", compares[a.Op], " ", a.Value, " ", a.ValueTwo)
			}
			fmt.Fprintln(&rules)
		}
	}
	cmd := exec.Command(program)
	cmd.Stdin = strings.NewReader(rules.String())
	var out, unknown bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &unknown
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s", arch, err, &unknown)
	}
	filter := make([]Insn, out.Len()/Size)
	if err := binary.Read(&out, binary.LittleEndian, filter); err != nil {
		t.Fatal(err)
	}
	return filter, strings.Fields(unknown.String())
}

// TestAgainstLibseccomp runs every call with arguments around every constant of
// the profile through our filter and through libseccomp's for the same profile.
// Two differences are meant: numbers beyond the profile's are unknown calls
// (ENOSYS, as runc has it) and not forbidden ones; and ours looks at the 32 bits
// of an argument that the kernel looks at, so samples have no more.
func TestAgainstLibseccomp(t *testing.T) {
	program := exporter(t)
	p := moby.DefaultProfile()
	values := slices.DeleteFunc(samples(p), func(v uint64) bool { return v > 0xffffffff })
	for arch, audit := range audits {
		names, highest := map[uint16]string{}, uint16(0)
		for name, nr := range numbers(t, arch) {
			names[nr] = name
			for _, s := range p.Syscalls {
				if applies(s, arch) && slices.Contains(s.Names, name) {
					highest = max(highest, nr)
				}
			}
		}
		for _, caps := range [][]string{nil, {"CAP_SYS_ADMIN"}, {"CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_TIME"}} {
			ours, err := Default(arch, caps)
			if err != nil {
				t.Fatal(err)
			}
			theirs, unknown := libseccompFilter(t, program, arch, p, caps)
			compared, skipped := 0, 0
			for nr := range uint32(highest) + 1 {
				if name := names[uint16(nr)]; slices.Contains(unknown, name) {
					skipped++
					continue
				}
				for _, v := range values {
					d := data{nr: nr, arch: audit, args: [6]uint64{v, v, v, v, v, v}}
					want, _, err := interpret(theirs, d)
					if err != nil {
						t.Fatalf("libseccomp's filter: %v", err)
					}
					got, _, err := interpret(ours, d)
					if err != nil || got != want {
						t.Fatalf("%s with %v: %s (%d) of %#x: %#x, %v; libseccomp says %#x", arch, caps, names[uint16(nr)], nr, v, got, err, want)
					}
					compared++
				}
			}
			t.Logf("%s with %v: %d instructions, libseccomp %d; %d cases agree, %d calls it does not know", arch, caps, len(ours), len(theirs), compared, skipped)
			if compared < 20_000 || skipped > 30 {
				t.Errorf("%s: %d cases compared, %d calls skipped", arch, compared, skipped)
			}
		}
	}
}
