package sandbox

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReaper runs in a process of its own, which becomes the parent of orphans
// as PID 1 is, and makes orphans and children of its own at the same time.
func TestReaper(t *testing.T) {
	const key = "INSTAR_TEST_REAPER"
	if os.Getenv(key) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestReaper$", "-test.v")
		cmd.Env = append(os.Environ(), key+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	var r Reaper
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var running, children sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	for i := range 60 {
		children.Go(func() {
			var p *os.Process
			err := r.Spawn(func() (pid int, err error) {
				// Leaves an orphan that ends later, and ends itself.
				script := fmt.Sprintf("sleep 0.0%d & exit %d", i%10, i)
				p, err = os.StartProcess("/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{})
				if err != nil {
					return 0, err
				}
				return p.Pid, nil
			})
			if err != nil {
				t.Error(err)
				return
			}
			if i%3 == 0 {
				time.Sleep(20 * time.Millisecond) // a zombie that nobody may take
			}
			st, err := p.Wait()
			r.Forget(p.Pid)
			if err != nil || st.ExitCode() != i {
				t.Errorf("child %d: %v, %v", i, st, err)
			}
		})
	}
	children.Wait()
	for range 200 {
		if unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == unix.ECHILD {
			cancel()
			running.Wait()
			if len(r.own) != 0 {
				t.Errorf("still owned: %v", r.own)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("orphans are left")
}

func TestHTTP(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-r.Context().Done()
		case "/moved":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "/":
			fmt.Fprint(w, r.Host, r.URL.RawQuery)
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	local := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	for _, row := range []struct{ url, want string }{
		{srv.URL, ""},
		{local + "/?q=1", ""},
		{srv.URL + "/moved", ""},
		{srv.URL + "/none", "answer 404"},
		{"https://127.0.0.1/", "only http"},
		{"http://example.org/", "neither an IP address nor localhost"},
		{"http://127.0.0.1:1/", "connection refused"},
	} {
		err := get(ctx, os.Getpid(), row.url)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.url, err, row.want)
		}
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := get(short, os.Getpid(), srv.URL+"/slow"); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("slow answer: %v after %s", err, time.Since(began))
	}
}

// offMain runs f on a thread that ends with it: not on the main thread, whose
// namespaces stand for the process's in /proc.
func offMain(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			f()
			return
		}
		started := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(started)
			f()
		}()
		<-started
		runtime.UnlockOSThread()
	}()
}

// TestDialJoinsNetwork listens in a network namespace of a thread's own; the
// port must be reached through the thread and not without.
func TestDialJoinsNetwork(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	address, quit := make(chan string), make(chan struct{})
	tid := make(chan int, 1)
	offMain(func() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		tid <- unix.Gettid()
		exec.Command("ip", "link", "set", "lo", "up").Run()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Error(err)
			close(address)
			return
		}
		defer l.Close()
		address <- l.Addr().String()
		<-quit
	})
	a, other := <-address, <-tid
	defer close(quit)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := dial(ctx, other, a)
	if err != nil {
		t.Fatalf("within: %v", err)
	}
	conn.Close()
	if conn, err := net.DialTimeout("tcp", a, time.Second); err == nil {
		conn.Close()
		t.Error("the port is reached from outside")
	}
}

func TestStatusLine(t *testing.T) {
	for _, row := range []struct {
		in   string
		code int
	}{
		{"HTTP/1.1 200 OK\r\n", 200}, {"HTTP/1.0 404\r\n", 404}, {"HTTP/1.1 500 Internal Server Error\n", 500},
		{"HTTP/1.1 20 OK\r\n", 0}, {"HTTP/2 200 OK\r\n", 0}, {"SSH-2.0-x\r\n", 0}, {"HTTP/1.1 200 OK", 0}, {"", 0},
		{"HTTP/1.1 " + strings.Repeat(" ", maxHeader) + "200 \n", 0},
	} {
		code, err := statusLine(strings.NewReader(row.in))
		if code != row.code || (err == nil) != (row.code != 0) {
			t.Errorf("%.30q: %d, %v", row.in, code, err)
		}
	}
}

func FuzzStatusLine(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		if code, err := statusLine(strings.NewReader(s)); err == nil && (code < 100 || code > 999) {
			t.Errorf("code %d", code)
		}
	})
}

func TestExists(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "good")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", filepath.Join(dir, "bad")); err != nil {
		t.Fatal(err)
	}
	if err := exists(os.Getpid(), filepath.Join(dir, "good")); err != nil {
		t.Error(err)
	}
	for _, path := range []string{filepath.Join(dir, "bad"), "/nowhere/at/all"} {
		if err := exists(os.Getpid(), path); err == nil || !strings.Contains(err.Error(), "looking for "+path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestTail(t *testing.T) {
	var said tail
	io.WriteString(&said, strings.Repeat("x", 3*maxSaid)+"\none\ntwo \n\n")
	if got := said.last(); got != "two" || len(said.b) > maxSaid {
		t.Errorf("last line %q of %d bytes", got, len(said.b))
	}
}
