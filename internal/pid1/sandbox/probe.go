package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/pid1/supervise"
	"github.com/instar-os/instar/internal/system"
)

// Limits of a check, in bytes.
const (
	maxHeader = 8 << 10 // of an HTTP answer's first line
	maxSaid   = 200     // of a command's output that is shown
)

// Probe implements supervise.Sandbox.
func (b *box) Probe(ctx context.Context, h *system.Health, main supervise.Process) error {
	switch {
	case h.TCP != "":
		conn, err := dial(ctx, main.PID(), h.TCP)
		if err != nil {
			return err
		}
		return conn.Close()
	case h.HTTP != "":
		return get(ctx, main.PID(), h.HTTP)
	case len(h.Exec) > 0:
		return b.exec(ctx, h.Exec)
	}
	return exists(main.PID(), h.File)
}

// dial connects within the network namespace of a process. Hosts are addresses
// or localhost: there is no name service to rely on.
func dial(ctx context.Context, pid int, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("health address %q: %w", address, err)
	}
	if host == "" || host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil, fmt.Errorf("health address %q: neither an IP address nor localhost", address)
	}
	var conn net.Conn
	err = inNetwork(pid, func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", net.JoinHostPort(ip.String(), port))
		return err
	})
	return conn, err
}

// inNetwork runs f on a thread that is in the network namespace of a process.
// A thread that cannot go back ends with the goroutine.
func inNetwork(pid int, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			result <- err
			return
		}
		defer own.Close()
		other, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
		if err != nil {
			result <- err
			return
		}
		defer other.Close()
		if err := unix.Setns(int(other.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("joining its network namespace: %w", err)
			return
		}
		err = f()
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// get asks for a URL in HTTP/1.1 and wants an answer of 200 to 399.
func get(ctx context.Context, pid int, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("health address: %w", err)
	}
	if u.Scheme != "http" {
		return fmt.Errorf("health address %q: only http is checked", address)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	conn, err := dial(ctx, pid, net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: instar\r\nConnection: close\r\n\r\n", u.RequestURI(), u.Host)
	if err != nil {
		return fmt.Errorf("asking %s: %w", address, err)
	}
	code, err := statusLine(conn)
	if err == nil && (code < 200 || code > 399) {
		err = fmt.Errorf("answer %d", code)
	}
	if err != nil {
		return fmt.Errorf("asking %s: %w", address, err)
	}
	return nil
}

// statusLine reads "HTTP/1.1 200 OK", RFC 9112 section 4.
func statusLine(r io.Reader) (int, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxHeader)).ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("no HTTP answer: %w", err)
	}
	version, rest, _ := strings.Cut(line, " ")
	digits, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	code, err := strconv.Atoi(digits)
	if !strings.HasPrefix(version, "HTTP/1.") || err != nil || len(digits) != 3 || code < 100 {
		return 0, fmt.Errorf("no HTTP answer but %.40q", line)
	}
	return code, nil
}

// exists looks for a file as the container sees it, following its links.
func exists(pid int, path string) error {
	root, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("looking for %s: %w", path, err)
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(root, path, &how)
	if err != nil {
		return fmt.Errorf("looking for %s: %w", path, err)
	}
	return unix.Close(fd)
}

// exec runs a command in the container; its last words explain a failure.
func (b *box) exec(ctx context.Context, args []string) error {
	var said tail
	p, err := b.spawn(b.s.Exec, args, nil, &said, &said)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, p.abandon)
	defer stop()
	code, err := p.Wait()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", args[0], ctx.Err())
	case err != nil:
		return fmt.Errorf("%s: %w", args[0], err)
	case code != 0:
		return errors.New(strings.TrimSpace(fmt.Sprintf("%s: exit code %d %s", args[0], code, said.last())))
	}
	return nil
}
