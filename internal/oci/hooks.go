package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/launch"
	"golang.org/x/sys/unix"
)

// hooks runs hooks in the runtime's namespaces, in order, up to the first that
// fails. Each gets the container's state as its input.
func hooks(point string, list []Hook, s State) error {
	for _, h := range list {
		if err := h.run(s); err != nil {
			return fmt.Errorf("%s hook %s: %w", point, h.Path, err)
		}
	}
	return nil
}

func (h *Hook) context() (context.Context, context.CancelFunc) {
	if h.Timeout == nil {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), time.Duration(*h.Timeout)*time.Second)
}

// hookWait is how long a hook's children may keep its output open after its end.
const hookWait = time.Second

func (h *Hook) run(s State) error {
	in, err := json.Marshal(s)
	if err != nil {
		return err
	}
	ctx, cancel := h.context()
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Path)
	if len(h.Args) > 0 {
		cmd.Args = h.Args
	}
	cmd.Env = h.Env
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	cmd.Dir = s.Bundle
	var said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = bytes.NewReader(in), &said, &said, hookWait
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

// inside runs hooks in the namespaces of a container's process: in its mount
// namespace, where root and working directory are that namespace's.
func inside(point string, c *Config, list []Hook, s State, arch string) error {
	for i := range list {
		if err := list[i].runInside(c, s, arch); err != nil {
			return fmt.Errorf("%s hook %s: %w", point, list[i].Path, err)
		}
	}
	return nil
}

func (h *Hook) runInside(c *Config, s State, arch string) error {
	in, err := json.Marshal(s)
	if err != nil {
		return err
	}
	input, err := memory("state", in)
	if err != nil {
		return err
	}
	defer input.Close()
	pidfd, err := unix.PidfdOpen(s.PID, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	p, err := h.program(c, arch, int(input.Fd()), pidfd)
	if err != nil {
		return err
	}
	child, err := begin(p, -1, -1, nil, func(b *container.Child) error {
		args := h.Args
		if len(args) == 0 {
			args = []string{path.Base(h.Path)}
		}
		return b.Command(h.Path, args)
	})
	if err != nil {
		return err
	}
	ctx, cancel := h.context()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = child.Kill() })
	defer stop()
	exit, err := child.Wait()
	unix.Close(child.PidFD())
	if err != nil {
		return err
	}
	if exit.Status() != 0 {
		return fmt.Errorf("%v", exit)
	}
	return nil
}

func (h *Hook) program(c *Config, arch string, input, pidfd int) (*launch.Program, error) {
	if err := launch.NoNUL(h.Env...); err != nil {
		return nil, err
	}
	a := launch.NewAssembler(arch, 0, h.Path)
	var flags uint64
	for _, n := range []string{"network", "mount", "ipc", "uts", "cgroup", "user"} {
		if _, ok := c.namespace(n); ok {
			flags |= namespaceFlags[n]
		}
	}
	a.Do("joining the container's namespaces", launch.Setns, launch.Value(pidfd), launch.Value(flags))
	a.Do("setting its input", launch.Dup3, launch.Value(input), launch.Value(0), launch.Value(0))
	a.Do("clearing the signal mask", launch.RtSigprocmask, launch.Value(unix.SIG_SETMASK), a.Words(0), launch.Value(0), launch.Value(8))
	a.Do("executing the hook", launch.Execve, launch.Held(launch.Path), launch.Held(launch.Argv), a.Vector(h.Env))
	return a.Finish("hook")
}

// memory returns a file in memory, at its beginning.
func memory(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(content, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// begin makes a child, sets its command and waits until it has executed it.
func begin(p *launch.Program, cgroup, pidNS int, set map[launch.Arg]uintptr, command func(*container.Child) error) (*container.Child, error) {
	child, err := container.NewChild(p, set)
	if err != nil {
		return nil, err
	}
	if err := command(child); err != nil {
		return nil, err
	}
	child.Begin(cgroup, pidNS, func() {})
	return child, child.Executed()
}
