package bindiff

import (
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/bindiff/arith"
	"github.com/instar-os/instar/internal/bindiff/field"
)

// codec writes or reads one stream: the same steps for both, so that what is
// written can be read.
type codec struct {
	*models
	c *arith.Coder

	// Of the file at hand.
	class  Class
	old    []byte
	size   int
	spans  []span
	text   []byte  // writer: the new file
	wrong  []int32 // writer: runs of right bytes that are to come
	wrongs int
	out    sink
	recent uint64 // the last eight bytes made, the newest lowest
	booked uint64
	spent  [parts]uint64 // writer: by part, as arith.Coder.Spent counts
	next   int           // bytes that are right until the next wrong one
	last   int           // the run before
	raw    bool          // literals are sent as they are

	// Of files with fields; layout is nil for others.
	layout      *field.Layout
	newSections []field.Section
	pair        []int32
	predictor   *predictor
	before      uint64 // target of the field before, in old
	beforeNow   uint64 // and in the new file
	nearOld     int
	nearNew     int
	member      int // of an archive, of the field before
}

// part is what bytes of a stream are spent on.
type part int

const (
	partControl part = iota // spans and sections
	partWrong               // bytes in spans, and where they are
	partLiteral
	partField
	parts
)

// book adds what was spent since the last call to a part.
func (k *codec) book(p part) {
	now := k.c.Spent()
	k.spent[p] += now - k.booked
	k.booked = now
}

// endless is a run that reaches the end of the file.
const endless = 1 << 40

// file codes one file. A writer gives text, spans and class; a reader leaves
// them empty and gets the bytes in w.
func (k *codec) file(old []byte, size int, p plan, text []byte, w io.Writer) error {
	k.old, k.size, k.text, k.spans, k.class, k.raw = old, size, text, p.spans, p.class, p.raw
	k.out = sink{w: w, left: size}
	k.recent, k.last = 0, 0
	k.spent, k.booked = [parts]uint64{}, k.c.Spent()
	k.layout, k.newSections, k.pair, k.predictor = p.layout, p.sections, p.pair, nil
	k.before, k.beforeNow, k.nearOld, k.nearNew = 0, 0, -1, -1
	k.models.fields.forget()
	k.member = 0
	kind := k.models.class.Code(k.c, uint64(k.class)<<2|b2u(k.layout != nil)<<1|b2u(k.raw))
	if kind >= 4*uint64(classes) {
		return k.damaged("class %d", kind)
	}
	k.class, k.raw = Class(kind/4), kind%2 != 0
	if err := k.codeSpans(); err != nil {
		return err
	}
	if kind/2%2 != 0 {
		if k.c.Reading() {
			if k.layout = field.Find(old); k.layout == nil {
				return k.damaged("the old file has no fields")
			}
		}
		if err := k.codeSections(); err != nil {
			return err
		}
	}
	k.book(partControl)
	if !k.c.Reading() {
		k.wrong = k.wrongBytes(nil)
		k.wrongs = len(k.wrong)
	}
	k.nextRun(0)
	k.book(partWrong)
	at := 0
	for i, s := range k.spans {
		k.gap(at, int(s.at)-at, i)
		k.book(partLiteral)
		k.pieces(s, k.copy, k.field)
		at = int(s.at + s.n)
		if k.c.Err() != nil {
			break
		}
	}
	k.gap(at, size-at, len(k.spans))
	k.book(partLiteral)
	k.out.flush()
	if err := k.c.Err(); err != nil {
		if k.c.Reading() {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return err
	}
	return k.out.err
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (k *codec) damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// codeSpans codes the list of spans, relative to one another.
func (k *codec) codeSpans() error {
	m := &k.models.spans[k.class]
	n := m.count.Code(k.c, uint64(len(k.spans)))
	if n > maxSpans || n > uint64(k.size/minSpan) {
		return k.damaged("%d spans in %d bytes", n, k.size)
	}
	if k.c.Reading() {
		k.spans = make([]span, n)
	}
	at, from := int64(0), int64(0)
	for i := range k.spans {
		s := &k.spans[i]
		gap := int64(m.gap.Code(k.c, uint64(int64(s.at)-at)))
		way := 0
		if gap != 0 {
			way = 1
		}
		shift := m.shift[way].Signed(k.c, int64(s.from)-from-gap)
		if k.c.Reading() {
			if k.c.Err() != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, k.c.Err())
			}
			if gap < 0 || gap > int64(k.size)-at || shift < -1<<32 || shift > 1<<32 {
				return k.damaged("a span %d bytes after %d of %d", gap, at, k.size)
			}
			*s = span{at: int32(at + gap)}
			if f := from + gap + shift; f >= 0 && f <= int64(len(k.old)) {
				s.from = int32(f)
			} else {
				return k.damaged("a span from %d of %d", f, len(k.old))
			}
		}
		most := min(int64(k.size)-int64(s.at), int64(len(k.old))-int64(s.from))
		whole := m.whole[b2u(uint64(i) == n-1)].Code(k.c, int(b2u(int64(s.n) == most))) != 0
		length := most
		if !whole {
			length = int64(m.length.Code(k.c, uint64(s.n-minSpan))) + minSpan
		}
		if k.c.Reading() {
			if k.c.Err() != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, k.c.Err())
			}
			if length < minSpan || length > most {
				return k.damaged("a span of %d bytes where %d are left", length, most)
			}
			s.n = int32(length)
		}
		at, from = int64(s.at)+int64(s.n), int64(s.from)+int64(s.n)
	}
	return nil
}

