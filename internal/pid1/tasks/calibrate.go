package tasks

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/wire"
)

// Calibrate measures what the kernel takes on a processor, above all tasks: for
// that time they may be late. It is for a process of its own, whose threads it
// takes for good.
//
// Three times are measured, a quarter of the time each, and the longest count:
// from the instant of a timer to the thread's running (latency); of a turn of
// two threads that wake each other through pipes, half of it (switch); and for
// how long a thread that only computes is interrupted by a job that does nothing
// (release: timer interrupt, wake-up, both switches). In the last quarter the
// kernel's own tracers measure, where it has them.
func Calibrate(cpu int, during time.Duration) (wire.Calibration, error) {
	out := wire.Calibration{CPU: cpu, Time: time.Now().UTC(), Kernel: release(), Machine: model()}
	if during < 3*tick || during > maxCalibration {
		return out, fmt.Errorf("calibrating for %s; from %s to %s are taken", during, 3*tick, maxCalibration)
	}
	part := during / 4
	for _, m := range []struct {
		to   *wire.Longest
		what func(cpu int, during time.Duration) (wire.Longest, error)
	}{{&out.Latency, latency}, {&out.Switch, switches}, {&out.Release, releases}} {
		var err error
		if *m.to, err = m.what(cpu, part); err != nil {
			return out, err
		}
	}
	if err := kernelTimes(tracefs, cpu, part, &out); err != nil {
		out.Untraced = err.Error() // our own measurements stand without it
	}
	return out, nil
}

// tracefs is where the kernel's tracers are.
const tracefs = "/sys/kernel/tracing"

const (
	tick           = time.Millisecond
	maxCalibration = time.Hour
	above          = 98 // the kernel's own threads of 99 stay above
)

// sampler adds up times.
type sampler struct{ wire.Longest }

func (s *sampler) add(d time.Duration) {
	s.Samples++
	s.Max = max(s.Max, d)
	s.Mean += d // the sum, until it is done
}

func (s *sampler) done() wire.Longest {
	if s.Samples > 0 {
		s.Mean /= time.Duration(s.Samples)
	}
	return s.Longest
}

// inThread runs a function in a thread of that priority on the processor. The
// thread ends with it.
func inThread(cpu, priority int, do func() error) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var cpus unix.CPUSet
		cpus.Set(cpu)
		err := unix.SchedSetaffinity(0, &cpus)
		if err != nil {
			err = fmt.Errorf("running on CPU %d: %w", cpu, err)
		} else if err = linux.SetPolicy(0, unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: uint32(priority)}); err == nil {
			err = do()
		}
		ended <- err
	}()
	return <-ended
}

func now() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // which never fails
	return time.Duration(ts.Nano())
}

// until sleeps to an instant and returns how much later it is.
func until(at time.Duration) time.Duration {
	ts := unix.NsecToTimespec(int64(at))
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
	}
	return now() - at
}

func latency(cpu int, during time.Duration) (wire.Longest, error) {
	var s sampler
	err := inThread(cpu, above, func() error {
		at := now() + tick
		for end := at + during; at < end; at += tick {
			late := until(at)
			s.add(late)
			at += late / tick * tick // what was slept over has no samples
		}
		return nil
	})
	return s.done(), err
}

// switches lets two threads wake each other: a turn is two switches, two writes
// and two reads.
func switches(cpu int, during time.Duration) (wire.Longest, error) {
	var there, back [2]int
	for _, p := range []*[2]int{&there, &back} {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return wire.Longest{}, os.NewSyscallError("pipe2", err)
		}
		defer unix.Close(p[0])
	}
	other := make(chan error, 1)
	go func() {
		defer unix.Close(back[1])
		other <- inThread(cpu, above, func() error {
			for b := make([]byte, 1); ; {
				if n, err := unix.Read(there[0], b); n == 0 || err != nil && err != unix.EINTR {
					return err
				}
				if _, err := unix.Write(back[1], b); err != nil {
					return err
				}
			}
		})
	}()
	var s sampler
	err := inThread(cpu, above, func() error {
		defer unix.Close(there[1])
		b := make([]byte, 1)
		for end, next := now()+during, now()+tick; now() < end; next += tick {
			began := now()
			if _, err := unix.Write(there[1], b); err != nil {
				return err
			}
			if n, err := unix.Read(back[0], b); n == 0 || err != nil {
				return fmt.Errorf("the other thread has ended: %w", err)
			}
			s.add((now() - began) / 2)
			until(next)
		}
		return nil
	})
	if e := <-other; err == nil {
		err = e
	}
	return s.done(), err
}

// releases lets a thread compute in short turns while one above it is released
// again and again, and measures the gaps that it sees.
func releases(cpu int, during time.Duration) (wire.Longest, error) {
	var stop atomic.Bool
	jobs := make(chan error, 1)
	go func() {
		jobs <- inThread(cpu, above, func() error {
			for at := now() + tick; !stop.Load(); at += tick {
				at += until(at) / tick * tick
			}
			return nil
		})
	}()
	var s sampler
	const turn = 10 * tick // then as long for everybody else
	err := inThread(cpu, above-1, func() error {
		for end := now() + during; now() < end; until(now() + turn) {
			for last, over := now(), now()+turn; last < over; {
				t := now()
				if gap := t - last; gap > time.Microsecond { // reading the clock takes less
					s.add(gap)
				}
				last = t
			}
		}
		return nil
	})
	stop.Store(true)
	if e := <-jobs; err == nil {
		err = e
	}
	return s.done(), err
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// model returns what the processor calls itself.
func model() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for l := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(l, ":"); ok && strings.HasPrefix(key, "model name") {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
