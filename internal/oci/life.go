package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Start lets the program of a created container begin.
func (r *Runtime) Start(id string) error {
	c, err := r.load(id)
	if err != nil {
		return err
	}
	if c.Status != Created {
		return fmt.Errorf("container %s is %s, not created", id, c.Status)
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	if err := inside("startContainer", config, config.Hooks.StartContainer, c.State, runtime.GOARCH); err != nil {
		return errors.Join(err, c.kill(unix.SIGKILL))
	}
	fd, err := unix.Open(c.fifo(), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil { // ENXIO: nobody reads, the process has ended
		return fmt.Errorf("starting container %s: %w", id, err)
	}
	defer unix.Close(fd)
	if err := os.Remove(c.fifo()); err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte{1}); err != nil {
		return fmt.Errorf("starting container %s: %w", id, err)
	}
	c.Status = Running
	if err := hooks("poststart", config.Hooks.Poststart, c.State); err != nil {
		r.Warn("%v", err)
	}
	return nil
}

// RunOptions are the options of run.
type RunOptions struct {
	CreateOptions
	Detach bool     // return when the program runs
	Keep   bool     // do not delete the container at its end
	Input  *os.File // with a terminal and no console socket: what it is connected to
	Output *os.File
}

// Run creates and starts a container, waits for its end and deletes it. It
// returns its exit status.
func (r *Runtime) Run(id string, o RunOptions) (status int, err error) {
	l, err := r.prepare(id, o.CreateOptions, false)
	if err != nil {
		return 0, err
	}
	running := false
	defer func() {
		if err != nil && !running {
			l.abandon()
		}
	}()
	if err := l.ready(o.CreateOptions); err != nil {
		return 0, err
	}
	var relay *relay
	if l.master != nil {
		switch {
		case o.ConsoleSocket != "":
			err = sendTerminal(o.ConsoleSocket, l.master)
		case o.Detach:
			err = errors.New("the container wants a terminal and there is no console socket to send it to")
		default:
			relay, err = newRelay(l.master, o.Input, o.Output)
		}
		if err != nil {
			return 0, err
		}
		defer relay.close()
	}
	l.c.Status = Running
	if err := l.c.save(); err != nil {
		return 0, err
	}
	if err := writePid(o.PidFile, l.c.PID); err != nil {
		return 0, err
	}
	if err := inside("startContainer", l.config, l.config.Hooks.StartContainer, l.c.State, runtime.GOARCH); err != nil {
		return 0, err
	}
	if _, err := unix.Write(l.begin[1], []byte{1}); err != nil {
		return 0, os.NewSyscallError("write", err)
	}
	if err := l.child.Executed(); err != nil {
		return 0, err
	}
	running = true
	if err := hooks("poststart", l.config.Hooks.Poststart, l.c.State); err != nil {
		r.Warn("%v", err)
	}
	if o.Detach {
		return 0, nil
	}
	exit, err := l.child.Wait()
	if err != nil {
		return 0, err
	}
	if o.Keep {
		return exit.Status(), nil
	}
	return exit.Status(), r.remove(l.c, l.config)
}

// Kill sends a signal to a container's process, or to all of its processes.
func (r *Runtime) Kill(id string, sig syscall.Signal, all bool) error {
	c, err := r.load(id)
	if err != nil {
		return err
	}
	if all {
		return c.killAll(sig)
	}
	if c.Status == Stopped {
		return fmt.Errorf("container %s: container not running", id)
	}
	return c.kill(sig)
}

func (c *containerState) kill(sig syscall.Signal) error {
	fd, err := c.pidfd()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil {
		return fmt.Errorf("sending signal %d to container %s: %w", int(sig), c.ID, err)
	}
	return nil
}

// killAll sends a signal to every process in the container's cgroup.
func (c *containerState) killAll(sig syscall.Signal) error {
	pids, err := c.groups.processes()
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("sending signal %d to process %d: %w", int(sig), pid, err))
		}
	}
	return errors.Join(errs...)
}

// endWait is how long Delete waits for the end of a killed container.
const endWait = 10 * time.Second

// Delete removes a stopped container; with force also one that is not, which is
// killed. With force, a container that does not exist is no error.
func (r *Runtime) Delete(id string, force bool) error {
	c, err := r.load(id)
	if errors.Is(err, ErrNotFound) && force {
		return os.RemoveAll(filepath.Join(r.Root, id))
	}
	if err != nil {
		return err
	}
	if c.Status != Stopped {
		if !force {
			return fmt.Errorf("container %s is %s, not stopped", id, c.Status)
		}
		if err := c.end(); err != nil {
			return err
		}
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	return r.remove(c, config)
}

// end kills the container's process and waits until it has ended.
func (c *containerState) end() error {
	if c.Status == Paused {
		if err := c.groups.freeze(false); err != nil {
			return err
		}
	}
	fd, err := c.pidfd()
	if err != nil {
		return nil // it has ended meanwhile
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing container %s: %w", c.ID, err)
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(endWait); ; {
		n, err := unix.Poll(p, int(time.Until(end).Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return errors.Join(fmt.Errorf("container %s does not end", c.ID), err)
		}
		return nil
	}
}

// remove removes what is left of a stopped container; processes that were not
// its first one's children are killed.
func (r *Runtime) remove(c *containerState, config *Config) error {
	if _, ownPID := config.namespace("pid"); !ownPID || !config.makes("pid") {
		if err := c.killAll(unix.SIGKILL); err != nil {
			return err
		}
	}
	if err := c.groups.remove(); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	c.Status, c.PID = Stopped, 0
	for _, h := range config.Hooks.Poststop { // each is called, whatever the others do
		if err := hooks("poststop", []Hook{h}, c.State); err != nil {
			r.Warn("%v", err)
		}
	}
	return nil
}

// Pause stops a container's processes; Resume lets them go on.
func (r *Runtime) Pause(id string) error { return r.freeze(id, true) }

// Resume lets a paused container go on.
func (r *Runtime) Resume(id string) error { return r.freeze(id, false) }

func (r *Runtime) freeze(id string, on bool) error {
	c, err := r.load(id)
	if err != nil {
		return err
	}
	if on && c.Status != Running && c.Status != Created || !on && c.Status != Paused {
		return fmt.Errorf("container %s is %s", id, c.Status)
	}
	return c.groups.freeze(on)
}

// Processes returns the numbers of a container's processes.
func (r *Runtime) Processes(id string) ([]int, error) {
	c, err := r.load(id)
	if err != nil {
		return nil, err
	}
	return c.groups.processes()
}

// Update changes limits of a container; resources is the JSON of
// linux.resources, of which devices are not looked at.
func (r *Runtime) Update(id string, resources []byte) error {
	c, err := r.load(id)
	if err != nil {
		return err
	}
	if c.Status == Stopped {
		return fmt.Errorf("container %s is stopped", id)
	}
	var res Resources
	if err := json.Unmarshal(resources, &res); err != nil {
		return fmt.Errorf("parsing resources: %w", err)
	}
	return c.groups.set(&res)
}
