package bindiff

import (
	"encoding/binary"

	"github.com/instar-os/instar/internal/bindiff/arith"
	"github.com/instar-os/instar/internal/bindiff/field"
)

// sectionModels code where the new file's sections are.
type sectionModels struct {
	count, pair, off, addr, size arith.Number
}

// codeSections codes the sections of the new file, each against the old one it
// is a version of.
func (k *codec) codeSections() error {
	m := &k.models.sections
	old := k.layout.Sections
	n := m.count.Signed(k.c, int64(len(k.newSections)-len(old))) + int64(len(old))
	if n < 0 || n > 1<<14 {
		return k.damaged("%d sections", n)
	}
	if k.c.Reading() {
		k.newSections = make([]field.Section, n)
		k.pair = make([]int32, len(old))
		for i := range k.pair {
			k.pair[i] = -1
		}
	}
	of := make([]int32, n) // the old section of each new one
	for i := range of {
		of[i] = -1
	}
	for i, j := range k.pair {
		if j >= 0 {
			of[j] = int32(i)
		}
	}
	var before, was field.Section
	last := int32(-1)
	for i := range k.newSections {
		s := &k.newSections[i]
		of[i] = last + 1 + int32(m.pair.Signed(k.c, int64(of[i]-last-1)))
		guess := field.Section{}
		if of[i] >= 0 && int(of[i]) < len(old) {
			last = of[i]
			was, guess = old[last], old[last].Follow(was, before)
			k.pair[last] = int32(i)
		} else if of[i] != -1 {
			return k.damaged("section %d is number %d of %d", i, of[i], len(old))
		}
		s.Empty = guess.Empty
		s.Off = guess.Off + uint64(m.off.Signed(k.c, int64(s.Off-guess.Off)))
		if !s.Empty { // addresses move with offsets
			guess.Addr += s.Off - guess.Off
		}
		s.Addr = guess.Addr + uint64(m.addr.Signed(k.c, int64(s.Addr-guess.Addr)))
		s.Size = guess.Size + uint64(m.size.Signed(k.c, int64(s.Size-guess.Size)))
		if k.c.Err() != nil {
			return nil
		}
		if s.Size > 1<<40 || s.Off > 1<<40 {
			return k.damaged("section %d has %d bytes at %d", i, s.Size, s.Off)
		}
		before = *s
	}
	k.predictor = newPredictor(k.layout, field.SetSections(k.newSections), k.pair, k.spans)
	return nil
}

// pairSections finds the old section of each new one by name, the n-th of a
// name being the n-th of that name.
func pairSections(old, new []field.Section) []int32 {
	type key struct {
		name  [2]string
		nth   int
		empty bool
	}
	index := func(list []field.Section) []key {
		seen := map[[2]string]int{}
		keys := make([]key, len(list))
		for i := range list {
			name := [2]string{list[i].Member, list[i].Name}
			keys[i] = key{name, seen[name], list[i].Empty}
			seen[name]++
		}
		return keys
	}
	at := map[key]int32{}
	for i, k := range index(new) {
		at[k] = int32(i)
	}
	pair := make([]int32, len(old))
	for i, k := range index(old) {
		pair[i] = -1
		if j, ok := at[k]; ok {
			pair[i] = j
		}
	}
	return pair
}

// pieces calls plain for the bytes of a span that no field holds and code for
// each field that is whole inside it, in order.
func (k *codec) pieces(s span, plain func(at, from, n int), code func(f field.Field, at int)) {
	from, end := int(s.from), int(s.from+s.n)
	shift := int(s.at - s.from)
	if k.layout != nil {
		c := k.layout.From(uint32(from))
		for f, ok := c.Next(); ok && int(f.End()) <= end; f, ok = c.Next() {
			pos := int(f.Pos)
			if pos > from {
				plain(from+shift, from, pos-from)
			}
			code(f, pos+shift)
			from = int(f.End())
		}
	}
	if from < end {
		plain(from+shift, from, end-from)
	}
}

