package store_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
)

// crashDir, when set, makes the test binary a process that puts objects and
// waits to be killed; buildDir, one that makes systems.
const (
	crashDir = "STORE_TEST_CRASH_DIR"
	buildDir = "STORE_TEST_BUILD_DIR"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crash(dir)
	}
	m.Run()
}

func crash(dir string) {
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		panic(err)
	}
	for i := range 20 {
		if _, err := s.PutBytes(fmt.Appendf(nil, "object %d", i)); err != nil {
			panic(err)
		}
		if i == 9 {
			if err := s.Commit(); err != nil {
				panic(err)
			}
		}
	}
	fmt.Println("ready")
	select {}
}

// TestCrashedProcess kills a process between two commits: what it committed
// stays, what it did not leaves no trace, and a living process keeps its own.
func TestCrashedProcess(t *testing.T) {
	dir := t.TempDir()
	living := openAt(t, dir)
	mine, err := living.PutBytes([]byte("mine"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	areas := func() int {
		list, err := filepath.Glob(filepath.Join(dir, "tmp", "stage-*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if n := areas(); n != 2 {
		t.Errorf("%d staging areas with two processes", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	next := openAt(t, dir)
	if n := areas(); n != 2 {
		t.Errorf("%d staging areas after one of two processes crashed and one came", n)
	}
	for i := range 20 {
		if d := digest.Of(fmt.Appendf(nil, "object %d", i)); next.Has(d) != (i <= 9) {
			t.Errorf("object %d is there: %v", i, next.Has(d))
		}
	}
	if next.Has(mine) {
		t.Error("what one process did not commit is seen by another")
	}
	if err := living.Commit(); err != nil {
		t.Fatal(err)
	}
	if !next.Has(mine) {
		t.Error("what one process committed is not seen by another")
	}
}

// TestPutHealsTruncation: a file of the wrong length is replaced by a put.
func TestPutHealsTruncation(t *testing.T) {
	s := open(t)
	b := []byte(text("x"))
	d, err := s.PutBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.ObjectPath(d), 3); err != nil {
		t.Fatal(err)
	}
	fresh := openAt(t, s.Dir())
	if _, err := fresh.PutBytes(b); err != nil {
		t.Fatal(err)
	}
	if err := fresh.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Bytes(d, 1<<20); err != nil {
		t.Error(err)
	}
}

func BenchmarkPutSmall(b *testing.B) {
	for b.Loop() {
		s, err := store.Open(b.TempDir(), store.Options{})
		if err != nil {
			b.Fatal(err)
		}
		for i := range 5000 {
			if _, err := s.PutBytes(fmt.Appendf(nil, "object %d", i)); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Commit(); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
