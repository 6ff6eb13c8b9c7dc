package flight

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/wire"
)

// kernelWarning is the least urgent level that is recorded.
const kernelWarning = 4

// Of the kernel's messages so many are recorded at once, and then one each
// kernelEach.
const (
	kernelBurst = 200
	kernelEach  = 10 * time.Second
)

// FollowKernel notes the kernel's warnings from /dev/kmsg until it ends: each
// read gives one message (Documentation/ABI/testing/dev-kmsg).
func (r *Recorder) FollowKernel(kmsg io.Reader) error {
	buf := make([]byte, 8<<10)
	limit := bucket{size: kernelBurst, left: kernelBurst, each: kernelEach}
	missed := 0
	for {
		n, err := kmsg.Read(buf)
		switch {
		case errors.Is(err, unix.EPIPE): // it was overwritten before it was read
			missed++
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading the kernel's messages: %w", err)
		}
		e, ok := parseKernel(buf[:n])
		if !ok {
			continue
		}
		if !limit.take(r.since(), 1) {
			missed++
			continue
		}
		if missed > 0 {
			r.Note(wire.BootEntry{Kind: wire.EntryDropped, Count: missed, Text: "messages of the kernel"})
			missed = 0
		}
		r.Note(e)
	}
}

// parseKernel reads "priority,sequence,microseconds,flags;text\n…" and reports
// whether it is a warning of the kernel, or worse.
func parseKernel(b []byte) (wire.BootEntry, bool) {
	head, text, ok := bytes.Cut(b, []byte(";"))
	fields := strings.SplitN(string(head), ",", 4)
	if !ok || len(fields) < 3 {
		return wire.BootEntry{}, false
	}
	priority, err1 := strconv.Atoi(fields[0])
	at, err2 := strconv.ParseInt(fields[2], 10, 64)
	if err1 != nil || err2 != nil || priority < 0 || priority>>3 != 0 || priority&7 > kernelWarning || at < 0 || at > 1<<53 {
		return wire.BootEntry{}, false
	}
	line, _, _ := bytes.Cut(text, []byte("\n")) // what follows are its properties
	return wire.BootEntry{
		Kind: wire.EntryKernel, At: max(time.Duration(at)*time.Microsecond, 1), Level: priority & 7,
		Text: strings.ToValidUTF8(string(line), "\uFFFD"),
	}, true
}