// wrongBytes lists where the bytes of spans differ, as distances in copied
// bytes from one to the next.
func (k *codec) wrongBytes(list []int32) []int32 {
	run := int32(0)
	for _, s := range k.spans {
		k.pieces(s, func(at, from, n int) {
			a, b := k.text[at:at+n], k.old[from:from+n]
			for i := range a {
				if a[i] != b[i] {
					list = append(list, run)
					run = 0
				} else {
					run++
				}
			}
		}, func(field.Field, int) {})
	}
	return list
}

// nextRun codes how many copied bytes are right before the next wrong one, plus
// one; 0: all the rest.
func (k *codec) nextRun(last int) {
	v := uint64(0)
	if len(k.wrong) > 0 {
		v = uint64(k.wrong[0]) + 1
		k.wrong = k.wrong[1:]
	}
	v = k.run[k.class][runContext(last)].Code(k.c, v)
	k.next, k.last = int(min(v-1, endless)), int(min(v, endless))
	if v == 0 {
		k.next = endless
	}
}

// copy makes n bytes at at from those of old at from.
func (k *codec) copy(at, from, n int) {
	for n > 0 {
		m := min(n, k.next)
		k.out.write(k.old[from : from+m])
		at, from, n, k.next = at+m, from+m, n-m, k.next-m
		if m > 0 {
			for _, b := range k.old[max(from-8, from-m):from] {
				k.recent = k.recent<<8 | uint64(b)
			}
		}
		if n == 0 || k.c.Err() != nil {
			break
		}
		k.substitute(at, from)
		at, from, n = at+1, from+1, n-1
		k.nextRun(k.last)
	}
	k.book(partWrong)
}

// substitute codes a byte that differs from the one of old at from.
func (k *codec) substitute(at, from int) {
	was := uint32(k.old[from])
	following := uint32(0)
	if from+1 < len(k.old) {
		following = uint32(k.old[from+1])
	}
	r := uint32(k.recent)
	h := k.hashes[:5]
	h[0] = was
	h[1] = was<<8 | r&0xff | 1<<16
	h[2] = was<<8 | following | 2<<16
	h[3] = was<<16 | r&0xffff | 3<<24
	h[4] = r&0xffffff | 4<<24
	b := byte(0)
	if k.text != nil {
		b = k.text[at]
	}
	b = k.sub.Code(k.c, b, h, int(k.class), -1, 0)
	k.put(b)
}

func (k *codec) put(b byte) {
	k.recent = k.recent<<8 | uint64(b)
	k.out.byte(b)
}

// gap codes n literal bytes at at, which stand before span i.
func (k *codec) gap(at, n, i int) {
	// Where old goes on after the span before: the gap may be a new version of that.
	from, room := 0, 0
	if i > 0 {
		s := k.spans[i-1]
		from = int(s.from + s.n)
	}
	room = len(k.old) - from
	for j := range n {
		if j&1023 == 0 && k.c.Err() != nil {
			return
		}
		b := byte(0)
		if k.text != nil {
			b = k.text[at+j]
		}
		if k.raw {
			k.put(byte(k.c.Even(uint64(b), 8)))
			continue
		}
		was := uint32(256)
		if j < room {
			was = uint32(k.old[from+j])
		}
		r := k.recent
		h := &k.hashes
		h[0] = uint32(r & 0xff)
		h[1] = uint32(r&0xffff) | 1<<24
		h[2] = uint32(r&0xffffff) | 2<<24
		h[3] = uint32(r) * 0x9e3779b1
		h[4] = uint32(r&0xffffffffffff*0x9e3779b97f4a7c15>>32) + 5
		h[5] = was<<8 | uint32(r&0xff) | 3<<24
		h[6] = was | uint32(at+j&7)<<9 | uint32(k.class)<<14 | 4<<24
		expected, trust := k.history.expected()
		set := int(k.class) * 3
		switch {
		case expected >= 0 && trust >= 16:
			set += 2
		case expected >= 0:
			set++
		}
		b = k.models.gap.Code(k.c, b, h[:7], set, expected, trust)
		k.put(b)
		k.history.add(b, k.recent)
	}
}

// sink gathers bytes for a writer and counts them.
type sink struct {
	w    io.Writer
	buf  [32 << 10]byte
	n    int
	left int
	err  error
}

func (s *sink) byte(b byte) {
	if s.n == len(s.buf) {
		s.flush()
	}
	s.buf[s.n] = b
	s.n++
}

func (s *sink) write(p []byte) {
	if len(p) > len(s.buf)-s.n {
		s.flush()
		if len(p) > len(s.buf) {
			s.send(p)
			return
		}
	}
	s.n += copy(s.buf[s.n:], p)
}

func (s *sink) flush() {
	s.send(s.buf[:s.n])
	s.n = 0
}

func (s *sink) send(p []byte) {
	if s.err == nil && s.w != nil && len(p) > 0 {
		if _, err := s.w.Write(p); err != nil {
			s.err = fmt.Errorf("write the new file: %w", err)
		}
	}
}
