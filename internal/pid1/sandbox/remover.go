package sandbox

import (
	"slices"
	"sync"
	"time"
)

// lag is how long a removal waits for others and for starts that follow: the
// kernel's part of it, of namespaces and control groups above all, would be in
// their way.
const lag = 20 * time.Millisecond

// Remover removes what is left of sandboxes whose containers have ended, a
// moment later and one after the other. A nil Remover has nothing to do.
type Remover struct {
	Failed func(container string, err error) // called from any goroutine

	mu     sync.Mutex
	list   []*removal // in order
	doing  []*removal
	waking bool // work is under way, or will be
}

type removal struct {
	container string
	do        func() error
	done      chan struct{}
}

// later takes a removal over.
func (r *Remover) later(container string, do func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, &removal{container, do, make(chan struct{})})
	if !r.waking {
		r.waking = true
		time.AfterFunc(lag, r.work)
	}
}

// work does all removals that nobody else has done.
func (r *Remover) work() {
	for {
		r.mu.Lock()
		if len(r.list) == 0 {
			r.waking = false
			r.mu.Unlock()
			return
		}
		next := r.list[0]
		r.begin(next)
		r.mu.Unlock()
		r.remove(next)
	}
}

// begin moves a removal to those that are being done, under r.mu.
func (r *Remover) begin(next *removal) {
	r.list = slices.DeleteFunc(r.list, func(l *removal) bool { return l == next })
	r.doing = append(r.doing, next)
}

func (r *Remover) remove(next *removal) {
	if err := next.do(); err != nil {
		r.Failed(next.container, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doing = slices.DeleteFunc(r.doing, func(l *removal) bool { return l == next })
	close(next.done)
}

// wait returns when nothing is left of a container's former sandboxes: it has
// the same control group and the same mount point again.
func (r *Remover) wait(container string) {
	r.finish(func(l *removal) bool { return l.container == container })
}

// Drain returns when nothing is left to remove.
func (r *Remover) Drain() { r.finish(func(*removal) bool { return true }) }

// finish does removals that have not begun and waits for those that have.
func (r *Remover) finish(which func(*removal) bool) {
	if r == nil {
		return
	}
	for {
		r.mu.Lock()
		i := slices.IndexFunc(r.list, which)
		if i < 0 {
			break
		}
		next := r.list[i]
		r.begin(next)
		r.mu.Unlock()
		r.remove(next)
	}
	var wait []*removal
	for _, l := range r.doing {
		if which(l) {
			wait = append(wait, l)
		}
	}
	r.mu.Unlock()
	for _, l := range wait {
		<-l.done
	}
}
