package store_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/store/storetest"
)

// TestBuildProcess is no test: it is what each process of
// TestBuildersAndCollector does. Every round makes a system of objects that
// are partly there already, and partly garbage of the round before.
func TestBuildProcess(t *testing.T) {
	dir, name, ok := strings.Cut(os.Getenv(buildDir), ":")
	if !ok {
		t.Skip("run by TestBuildersAndCollector")
	}
	for round := range 12 {
		s, err := store.Open(dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{"same": text("same"), "round": text(fmt.Sprint(round)), "mine": text(name)}
		image, err := s.PutImage(ctx, storetest.PutTree(t, s, files))
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.PutSystem(storetest.Manifest(t, s, image))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetRoot(name, d); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBuildersAndCollector lets processes build while another one collects
// garbage as often as it gets the store. No root may ever lack anything.
func TestBuildersAndCollector(t *testing.T) {
	dir := t.TempDir()
	running := make(chan error)
	names := []string{"a", "b", "c"}
	for _, name := range names {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestBuildProcess$")
		cmd.Env = append(os.Environ(), buildDir+"="+dir+":"+name)
		go func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("builder %s: %w: %s", name, err, out)
			}
			running <- err
		}()
	}
	collected := 0
	for left := len(names); left > 0; {
		select {
		case err := <-running:
			left--
			if err != nil {
				t.Error(err)
			}
		default:
			if collect(t, dir) {
				collected++
			}
		}
	}
	if collected == 0 {
		t.Error("the collector never got the store")
	}
	collect(t, dir)
	s := openAt(t, dir)
	r, err := s.Verify(ctx, nil)
	if err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
	roots, err := s.Roots()
	if err != nil || len(roots) != len(names) || r.Checked.Files != 3+3+5+6 {
		t.Errorf("roots %v, %v; %d files left", roots, err, r.Checked.Files)
	}
}

// collect reports whether the store could be had, and checks what is left.
func collect(t *testing.T, dir string) bool {
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, err := s.PlanGC(nil)
	if err == nil {
		err = s.ExecuteGC(ctx, p)
	}
	if err != nil && !errors.Is(err, store.ErrBusy) {
		t.Error(err)
	}
	return err == nil
}
