package port

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compile builds testdata/end.c against instar_port.h with every warning on.
func compile(t *testing.T) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is not installed")
	}
	program := filepath.Join(t.TempDir(), "end")
	out, err := exec.Command(gcc, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, "testdata/end.c").CombinedOutput()
	if err != nil {
		t.Fatalf("compiling: %v\n%s", err, out)
	}
	return program
}

// end is a C program at one end of a port.
func end(program string, e Ends, l Layout, verb string, n int) *exec.Cmd {
	c := exec.Command(program, verb, l.Link, fmt.Sprint(int(l.Kind)), fmt.Sprint(l.Size), fmt.Sprint(l.Version), fmt.Sprint(n))
	c.ExtraFiles = []*os.File{e.Memory}
	c.Env = []string{Variable(l.Link) + "=3"}
	if e.Cursor != nil {
		c.ExtraFiles = append(c.ExtraFiles, e.Cursor)
		c.Env = append(c.Env, Variable(l.Link)+"_CURSOR=4")
	}
	return c
}

// TestC lets Go and C be the two ends of ports, each way.
func TestC(t *testing.T) {
	program := compile(t)
	const n = 20000
	for _, l := range []Layout{sampling(64, 0), queueing(64, 16, Reject), queueing(256, 8, Drop)} {
		we, re := files(t, l)
		write := func(w interface{ Write([]byte) error }) error {
			data := make([]byte, l.Size)
			for i := uint64(1); i <= n; {
				fill(data, i)
				err := w.Write(data)
				if err == nil {
					i++
				} else if !errors.Is(err, ErrFull) {
					return err
				}
			}
			return nil
		}
		count := n
		if l.Policy == Drop {
			count = 8 // the last ones are always there
		}
		var out bytes.Buffer
		c := end(program, re, l, "read", count)
		c.Stdout = &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var w interface{ Write([]byte) error }
		if l.Kind == Sampling {
			w = must(NewSamplingWriter(we, l.Message))(t)
		} else {
			w = must(NewQueueWriter(we, l.Message))(t)
		}
		if err := write(w); err != nil {
			t.Error(err)
		}
		if err := c.Wait(); err != nil {
			t.Errorf("C reading what Go writes, kind %d, policy %d: %v: %s", l.Kind, l.Policy, err, &out)
		}
	}
	for _, l := range []Layout{sampling(64, 0), queueing(64, 16, Reject), queueing(256, 8, Drop)} {
		we, re := files(t, l)
		c := end(program, we, l, "write", n)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var r interface{ Read([]byte) (Sample, error) }
		if l.Kind == Sampling {
			r = must(NewSamplingReader(re, l.Message))(t)
		} else {
			r = must(NewQueueReader(re, l.Message))(t)
		}
		buf := make([]byte, l.Size)
		for last := uint64(0); last < n; {
			s, err := r.Read(buf)
			if errors.Is(err, ErrEmpty) || errors.Is(err, ErrOverrun) { // a writer without rest is faster than a reader under the race detector
				continue
			}
			if err != nil || s.Length != l.Size || !checkFill(buf, s.Sequence) || s.Sequence < last {
				t.Fatalf("Go reading what C writes, kind %d, policy %d: %+v after %d: %v", l.Kind, l.Policy, s, last, err)
			}
			last = s.Sequence
		}
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestCRefuses(t *testing.T) {
	program := compile(t)
	l := sampling(64, 0)
	_, re := files(t, l)
	larger, newer, other := l, l, queueing(64, 4, Drop)
	larger.Size, newer.Version = 128, 2
	other.Link = l.Link
	for _, row := range []struct {
		l    Layout
		want string
	}{{l, "ok"}, {larger, "Protocol error"}, {newer, "Protocol error"}, {other, "Link has been severed"}} {
		out, _ := end(program, re, row.l, "open", 0).Output()
		if got := strings.TrimSpace(string(out)); got != "open: "+row.want {
			t.Errorf("%+v: %s, want %s", row.l, got, row.want)
		}
	}
	if out, err := end(program, re, l, "write", 0).Output(); err == nil {
		t.Errorf("a reader opened its port for writing: %s", out)
	}
}
