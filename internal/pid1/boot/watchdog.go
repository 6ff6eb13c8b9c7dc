package boot

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// watchdogPath is the first hardware watchdog.
const watchdogPath = "/dev/watchdog0"

// watchdogKey is the argument of the kernel command line that has the time-out:
// it is known before any disk is.
const watchdogKey = "instar.watchdog"

// stepLimit is how long one step of the boot or of the end may take while the
// watchdog is fed all the same; the longest waits half a minute for a disk.
const stepLimit = 2 * time.Minute

// A watchdog resets the machine when nobody has told it for a while that this
// process does its work. Source: Documentation/watchdog/watchdog-api.rst.
type watchdog struct {
	dev  *os.File
	quit chan struct{}
	fed  sync.WaitGroup

	deadline atomic.Int64                                // of the step under way, on the clock of sinceBoot; nanoseconds
	vital    atomic.Pointer[func(context.Context) error] // says whether this process does its work; nil: it does one step after the other
}

// armWatchdog arms what the command line says, as soon as there is a device: the
// first thing after the kernel's modules. A machine without a watchdog runs
// with a warning.
func (d *device) armWatchdog() error {
	text, ok := d.cmdline.Lookup(watchdogKey)
	if !ok {
		return nil
	}
	timeout, err := time.ParseDuration(text)
	if err == nil && timeout > 0 {
		err = d.watchdog.arm(timeout, d.log.Printf)
	}
	if err != nil {
		d.warn("no watchdog is armed: %v", err)
	}
	return nil
}

func (w *watchdog) arm(timeout time.Duration, say func(string, ...any)) error {
	dev, err := os.OpenFile(watchdogPath, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	seconds := int(max(timeout.Round(time.Second)/time.Second, 1))
	if err := unix.IoctlSetPointerInt(int(dev.Fd()), unix.WDIOC_SETTIMEOUT, seconds); err != nil {
		return fmt.Errorf("setting it to %d s: %w", seconds, err)
	}
	w.dev, w.quit = dev, make(chan struct{})
	w.allow(stepLimit)
	w.fed.Go(func() { w.feed(timeout, say) })
	return nil
}

// allow says that what this process does now has a limit.
func (w *watchdog) allow(limit time.Duration) {
	w.deadline.Store(max(w.deadline.Load(), int64(sinceBoot()+limit)))
}

// feed tells the device, after each look at this process that finds it at work,
// that it lives. A look may take as long as the device waits: one that is slow on
// a busy machine is no hang, and one that does not come back is the device's to
// end.
func (w *watchdog) feed(timeout time.Duration, say func(string, ...any)) {
	w.dev.Write([]byte{0})
	looks := make(chan error)
	go func() {
		for {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			err := w.look(ctx)
			cancel()
			select {
			case looks <- err:
			case <-w.quit:
				return
			}
			select {
			case <-time.After(timeout / 4):
			case <-w.quit:
				return
			}
		}
	}()
	starving := false
	for {
		select {
		case <-w.quit:
			return
		case err := <-looks:
			if err == nil {
				w.dev.Write([]byte{0}) // what fails here resets the machine, as it should
			} else if !starving {
				go say("the watchdog is not fed: %v", err) // the log may be what hangs
			}
			starving = err != nil
		case <-time.After(timeout / 2):
			if !starving {
				go say("the watchdog is not fed: no look at this process has come back for %s", timeout/2)
			}
			starving = true
		}
	}
}

// look finds out whether this process does its work.
func (w *watchdog) look(ctx context.Context) error {
	if vital := w.vital.Load(); vital != nil {
		return (*vital)(ctx)
	}
	if over := sinceBoot() - time.Duration(w.deadline.Load()); over > 0 {
		return fmt.Errorf("a step of the boot or of the end is %s over its limit", over.Round(time.Second))
	}
	return nil
}

// watch makes the watchdog's food depend on the supervisor: every loop of it
// answers, a status can be had, and what was declared of health holds.
func (d *device) watch() error {
	unhealthy := time.Duration(0) // since when, on the clock of sinceBoot
	if limit := d.manifest.Boot.WatchdogHealth; limit > 0 {
		unhealthy = sinceBoot()
	}
	vital := func(ctx context.Context) error {
		if err := d.supervisor.Ping(ctx); err != nil {
			return err
		}
		d.reaper.Ping()
		st := d.control().Status()
		if limit := time.Duration(d.manifest.Boot.WatchdogHealth); limit > 0 {
			switch now := sinceBoot(); {
			case st.Healthy:
				unhealthy = now
			case now-unhealthy > limit:
				return fmt.Errorf("the machine has not been healthy for %s", (now - unhealthy).Round(time.Second))
			}
		}
		return d.overdue()
	}
	d.watchdog.vital.Store(&vital)
	d.later("let the watchdog wait for the end", func() error {
		d.watchdog.allow(d.supervisor.StopLimit())
		d.watchdog.vital.Store(nil)
		return nil
	})
	return nil
}

// overdue says that a trial should have ended: the gate itself hangs.
func (d *device) overdue() error {
	over := d.age() - time.Duration(d.manifest.Boot.Confirm.Resolved().Within)
	if over > gateGrace && d.trying() {
		return fmt.Errorf("the trial is %s over its deadline", over.Round(time.Second))
	}
	return nil
}

// disarmWatchdog lets the machine stay off. It comes last: a shutdown that
// hangs is reset.
func (d *device) disarmWatchdog() {
	if d.watchdog.dev == nil {
		return
	}
	close(d.watchdog.quit)
	d.watchdog.fed.Wait()
	d.watchdog.dev.Write([]byte("V")) // the magic close
	d.watchdog.dev.Close()
}
