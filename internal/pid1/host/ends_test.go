package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestEnds passes the ends of links and a namespace, or why there are none, and
// keeps no descriptor.
func TestEnds(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	path := filepath.Join(t.TempDir(), "ends")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- ServeEnds(ctx, path, func(name string) (Ends, error) {
			switch name {
			case "both":
				ns, err := unix.Dup(int(r.Fd()))
				return Ends{Links: []*os.File{w, r, w}, Namespace: ns}, err
			case "none":
				return Ends{Namespace: -1}, nil
			case "many":
				return Ends{Links: make([]*os.File, maxEnds+1), Namespace: -1}, nil
			}
			return Ends{}, errors.New("no such container")
		}, func(err error) { t.Error(err) })
	}()
	for range 500 {
		if st, err := os.Stat(path); err == nil && st.Mode().Perm() == endsSocket {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	ask := func(name string) (Ends, error) {
		t.Helper()
		e, err := AskEnds(path, name)
		if err != nil {
			return e, err
		}
		for _, f := range e.Links {
			f.Close()
		}
		if e.Namespace >= 0 {
			unix.Close(e.Namespace)
		}
		return e, nil
	}
	if _, err := ask("none"); err != nil {
		t.Fatal(err)
	}
	before := count()
	for range 50 {
		e, err := AskEnds(path, "both")
		if err != nil || len(e.Links) != 3 || e.Namespace < 0 {
			t.Fatalf("%+v, %v", e, err)
		}
		if _, err := e.Links[2].WriteString("x"); err != nil {
			t.Error(err)
		}
		if n, err := unix.Read(e.Namespace, make([]byte, 2)); n != 1 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		if flags, err := unix.FcntlInt(uintptr(e.Namespace), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("the descriptor would be inherited: %v", err)
		}
		for _, f := range e.Links {
			f.Close()
		}
		unix.Close(e.Namespace)
	}
	if e, err := ask("none"); err != nil || len(e.Links) != 0 || e.Namespace != -1 {
		t.Errorf("none: %+v, %v", e, err)
	}
	for name, want := range map[string]string{"other": "no such container", "many": "more than"} {
		if _, err := ask(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := 0; count() > before && i < 500; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
