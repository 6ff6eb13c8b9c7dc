package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Ends are what a container gets of what its configuration holds in common: its
// ends of links, in the order of its descriptors, and its network namespace.
type Ends struct {
	Links     []*os.File
	Namespace int // a descriptor; -1 for none
}

// A Holder has the links and networks of a configuration and gives a container
// its own. The files of links stay the holder's, the namespace is the caller's.
type Holder func(container string) (Ends, error)

// The protocol: the unit writes the container's name and closes its side for
// writing; the answer is one JSON message, with the descriptors beside it.
// Only root can connect: the socket's mode.
const (
	maxName    = 256
	maxAnswer  = 4096
	maxEnds    = 250 // SCM_MAX_FD of the kernel is 253
	endsLimit  = 10 * time.Second
	endsSocket = 0o600
)

type endsAnswer struct {
	Links     int    `json:"links"`
	Namespace bool   `json:"namespace"`
	Error     string `json:"error,omitempty"`
}

// ServeEnds answers on a socket until ctx ends, and removes it then.
func ServeEnds(ctx context.Context, path string, hold Holder, failed func(error)) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	if err := os.Chmod(path, endsSocket); err != nil {
		return err
	}
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting on %s: %w", path, err)
		}
		// One at a time: an answer takes microseconds and nobody waits for long.
		if err := answerEnds(conn, hold); err != nil {
			failed(err)
		}
	}
}

func answerEnds(conn *net.UnixConn, hold Holder) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(endsLimit)); err != nil {
		return err
	}
	name := make([]byte, maxName)
	n, err := conn.Read(name)
	if err != nil {
		return fmt.Errorf("reading who wants its links: %w", err)
	}
	ends, err := hold(string(name[:n]))
	var a endsAnswer
	var fds []int
	if err != nil {
		a.Error = err.Error()
	} else {
		if ends.Namespace >= 0 {
			defer unix.Close(ends.Namespace)
		}
		a, fds = ends.encode()
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	var beside []byte
	if len(fds) > 0 {
		beside = unix.UnixRights(fds...)
	}
	if _, _, err := conn.WriteMsgUnix(text, beside, nil); err != nil {
		return fmt.Errorf("giving %s its links: %w", name[:n], err)
	}
	return nil
}

func (e Ends) encode() (a endsAnswer, fds []int) {
	if len(e.Links) > maxEnds {
		return endsAnswer{Error: fmt.Sprintf("it has %d ends of links, more than %d", len(e.Links), maxEnds)}, nil
	}
	for _, f := range e.Links {
		fds = append(fds, int(f.Fd()))
	}
	a.Links = len(fds)
	if a.Namespace = e.Namespace >= 0; a.Namespace {
		fds = append(fds, e.Namespace)
	}
	return a, fds
}

// AskEnds returns what is a container's, which the caller closes.
func AskEnds(path, container string) (e Ends, err error) {
	e.Namespace = -1
	raw, err := net.DialTimeout("unix", path, endsLimit)
	if err != nil {
		return e, err
	}
	conn := raw.(*net.UnixConn)
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(endsLimit)); err != nil {
		return e, err
	}
	if _, err := conn.Write([]byte(container)); err != nil {
		return e, err
	}
	text, beside := make([]byte, maxAnswer), make([]byte, unix.CmsgSpace(4*(maxEnds+1)))
	n, m, flags, _, err := conn.ReadMsgUnix(text, beside)
	if err != nil {
		return e, err
	}
	fds, err := rights(beside[:m])
	defer func() {
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			e = Ends{Namespace: -1}
		}
	}()
	if err != nil {
		return e, err
	}
	var a endsAnswer
	if err := json.Unmarshal(text[:n], &a); err != nil {
		return e, err
	}
	want := a.Links
	if a.Namespace {
		want++
	}
	switch {
	case a.Error != "":
		return e, errors.New(a.Error)
	case flags&unix.MSG_CTRUNC != 0 || len(fds) != want:
		return e, fmt.Errorf("%d descriptors instead of %d", len(fds), want)
	}
	if a.Namespace {
		e.Namespace = fds[len(fds)-1]
	}
	for _, fd := range fds[:a.Links] {
		e.Links = append(e.Links, os.NewFile(uintptr(fd), "link"))
	}
	return e, nil
}

// rights returns the descriptors of control messages, which are ours from then
// on; close-on-exec, as package net asks for them.
func rights(b []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(b)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, err
		}
		fds = append(fds, got...)
	}
	return fds, nil
}