// field makes the bytes at at of field f.
func (k *codec) field(f field.Field, at int) {
	m, p := &k.models.fields, k.predictor
	kind := f.Kind()
	if kind == field.Hash {
		k.hash(f, at)
		return
	}
	if n := k.layout.Member(f.Pos); n != k.member { // types of another module
		k.member = n
		m.forget()
	}
	var buf [8]byte
	b := buf[:kind.Size()]
	copy(b, k.old[f.Pos:f.End()])
	was := field.Place{Layout: p.old, Before: k.before}
	now := field.Place{Layout: p.new, Before: k.beforeNow}
	was.Addr, k.nearOld = p.old.AddressOf(uint64(f.Pos), k.nearOld)
	now.Addr, k.nearNew = p.new.AddressOf(uint64(at), k.nearNew)
	if was.Base = p.old.Base(f); kind == field.Index24 {
		now.Base, _ = p.span(was.Base)
	}
	section := f.Section()
	to := -1
	if section >= 0 && section < len(k.pair) {
		to = int(k.pair[section])
		if to < 0 {
			now.Layout, to = p.old, section
		}
	}
	t := f.Target(was, section, f.Read(b))
	guess, src := k.foretell(f, t)
	if kind == field.Page21 || kind == field.Low12 {
		now.Base = guess
	}
	v := f.Value(now, to, guess)
	if kind.Instruction() { // other bits of the word may differ as well: all of it is the value
		f.Write(b, v)
		v = uint64(binary.LittleEndian.Uint32(b))
	}
	actual := v
	switch {
	case k.text != nil && kind.Instruction():
		actual = uint64(binary.LittleEndian.Uint32(k.text[at:]))
	case k.text != nil:
		actual = f.Read(k.text[at:])
	}
	tail := m.tail[kind] & 3
	hit := m.hit[kind][src][tail].Code(k.c, int(b2u(actual == v)))
	m.tail[kind] = m.tail[kind]<<1 | hit
	if hit == 0 {
		d := m.last[kind]
		if m.again[kind].Code(k.c, int(b2u(actual-v == d))) == 0 {
			d = uint64(m.miss[kind].Signed(k.c, int64(actual-v)))
		}
		actual, m.last[kind] = v+d, d
	}
	k.book(partField)
	if kind.Instruction() {
		binary.LittleEndian.PutUint32(b, uint32(actual))
	} else {
		f.Write(b, actual)
	}
	actual = f.Read(b)
	k.before, k.beforeNow = t, f.Target(now, to, actual)
	switch kind {
	case field.Rel32, field.Abs32, field.Abs64, field.Sec64, field.SecPC64, field.Branch26, field.Low12, field.Sym32:
		p.learn(t, k.beforeNow)
	case field.Type32, field.Name32, field.Token64:
		known, own := k.numbers(kind, t)
		if own >= 0 && !m.begun[own] {
			m.shift[own], m.begun[own] = actual-t, true
		}
		known.learn(t, actual, kind != field.Token64)
	}
	k.out.write(b)
	for _, c := range b {
		k.recent = k.recent<<8 | uint64(c)
	}
}

// foretell returns the target that f has in the new file if all goes as before.
func (k *codec) foretell(f field.Field, t uint64) (uint64, source) {
	switch kind := f.Kind(); kind {
	case field.Type32, field.Name32, field.Token64:
		known, own := k.numbers(kind, t)
		guess, src := known.target(t, kind != field.Token64)
		if src == fromSpan && own >= 0 {
			return t + k.models.fields.shift[own], fromBlock
		}
		return guess, src
	case field.Known64:
		// What the old file says otherwise than is known of it, the new one does too.
		return t + f.Known(k.layout, k.predictor.new, k.pair) - f.Known(k.layout, k.layout, nil), fromPair
	case field.Len32, field.Len64:
		if t == k.before {
			return k.beforeNow, fromPair
		}
		guess, src := k.predictor.span(t - 1)
		return guess + 1, src
	}
	return k.predictor.target(t)
}
