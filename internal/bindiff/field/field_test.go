package field

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/hex"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// libc is a large file of hand-written vector code, if the machine has one.
const libc = "/lib/x86_64-linux-gnu/libc.so.6"

// Lengths and displacements agree with objdump's, in a library that uses AVX
// and AVX-512.
func TestInstructionAgainstObjdump(t *testing.T) {
	objdump, err := exec.LookPath("objdump")
	if err != nil {
		t.Skip("objdump is not installed")
	}
	if _, err := os.Stat(libc); err != nil {
		t.Skip("no library of x86-64 here")
	}
	out, err := exec.Command(objdump, "-d", "-w", "-j", ".text", libc).Output()
	if err != nil {
		t.Fatal(err)
	}
	n, wrong, relative := 0, 0, 0
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		cols := strings.SplitN(sc.Text(), "\t", 3)
		if len(cols) < 3 || strings.Contains(cols[2], "(bad)") {
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(cols[1], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		n++
		got, rel := instruction(append(b, 0x90, 0x90, 0x90))
		if got != len(b) {
			if wrong++; wrong < 20 {
				t.Errorf("%s: %d bytes, want %d", sc.Text(), got, len(b))
			}
		}
		hasRel := strings.Contains(cols[2], "(%rip)")
		if i := strings.Index(cols[2], "# "); i >= 0 && hasRel && rel > 0 {
			relative++
			addr, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(cols[0]), ":"), 16, 64)
			want, _ := strconv.ParseInt(strings.Fields(cols[2][i+2:])[0], 16, 64)
			if to := addr + int64(len(b)) + int64(int32(le.Uint32(b[rel:]))); to != want {
				t.Errorf("%s: points to %x", sc.Text(), to)
			}
		}
		if hasRel != (rel > 0) && !strings.HasPrefix(cols[2], "call") && cols[2][0] != 'j' && !strings.Contains(cols[2], " j") && !strings.Contains(cols[2], "call") && !strings.Contains(cols[2], "xbegin") {
			t.Errorf("%s: displacement at %d", sc.Text(), rel)
		}
	}
	if n < 100_000 || relative < 1000 {
		t.Errorf("only %d instructions, %d displacements", n, relative)
	}
}

// Fields of a real library are where debug/elf says its structures are.
func TestFind(t *testing.T) {
	text, err := os.ReadFile(libc)
	if err != nil {
		t.Skip("no library of x86-64 here")
	}
	l := Find(text)
	if l == nil {
		t.Fatal("not taken")
	}
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range f.Sections {
		if got := l.Sections[i]; got.Name != s.Name || got.Size != s.Size || got.Off != s.Offset {
			t.Errorf("section %d is %+v, want %+v", i, got, s.SectionHeader)
		}
	}
	count := map[Kind]int{}
	end := uint32(0)
	for x := range l.Fields() {
		if x.Pos < end {
			t.Fatalf("a field at %d, the one before ends at %d", x.Pos, end)
		}
		end = x.End()
		count[x.Kind()]++
	}
	if int(end) > len(text) || count[Rel32] < 50_000 || count[Abs64] < 1000 || count[Len32] < 2000 {
		t.Errorf("fields by kind: %v", count)
	}
	if c := l.Canonical(nil); len(c) != len(text) || bytes.Equal(c, text) {
		t.Error("the canonical form is not one")
	}
}

// Value and Target, Read and Write are each other's inverse for every kind.
func TestInverse(t *testing.T) {
	l := &Layout{Sections: []Section{{Addr: 0x1000, Size: 0x1000}, {Addr: 0x4000, Size: 0x1000}}}
	for k := range Hash {
		f := Field{0, uint32(k) << 24}
		if k == Sec32 || k == Sec64 || k == SecPC64 || k == Sym32 || k == NegSec32 {
			f.what |= 1
		}
		for _, v := range []uint64{0, 4, 0x1000, 0xffffffffffff0000} {
			b := []byte{0, 0, 0, 0, 0, 0, 0, 0}
			f.Write(b, v)
			v = f.Read(b) // what the kind can hold of it
			p := Place{Layout: l, Addr: 0x123450, Before: 0x5000, Base: 0x7123}
			if got := f.Value(p, f.Section(), f.Target(p, f.Section(), v)); got != v {
				t.Errorf("kind %d: %x becomes %x", k, v, got)
			}
		}
	}
}

func FuzzFind(f *testing.F) {
	head := make([]byte, 64+3*64+200)
	copy(head, "\x7fELF\x02\x01\x01")
	head[16], head[18], head[40], head[58], head[60] = 1, 62, 64, 64, 3
	f.Add(head)
	if text, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(text)
		f.Add(archiveOf(f, head, text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l := Find(text)
		if l == nil {
			return
		}
		end := uint32(0)
		for x := range l.Fields() {
			if x.Pos < end || int(x.End()) > len(text) {
				t.Fatalf("a field of %d..%d behind %d in %d bytes", x.Pos, x.End(), end, len(text))
			}
			end = x.End()
		}
		if len(l.Canonical(nil)) != len(text) {
			t.Fatal("another length")
		}
	})
}
