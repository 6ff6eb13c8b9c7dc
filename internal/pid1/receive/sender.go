package receive

import (
	"bufio"
	"context"
	"io"

	"github.com/instar-os/instar/internal/chunk"
	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/internal/wire"
)

// sender is who gives the update: a stream, and questions about what comes next
// in it.
type sender struct {
	in  *bufio.Reader
	say *speaker
}

// packs says whether an index of chunks comes, and no update.
func (s *sender) packs() bool {
	b, err := s.in.Peek(len(chunk.Magic))
	return err == nil && string(b) == chunk.Magic
}

func (s *sender) receive(ctx context.Context, env *update.Env) (*update.Received, error) {
	if s.packs() {
		return update.Pull(ctx, update.Packs{Index: s.in, Ranges: s.ranges}, env)
	}
	return update.Receive(ctx, update.Source{Front: s.in, Body: s.body}, env)
}

func (s *sender) check(ctx context.Context, env *update.Env) (*update.Checked, error) {
	if s.packs() {
		return update.CheckPacks(ctx, update.Packs{Index: s.in, Ranges: s.ranges}, env)
	}
	return update.Check(ctx, update.Source{Front: s.in, Body: s.body}, env)
}

// body asks for the body from where it is needed.
func (s *sender) body(offset int64) (io.Reader, error) {
	s.say.event(wire.UpdateEvent{Want: &offset})
	return s.in, s.say.err
}

// maxRanges is how many ranges one event asks for.
const maxRanges = 500

// ranges asks for parts of packs.
func (s *sender) ranges(list []chunk.Range) (io.Reader, error) {
	for len(list) > 0 {
		n := min(len(list), maxRanges)
		e := wire.UpdateEvent{More: n < len(list)}
		for _, r := range list[:n] {
			e.Ranges = append(e.Ranges, [3]int64{int64(r.Pack), r.Offset, r.Length})
		}
		s.say.event(e)
		list = list[n:]
	}
	return s.in, s.say.err
}
