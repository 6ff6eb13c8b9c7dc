package container

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Takes reports whether a signal surely has an effect by now: whether the
// process has a handler for it or holds it back. The kernel drops others that
// come to the first process of a PID namespace: pid_namespaces(7). One that
// waits for signals cannot be told from one that has no handler, for its mask is
// clear meanwhile. When nothing can be found out, it is true.
func (p *Process) Takes(sig syscall.Signal) bool {
	if p.all || sig == unix.SIGKILL || sig == unix.SIGSTOP {
		return true
	}
	var status []byte
	err := p.hold(func() (err error) {
		status, err = get(unix.AT_FDCWD, "/proc/"+strconv.Itoa(p.pid)+"/status")
		return err
	})
	return err != nil || takes(string(status), sig)
}

// takes looks for a signal in the masks of /proc/PID/status: proc_pid_status(5).
func takes(status string, sig syscall.Signal) bool {
	known := 0
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		if key != "SigBlk" && key != "SigCgt" {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil || mask&(1<<(sig-1)) != 0 {
			return true
		}
		known++
	}
	return known < 2
}
