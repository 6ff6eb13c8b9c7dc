// Package task is for programs with threads that must be in time: a thread takes
// the name by which the machine's definition knows it, keeps its memory, and
// sleeps to the instant. It needs nothing of the machine, and no right: policy
// and processor are set from outside, as they were declared and proven.
//
//	go func() {
//		t, err := task.Begin("valve-loop", 100*time.Millisecond)
//		…
//		for t.Wait() == nil {
//			control()
//		}
//	}()
package task

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Task is a thread with regular jobs.
type Task struct {
	next   int64 // CLOCK_MONOTONIC, nanoseconds
	period int64
}

// stack is what Begin touches of the goroutine's stack, in bytes, so that jobs
// find it in memory.
const stack = 64 << 10

// BeginAt is Begin for a task that stands on the machine's clock: its events are
// at offset, and each period from then on, of CLOCK_MONOTONIC, as the definition
// says with clock: machine.
func BeginAt(name string, period, offset time.Duration) (*Task, error) {
	if offset < 0 {
		return nil, fmt.Errorf("task %s: an offset of %s", name, offset)
	}
	t, err := Begin(name, period)
	if err != nil {
		return nil, err
	}
	first := int64(offset % period)
	t.next = first + (t.next-first)/t.period*t.period
	return t, nil
}

// Begin makes the calling goroutine's thread a task of that name, which has at
// most 15 bytes. Nothing else runs in the thread from then on. The first event
// is one period later.
func Begin(name string, period time.Duration) (*Task, error) {
	if len(name) == 0 || len(name) > 15 {
		return nil, fmt.Errorf("task %q: a thread's name has 1 to 15 bytes", name)
	}
	if period <= 0 {
		return nil, fmt.Errorf("task %s: a period of %s", name, period)
	}
	runtime.LockOSThread()
	touch()
	b := append([]byte(name), 0)
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&b[0])), 0, 0, 0); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("task %s: naming its thread: %w", name, err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("task %s: %w", name, err)
	}
	return &Task{now.Nano(), int64(period)}, nil
}

//go:noinline
func touch() {
	var room [stack]byte
	for i := 0; i < len(room); i += 4096 {
		room[i] = 1
	}
	runtime.KeepAlive(&room)
}

// Wait ends a job and sleeps until the next event. A job that took longer than
// the period is followed at once by the one that was due.
func (t *Task) Wait() error {
	t.next += t.period
	at := unix.NsecToTimespec(t.next)
	for {
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &at, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Lock keeps all memory of the process, now and later, where it is. The
// container has to be declared locked.
func Lock() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("locking the process's memory: %w", err)
	}
	return nil
}
