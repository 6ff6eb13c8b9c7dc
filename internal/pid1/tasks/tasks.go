// Package tasks makes the threads of containers what their declarations say, as
// they were analysed: it finds them, sets their scheduling, and tells when the
// kernel will not have it.
package tasks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/system"
)

// Watcher measures threads.
type Watcher interface {
	Watch(tid int, name string, t *system.Task) error
	Forget(tid int)
}

// Keeper keeps the threads of tasks. Its methods can be used from many
// goroutines; a nil Keeper has no tasks.
type Keeper struct {
	Log     func(format string, args ...any)
	Failed  func(container, why string) // a task is not what it has to be
	Watcher Watcher                     // nil: nothing is measured

	mu     sync.Mutex
	lives  map[*Life]bool
	events *linux.ProcEvents
}

// Life is a container that runs.
type Life struct {
	k    *Keeper
	c    *system.Container
	dir  string // of its cgroup; "": only the first thread is known
	main int    // its first process

	mu    sync.Mutex
	over  bool
	tids  map[string]int // of tasks that were found
	timer *time.Timer
	tries int
}

// Threads are looked for at the start of a container, then again after a pause
// that doubles: a program names its threads soon. Later ones tell themselves.
const (
	firstLook = 2 * time.Millisecond
	looks     = 13 // about 16 s in all
)

// Listen lets threads that name themselves later be found; without it only
// those that do so soon after their container's start are. It ends with Close.
func (k *Keeper) Listen() error {
	e, err := linux.OpenProcEvents()
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.events = e
	k.mu.Unlock()
	go k.listen(e)
	return nil
}

func (k *Keeper) listen(e *linux.ProcEvents) {
	for {
		_, comm, err := e.Next()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			comm = ""
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return // it was closed
		}
		for _, l := range k.all() {
			if l.wants(comm) {
				l.look(false)
			}
		}
	}
}

func (k *Keeper) all() []*Life {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]*Life, 0, len(k.lives))
	for l := range k.lives {
		all = append(all, l)
	}
	return all
}

// Close ends listening.
func (k *Keeper) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.events == nil {
		return nil
	}
	err := k.events.Close()
	k.events = nil
	return err
}

// Attach takes care of a container whose command has just been started; dir is
// its cgroup. The caller ends the life that it returns, which is nil when there
// is nothing to do.
func (k *Keeper) Attach(c *system.Container, dir string, main int) *Life {
	if k == nil || len(c.Tasks) == 0 {
		return nil
	}
	l := &Life{k: k, c: c, dir: dir, main: main, tids: map[string]int{}}
	k.mu.Lock()
	if k.lives == nil {
		k.lives = map[*Life]bool{}
	}
	k.lives[l] = true
	k.mu.Unlock()
	l.look(true)
	return l
}

// End forgets the container's threads.
func (l *Life) End() {
	if l == nil {
		return
	}
	l.k.mu.Lock()
	delete(l.k.lives, l)
	l.k.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.timer != nil {
		l.timer.Stop()
	}
	if l.k.Watcher != nil {
		for _, tid := range l.tids {
			l.k.Watcher.Forget(tid)
		}
	}
}

// wants says whether a thread's new name is one that a task waits for; any,
// when names were lost.
func (l *Life) wants(comm string) bool {
	for i := range l.c.Tasks {
		if t := &l.c.Tasks[i]; t.Thread != "" && (t.Thread == comm || comm == "") {
			return true
		}
	}
	return false
}

// look finds threads and sets them. again says that the next look comes by
// itself when some are still missing.
func (l *Life) look(again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	missing := l.find()
	switch {
	case len(missing) == 0 || !again:
	case l.tries < looks:
		l.timer = time.AfterFunc(firstLook<<l.tries, func() { l.look(true) })
		l.tries++
	default:
		l.k.Log("%s: no thread of it is named %s", l.c.Name, strings.Join(missing, ", "))
	}
}

// find sets the threads that are there and were not set, and returns the names
// of those that are missing.
func (l *Life) find() (missing []string) {
	names := l.threads()
	for i := range l.c.Tasks {
		t := &l.c.Tasks[i]
		tid := l.first()
		if t.Thread != "" {
			tid = names[t.Thread]
		}
		if tid == 0 {
			missing = append(missing, t.Thread)
			continue
		}
		if had := l.tids[t.Name]; had == tid {
			continue
		} else if had != 0 && l.k.Watcher != nil {
			l.k.Watcher.Forget(had)
		}
		l.set(t, tid)
	}
	return missing
}

// set makes a thread what its task says.
func (l *Life) set(t *system.Task, tid int) {
	err := Set(tid, t)
	if errors.Is(err, unix.ESRCH) {
		return // it has ended meanwhile
	}
	l.tids[t.Name] = tid
	name := l.c.Name + "." + t.Name
	if err != nil {
		why := fmt.Sprintf("task %s is not in time: %v", name, Refusal(tid, t, err))
		l.k.Log("%s", why)
		if l.k.Failed != nil {
			l.k.Failed(l.c.Name, why)
		}
	}
	if l.k.Watcher != nil {
		if err := l.k.Watcher.Watch(tid, name, t); err != nil {
			l.k.Log("task %s is not measured: %v", name, err)
		}
	}
}

// first returns the container's first thread: its command's, which with an init
// is that one's first child.
func (l *Life) first() int {
	if !l.c.Init {
		return l.main
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", l.main, l.main))
	if err != nil {
		return 0
	}
	pid, _, _ := strings.Cut(string(b), " ")
	n, _ := strconv.Atoi(pid) // 0: there is none yet
	return n
}

// threads returns the container's threads by name; of two the first.
func (l *Life) threads() map[string]int {
	out := map[string]int{}
	b, err := os.ReadFile(filepath.Join(l.dir, "cgroup.threads"))
	if l.dir == "" || errors.Is(err, fs.ErrNotExist) {
		b = tasksOf(l.main)
	}
	for line := range strings.Lines(string(b)) {
		tid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			continue
		}
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", tid))
		if err != nil {
			continue // it has ended
		}
		if name := strings.TrimSuffix(string(comm), "\n"); out[name] == 0 {
			out[name] = tid
		}
	}
	return out
}

// tasksOf lists the threads of a process, one a line.
func tasksOf(pid int) (out []byte) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		out = append(append(out, e.Name()...), '\n')
	}
	return out
}
