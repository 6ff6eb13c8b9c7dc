package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/launch"
	"golang.org/x/sys/unix"
)

// ExecOptions are the options of exec.
type ExecOptions struct {
	PidFile       string
	ConsoleSocket string
	PreserveFDs   int
	Detach        bool
	Input, Output *os.File
}

// ParseProcess reads a process.json.
func ParseProcess(b []byte) (*Process, error) {
	var p Process
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("parsing the process: %w", err)
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	return &p, p.check()
}

// Like returns the container's own process, for one that differs in a few
// things.
func (r *Runtime) Like(id string) (*Process, error) {
	c, err := r.load(id)
	if err != nil {
		return nil, err
	}
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	if config.Process == nil {
		return nil, fmt.Errorf("container %s has no process", id)
	}
	config.Process.Terminal = false
	return config.Process, nil
}

// Exec runs a further process in a running container. Unless detached it waits
// for its end and returns its exit status.
func (r *Runtime) Exec(id string, p *Process, o ExecOptions) (int, error) {
	c, err := r.load(id)
	if err != nil {
		return 0, err
	}
	if c.Status != Running && c.Status != Created {
		return 0, fmt.Errorf("container %s is %s, not running", id, c.Status)
	}
	config, err := c.config()
	if err != nil {
		return 0, err
	}
	pidfd, err := c.pidfd()
	if err != nil {
		return 0, err
	}
	defer unix.Close(pidfd)
	file, err := lookPath(fmt.Sprintf("/proc/%d/root", c.PID), p)
	if err != nil {
		return 0, err
	}
	plan, err := compileExec(config, c, p, pidfd, o.PreserveFDs)
	if err != nil {
		return 0, err
	}
	for _, w := range plan.warnings {
		r.Warn("%s", w)
	}
	child, relay, err := c.enter(plan, p, file, o)
	if err != nil {
		return 0, err
	}
	if p.OOMScoreAdj != nil {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", child.PID()), []byte(strconv.Itoa(*p.OOMScoreAdj)), 0)
	}
	if err := writePid(o.PidFile, child.PID()); err != nil {
		return 0, errors.Join(err, child.Kill())
	}
	if o.Detach {
		return 0, nil
	}
	exit, err := child.Wait()
	relay.close()
	return exit.Status(), err
}

// compileExec makes the program of a further process.
func compileExec(config *Config, c *containerState, p *Process, pidfd, preserve int) (*plan, error) {
	own := *config
	own.Process = p
	own.Linux.Namespaces = nil
	for _, n := range config.Linux.Namespaces { // all of them are there by now
		own.Linux.Namespaces = append(own.Linux.Namespaces, Namespace{n.Type, "/proc"})
	}
	b := &compiler{c: &own, f: &facts{arch: runtime.GOARCH, cgroup: c.groups}}
	if err := b.checkStrings(); err != nil {
		return nil, err
	}
	b.Assembler = launch.NewAssembler(runtime.GOARCH, 0, "the process")
	b.plan.tell, b.plan.wait, b.plan.begin = b.Reserve(), b.Reserve(), b.Reserve()
	b.Do("dying with the runtime", launch.Prctl, launch.Value(unix.PR_SET_PDEATHSIG), launch.Value(unix.SIGKILL))
	if c.groups != nil {
		for _, f := range c.groups.joins() {
			b.write(f, "0")
		}
	}
	var flags uint64
	for _, n := range own.Linux.Namespaces {
		if n.Type != "pid" && n.Type != "time" {
			flags |= namespaceFlags[n.Type]
		}
	}
	if flags != 0 {
		b.Do("joining the container's namespaces", launch.Setns, launch.Value(pidfd), launch.Value(flags))
	}
	if b.ownsUser() {
		b.becomeRoot()
	}
	if err := b.process(p, preserve, false); err != nil {
		return nil, err
	}
	var err error
	b.plan.program, err = b.Finish("joining")
	return &b.plan, err
}

// enter makes the process and waits until its program runs. With a terminal it
// is served before: then the child waits for that.
func (c *containerState) enter(plan *plan, p *Process, file string, o ExecOptions) (*container.Child, *relay, error) {
	var tell, wait [2]int
	for _, pipe := range []*[2]int{&tell, &wait} {
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			return nil, nil, os.NewSyscallError("pipe2", err)
		}
	}
	child, err := container.NewChild(plan.program, map[launch.Arg]uintptr{
		plan.tell: uintptr(tell[1]), plan.wait: uintptr(wait[0]), plan.begin: uintptr(wait[0])})
	if err != nil {
		return nil, nil, err
	}
	if err := child.Command(file, p.Args); err != nil {
		return nil, nil, err
	}
	pidNS, err := unix.Open(fmt.Sprintf("/proc/%d/ns/pid", c.PID), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	cgroup, err := c.joinCgroup()
	if err != nil {
		return nil, nil, err
	}
	child.Begin(cgroup, pidNS, func() { unix.Close(tell[1]) })
	var r *relay
	if p.Terminal {
		if n, err := unix.Read(tell[0], make([]byte, 1)); n == 1 && err == nil {
			if r, err = connect(child, plan, o); err != nil {
				return nil, nil, errors.Join(err, child.Kill())
			}
			if _, err := unix.Write(wait[1], []byte{1}); err != nil {
				return nil, nil, err
			}
		}
	}
	return child, r, child.Executed()
}

// connect sends the terminal of a further process on, or relays it.
func connect(child *container.Child, plan *plan, o ExecOptions) (*relay, error) {
	master, err := takeTerminal(child, plan.master)
	if err != nil {
		return nil, err
	}
	if o.ConsoleSocket != "" {
		return nil, sendTerminal(o.ConsoleSocket, master)
	}
	if o.Detach {
		return nil, errors.Join(errors.New("the process wants a terminal and there is no console socket to send it to"), master.Close())
	}
	return newRelay(master, o.Input, o.Output)
}

// joinCgroup opens the cgroup of version 2 to begin in: the container's, or,
// when it has given controllers on to cgroups below, the one its first process
// is in.
func (c *containerState) joinCgroup() (int, error) {
	if c.groups == nil || c.groups.v2() == "" {
		return -1, nil
	}
	dir := c.groups.v2()
	given, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil || len(bytes.TrimSpace(given)) == 0 {
		return c.groups.open()
	}
	lines, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.PID))
	if err != nil {
		return -1, err
	}
	for line := range strings.Lines(string(lines)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			for _, h := range c.groups.hierarchies {
				if h.controllers == "" {
					dir = filepath.Join(h.mount, rest)
				}
			}
		}
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening cgroup %s: %w", dir, err)
	}
	return fd, nil
}
