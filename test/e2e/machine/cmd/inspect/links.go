package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/instar-os/instar/port"
)

// Both ends of the ports agree on these.
var (
	level    = port.Message{Link: "water-level", Size: 16, Version: 3}
	ticks    = port.Message{Link: "ticks", Size: 16, Version: 1}
	commands = port.Message{Link: "commands", Size: 64, Version: 1}
	replies  = port.Message{Link: "replies", Size: 64, Version: 1}
)

// lives is how often meter fails before it stays, messages how many it writes
// in each life.
const (
	lives    = 3
	messages = 20
)

// meter writes to a sampling and a queueing port, a pipe and a stream, and fails
// now and then.
func meter([]string) error {
	if _, err := port.OpenSamplingWriter(port.Message{Link: level.Link, Size: 16, Version: 2}); !errors.Is(err, port.ErrMismatch) {
		return fmt.Errorf("a port of another version opens: %w", err)
	}
	w, err := port.OpenSamplingWriter(level)
	if err != nil {
		return err
	}
	q, err := port.OpenQueueWriter(ticks)
	if err != nil {
		return err
	}
	life := uint64(time.Now().UnixNano())
	before := q.State().Written
	for n := before + 1; ; n++ {
		var msg [16]byte
		binary.LittleEndian.PutUint64(msg[:], life)
		binary.LittleEndian.PutUint64(msg[8:], n)
		if err := w.Write(msg[:]); err != nil {
			return err
		}
		if n <= lives*messages {
			if err := q.Write(msg[:]); err != nil {
				return err
			}
		}
		if n == before+messages && n < lives*messages {
			return errors.New("falls on purpose")
		}
		if n == lives*messages {
			if err := errors.Join(say("WORD", "one"), say("WORD", "another")); err != nil {
				return err
			}
			for _, name := range []string{"PIPE", "TALK", "BELL"} {
				if err := say(name, "\x05\x00\x00\x00\x00\x00\x00\x00"); err != nil {
					return err
				}
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// linkFile returns the end of a link that is no port.
func linkFile(name string) (*os.File, error) {
	fd, err := strconv.Atoi(os.Getenv("INSTAR_LINK_" + name))
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func say(name, text string) error {
	f, err := linkFile(name)
	if err == nil {
		_, err = f.WriteString(text)
	}
	return err
}

// gauge is the other end of meter, and after that answers commands and
// connections.
func gauge([]string) error {
	if err := follow(); err != nil {
		return err
	}
	for _, name := range []string{"PIPE", "TALK", "BELL"} {
		f, err := linkFile(name)
		if err != nil {
			return err
		}
		buf := make([]byte, 8)
		if n, err := f.Read(buf); err != nil || n != 8 || buf[0] != 5 {
			return fmt.Errorf("%s: read %q, %w", name, buf[:n], err)
		}
	}
	if err := words(); err != nil {
		return err
	}
	if err := cannotWrite(); err != nil {
		return err
	}
	if err := answer(); err != nil {
		return err
	}
	if err := touch([]string{"/run/measured"}); err != nil {
		return err
	}
	return obey()
}

// words takes two datagrams, each whole and by itself, and answers.
func words() error {
	f, err := linkFile("WORD")
	if err != nil {
		return err
	}
	for _, want := range []string{"one", "another"} {
		buf := make([]byte, 64)
		if n, err := f.Read(buf); err != nil || string(buf[:n]) != want {
			return fmt.Errorf("WORD: read %q, %w, want %s", buf[:n], err, want)
		}
	}
	_, err = f.WriteString("heard")
	return err
}

// follow takes all messages of all of meter's lives.
func follow() error {
	r, err := port.OpenSamplingReader(level)
	if err != nil {
		return err
	}
	q, err := port.OpenQueueReader(ticks)
	if err != nil {
		return err
	}
	seen := map[uint64]bool{}
	var buf [16]byte
	last := uint64(0)
	for last < lives*messages {
		if _, err := q.Wait(10 * time.Second); err != nil {
			return err
		}
		for {
			s, err := q.Read(buf[:])
			if errors.Is(err, port.ErrEmpty) {
				break
			}
			n := binary.LittleEndian.Uint64(buf[8:])
			if err != nil || n != last+1 || s.Sequence != n || s.Lost != 0 {
				return fmt.Errorf("message %d after %d: %+v, %w", n, last, s, err)
			}
			last = n
			seen[binary.LittleEndian.Uint64(buf[:])] = true
		}
	}
	s, err := r.Read(buf[:])
	if err != nil || !s.Valid || s.Sequence < lives*messages || s.Age > time.Minute {
		return fmt.Errorf("the level: %+v, %w", s, err)
	}
	fmt.Printf("%d messages of %d lives\n", last, len(seen))
	return nil
}

// cannotWrite tries to change what it may read only.
func cannotWrite() error {
	if _, err := port.OpenSamplingWriter(level); !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("a reader opens its port for writing: %w", err)
	}
	path := "/proc/self/fd/" + os.Getenv(port.Variable(level.Link))
	if f, err := os.OpenFile(path, os.O_RDWR, 0); !errors.Is(err, os.ErrPermission) {
		f.Close()
		return fmt.Errorf("a reader opens its memory anew for writing: %w", err)
	}
	return nil
}

// answer serves the listening socket that it was started with, in a container
// without a network.
func answer() error {
	if os.Getenv("LISTEN_FDS") != "1" || os.Getenv("LISTEN_FDNAMES") != "door" || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("listening descriptors %q", os.Environ())
	}
	l, err := net.FileListener(os.NewFile(3, "door"))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				fail(err)
			}
			fmt.Fprint(c, "HTTP/1.0 200 OK\r\n\r\nthe door is open\n")
			c.(*net.TCPConn).CloseWrite()
			c.Read(make([]byte, 4096)) // the request, which does not matter
			c.Close()
		}
	}()
	return nil
}

// obey answers every command.
func obey() error {
	in, err := port.OpenQueueReader(commands)
	if err != nil {
		return err
	}
	out, err := port.OpenQueueWriter(replies)
	if err != nil {
		return err
	}
	buf := make([]byte, commands.Size)
	for {
		if _, err := in.Wait(-1); err != nil {
			return err
		}
		for {
			s, err := in.Read(buf)
			if errors.Is(err, port.ErrEmpty) {
				break
			}
			if err != nil {
				return err
			}
			if err := out.Write([]byte("did " + string(buf[:s.Length]))); err != nil {
				return err
			}
		}
	}
}
