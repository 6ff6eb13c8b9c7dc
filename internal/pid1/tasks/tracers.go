package tasks

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/wire"
)

// The kernel's own measurements, where it was built with them: timerlat measures
// from a timer's instant to its interrupt and to a thread's running, osnoise how
// long what computes is interrupted.
//
// Source: Documentation/trace/timerlat-tracer.rst and osnoise-tracer.rst.

// errNoTracer says that the kernel has none of that name.
var errNoTracer = errors.New("the kernel has no such tracer")

// tracing is the directory of the kernel's tracers.
type tracing string

// mountTracing returns it, and what takes it away again when it was not mounted
// before.
func mountTracing(dir string) (tracing, func(), error) {
	if _, err := os.Stat(filepath.Join(dir, "current_tracer")); err == nil {
		return tracing(dir), func() {}, nil
	}
	if err := unix.Mount("tracefs", dir, "tracefs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return "", nil, fmt.Errorf("mounting tracefs at %s: %w", dir, err)
	}
	return tracing(dir), func() { unix.Unmount(dir, unix.MNT_DETACH) }, nil
}

func (t tracing) set(name, value string) error {
	if err := os.WriteFile(filepath.Join(string(t), name), []byte(value), 0); err != nil {
		return fmt.Errorf("setting the kernel's tracing %s to %q: %w", name, value, err)
	}
	return nil
}

// kernelTimes lets the kernel measure a processor, half of the time with each of
// its tracers, and returns what it saw. Without tracers there is nothing.
func kernelTimes(dir string, cpu int, during time.Duration, out *wire.Calibration) error {
	t, leave, err := mountTracing(dir)
	if err != nil {
		return nil // a kernel without tracefs has no tracers
	}
	defer leave()
	var timer, thread, noise sampler
	for _, one := range []struct {
		tracer string
		line   func(string)
	}{
		{"timerlat", func(line string) {
			switch what, took, ok := parseTimerlat(line); {
			case !ok:
			case what == "irq":
				timer.add(took)
			case what == "thread":
				thread.add(took)
			}
		}},
		{"osnoise", func(line string) {
			if took, ok := parseOsnoise(line); ok {
				noise.add(took)
			}
		}},
	} {
		if err := t.run(one.tracer, cpu, during/2, one.line); err != nil && !errors.Is(err, errNoTracer) {
			return err
		}
	}
	out.Timer, out.Thread, out.Noise = timer.done(), thread.done(), noise.done()
	return nil
}

// run lets a tracer work on a processor for some time and hands on its lines.
func (t tracing) run(tracer string, cpu int, during time.Duration, line func(string)) (err error) {
	have, err := os.ReadFile(filepath.Join(string(t), "available_tracers"))
	if err != nil || !strings.Contains(" "+string(bytes.TrimSpace(have))+" ", " "+tracer+" ") {
		return errNoTracer
	}
	// As sections of the kernel's document: which processor, then the tracer.
	for _, f := range [][2]string{{"current_tracer", "nop"}, {"osnoise/cpus", strconv.Itoa(cpu)}, {"current_tracer", tracer}, {"tracing_on", "1"}} {
		if err := t.set(f[0], f[1]); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, t.set("current_tracer", "nop")) }()
	pipe, err := unix.Open(filepath.Join(string(t), "trace_pipe"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: "trace_pipe", Err: err}
	}
	defer unix.Close(pipe)
	return lines(pipe, now()+during, line)
}

// lines reads whole lines until an instant.
func lines(fd int, end time.Duration, line func(string)) error {
	buf, kept := make([]byte, 64<<10), ""
	for now() < end {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EAGAIN || err == nil && n == 0:
			time.Sleep(10 * time.Millisecond)
			continue
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("read", err)
		}
		text := kept + string(buf[:n])
		for {
			one, rest, whole := strings.Cut(text, "\n")
			if !whole {
				break
			}
			line(one)
			text = rest
		}
		if kept = text; len(kept) > len(buf) {
			kept = "" // no line of a tracer
		}
	}
	return nil
}

// parseTimerlat reads the part "context thread timer_latency 11700 ns" of a line.
func parseTimerlat(line string) (what string, took time.Duration, ok bool) {
	_, rest, found := strings.Cut(line, " context ")
	f := strings.Fields(rest)
	if !found || len(f) != 4 || f[1] != "timer_latency" || f[3] != "ns" {
		return "", 0, false
	}
	n, err := strconv.ParseInt(f[2], 10, 64)
	return f[0], time.Duration(n), err == nil && n >= 0
}

// parseOsnoise reads the largest single noise of a line, microseconds, which is
// the fourth number behind the time: runtime, noise, percent, largest, and then
// counts. A microsecond more is what it may have been.
func parseOsnoise(line string) (took time.Duration, ok bool) {
	_, rest, found := strings.Cut(line, "]")
	if !found {
		return 0, false
	}
	_, rest, found = strings.Cut(rest, ": ")
	f := strings.Fields(rest)
	if !found || len(f) < 8 {
		return 0, false
	}
	n, err := strconv.ParseInt(f[3], 10, 32)
	return time.Duration(n+1) * time.Microsecond, err == nil && n >= 0
}
