package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/instar-os/instar/internal/pid1/logs"
	"github.com/instar-os/instar/internal/pid1/supervise"
)

// maxHeader is the longest first line of a stream of output, in bytes.
const maxHeader = 256

// sendLimit is how long a unit waits for the log; after it the log is done
// without.
const sendLimit = time.Second

// Lines is the log of a unit: what it is given goes to its own streams, which
// systemd takes to its journal, and to the machine's log.
//
// Each stream of a container is a connection of its own to Path. Its first
// line is "CONTAINER STREAM"; what follows is the output as it is.
type Lines struct {
	Path     string
	Out, Err io.Writer

	once sync.Once
	own  io.WriteCloser
}

// Printf notes a line of the unit's supervisor.
func (l *Lines) Printf(format string, args ...any) {
	l.once.Do(func() { l.own = l.stream(logs.Init, logs.Init, l.Err) })
	fmt.Fprintf(l.own, format+"\n", args...)
}

// Output returns where a stream of a container is written to.
func (l *Lines) Output(container, stream string) io.WriteCloser {
	if stream == "stderr" {
		return l.stream(container, stream, l.Err)
	}
	return l.stream(container, stream, l.Out)
}

func (l *Lines) stream(container, stream string, journal io.Writer) io.WriteCloser {
	return &lineStream{path: l.Path, header: container + " " + stream + "\n", journal: journal}
}

// A lineStream writes to the journal and to the machine's log; when that
// cannot be reached it tries again with the next write.
type lineStream struct {
	path, header string
	journal      io.Writer

	mu   sync.Mutex
	conn net.Conn
}

// Write never fails: output that nobody takes is no reason to stop a container.
func (s *lineStream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.Write(b)
	if s.conn == nil {
		conn, err := net.DialTimeout("unix", s.path, sendLimit)
		if err != nil {
			return len(b), nil
		}
		s.conn = conn
		s.send([]byte(s.header))
	}
	s.send(b)
	return len(b), nil
}

func (s *lineStream) send(b []byte) {
	if s.conn == nil {
		return
	}
	s.conn.SetWriteDeadline(time.Now().Add(sendLimit))
	if _, err := s.conn.Write(b); err != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// Close ends the stream.
func (s *lineStream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
	return nil
}

// Listener takes the streams of units into a log.
type Listener struct {
	l   net.Listener
	log supervise.Log
}

// ListenLines listens on a socket that nobody but root can reach.
func ListenLines(path string, log supervise.Log) (*Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &Listener{l, log}, nil
}

// Serve takes streams until ctx ends, which closes the listener.
func (l *Listener) Serve(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	stop := context.AfterFunc(ctx, func() { l.l.Close() })
	defer stop()
	for {
		conn, err := l.l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case err != nil:
			return fmt.Errorf("taking lines of units: %w", err)
		}
		running.Go(func() {
			end := context.AfterFunc(ctx, func() { conn.Close() })
			defer end()
			defer conn.Close()
			l.take(conn)
		})
	}
}

// take reads one stream to its end.
func (l *Listener) take(r io.Reader) {
	in := bufio.NewReaderSize(r, maxHeader)
	header, err := in.ReadSlice('\n')
	if err != nil {
		return
	}
	container, stream, ok := strings.Cut(strings.TrimSuffix(string(header), "\n"), " ")
	if !ok || container == "" || stream == "" {
		return
	}
	to := l.log.Output(container, stream)
	io.Copy(to, in)
	to.Close()
}

// OwnLines passes those of a log's console lines that are the supervisor's
// own; what containers print is in the journal by way of their units.
func OwnLines(console io.Writer) io.Writer { return ownLines{console} }

type ownLines struct{ console io.Writer }

func (o ownLines) Write(line []byte) (int, error) {
	_, text, ok := strings.Cut(string(line), "] ")
	if !ok || strings.HasPrefix(text, logs.Init+": ") {
		return o.console.Write(line)
	}
	return len(line), nil
}
