package sandbox

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// again is how long the reaper waits when the zombie at the head of the
// kernel's list belongs to somebody who has not fetched it yet.
const again = 50 * time.Millisecond

// Reaper fetches the ends of orphans, which become children of PID 1, and
// leaves those of children that somebody waits for. The zero value is ready.
type Reaper struct {
	mu     sync.Mutex
	own    map[int]int   // PID to how often: a number can be reused before Forget
	making int           // children that are being made and are not noted yet
	due    chan struct{} // tells Run that none is, when it has waited for that; made by it
	wanted bool          // it waits
}

// Spawn makes a child and notes its PID, 0 for one that has ended already, so
// that no reaping comes in between. Children are made at the same time: nobody
// waits for anybody.
func (r *Reaper) Spawn(make func() (pid int, err error)) error {
	r.mu.Lock()
	r.making++
	r.mu.Unlock()
	pid, err := make()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && pid != 0 {
		r.note(pid, 1)
	}
	if r.making--; r.making == 0 && r.wanted {
		r.wanted = false
		select {
		case r.due <- struct{}{}:
		default:
		}
	}
	return err
}

// Ping returns when the reaper can be asked for something.
func (r *Reaper) Ping() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(0, 0)
}

// Forget says that a child has been waited for.
func (r *Reaper) Forget(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(pid, -1)
}

// note is called under r.mu.
func (r *Reaper) note(pid, n int) {
	if r.own == nil {
		r.own = map[int]int{}
	}
	if r.own[pid] += n; r.own[pid] == 0 {
		delete(r.own, pid)
	}
}

// Run reaps until ctx ends. Only PID 1 needs it.
func (r *Reaper) Run(ctx context.Context) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	due := make(chan struct{}, 1)
	r.mu.Lock()
	r.due = due
	r.mu.Unlock()
	for {
		var retry <-chan time.Time
		if r.reap() {
			retry = time.After(again)
		}
		select {
		case <-children:
		case <-due:
		case <-retry:
		case <-ctx.Done():
			return
		}
	}
}

// reap fetches orphans up to the first zombie that is not one; true when there
// is such a zombie, which may hide others. While children are made it does
// nothing, and is called again when none is.
func (r *Reaper) reap() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.making > 0 {
		r.wanted = true
		return false
	}
	for {
		pid := zombie()
		if pid == 0 {
			return false
		}
		if r.own[pid] > 0 {
			return true
		}
		if unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG, nil) != nil {
			return false
		}
	}
}

// zombie returns the PID of a child that has ended, leaving it, or 0.
func zombie() int {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil {
		return 0
	}
	return siginfoPID(&info)
}
