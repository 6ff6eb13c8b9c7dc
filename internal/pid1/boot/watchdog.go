package boot

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watchdogPath is the first hardware watchdog.
const watchdogPath = "/dev/watchdog0"

// A watchdog resets the machine when nobody has told it for a while that this
// process lives. Source: Documentation/watchdog/watchdog-api.rst.
type watchdog struct {
	dev  *os.File
	quit chan struct{}
	fed  sync.WaitGroup
}

// armWatchdog arms what the manifest declares. A machine without a watchdog
// runs with a warning.
func (d *device) armWatchdog() error {
	timeout := time.Duration(d.manifest.Boot.Watchdog)
	if timeout <= 0 {
		return nil
	}
	if err := d.watchdog.arm(timeout); err != nil {
		d.warn("no watchdog is armed: %v", err)
	}
	return nil
}

func (w *watchdog) arm(timeout time.Duration) error {
	dev, err := os.OpenFile(watchdogPath, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	seconds := int(max(timeout.Round(time.Second)/time.Second, 1))
	if err := unix.IoctlSetPointerInt(int(dev.Fd()), unix.WDIOC_SETTIMEOUT, seconds); err != nil {
		return fmt.Errorf("setting it to %d s: %w", seconds, err)
	}
	w.dev, w.quit = dev, make(chan struct{})
	w.fed.Go(func() {
		for {
			w.dev.Write([]byte{0}) // what fails here resets the machine, as it should
			select {
			case <-time.After(timeout / 4):
			case <-w.quit:
				return
			}
		}
	})
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
