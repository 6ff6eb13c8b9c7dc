package logs

import (
	"fmt"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// burst is how long a silent container may save up its rate.
const burst = 10 * time.Second

// Limits bound what is taken and kept of one container's output.
type Limits struct {
	Size int // bytes in memory, text and overhead; 0: MaxMemory
	Rate int // bytes of lines a second, for burst at once; 0: no limit
}

// A meter is a token bucket of a container's rate, and a count of what did not
// fit.
type meter struct {
	Limits
	tokens  float64 // bytes that may come now
	last    time.Time
	dropped int64
	untold  int64 // of dropped, not yet noted in the log
}

// Limit sets a container's limits. Init has none.
func (b *Book) Limit(container string, l Limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.meters == nil {
		b.meters = map[string]*meter{}
	}
	b.meters[container] = &meter{Limits: l, tokens: l.full(), last: b.now()}
}

func (l Limits) full() float64 { return max(float64(l.Rate)*burst.Seconds(), MaxLine+1) }

// Dropped returns how many lines of a container were dropped because they came
// too fast.
func (b *Book) Dropped(container string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := b.meters[container]; m != nil {
		return m.dropped
	}
	return 0
}

// admit reports whether a line fits its container's rate; the first that fits
// again after others is preceded by a line that counts them.
func (b *Book) admit(container, text string) bool {
	m := b.meters[container]
	if m == nil || m.Rate == 0 {
		return true
	}
	now := b.now()
	m.tokens = min(m.tokens+now.Sub(m.last).Seconds()*float64(m.Rate), m.full())
	m.last = now
	if cost := float64(len(text) + 1); m.tokens >= cost {
		m.tokens -= cost
		m.tell(b, container)
		return true
	}
	m.dropped++
	m.untold++
	return false
}

func (m *meter) tell(b *Book, container string) {
	if m.untold == 0 {
		return
	}
	text := fmt.Sprintf("%s: %d lines dropped, more than %d bytes a second", container, m.untold, m.Rate)
	m.untold = 0
	b.note(Init, Init, text)
}

// room is how many bytes a container's newest lines may take in memory.
func (b *Book) room(container string) int {
	if m := b.meters[container]; m != nil && m.Size > 0 {
		return m.Size
	}
	return MaxMemory
}

// note keeps, shows and writes a line.
func (b *Book) note(container, stream, text string) {
	b.seq++
	line := wire.LogLine{Seq: b.seq, Time: b.now().UTC(), Container: container, Stream: stream, Text: text}
	b.keep(line)
	if b.tee != nil && container == Init {
		b.tee(line)
	}
	if !b.ended {
		b.console.show(line)
	}
	if b.file != nil {
		b.file.write(line)
	}
}
