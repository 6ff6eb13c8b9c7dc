package crashtest

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
)

// garbageIndex is the version of a block that never had a content: whatever
// the disk held there before.
const garbageIndex = -1

// cut is a loss of power after an event: what it may leave.
type cut struct {
	m       *model
	at      int
	pending []*cell // those with a choice
	lo, hi  []int   // of pending
	groups  []int   // of pending, each once, in order
	acked   []string
}

func (m *model) cut(at int) *cut {
	c := &cut{m: m, at: at}
	seen := map[int]bool{}
	for _, x := range m.cells {
		hi := x.latest(at)
		if hi < 0 {
			continue // not there yet
		}
		lo := x.floor(at)
		if lo >= hi {
			continue
		}
		if lo == 0 && x.garbage {
			lo = garbageIndex
		}
		c.pending = append(c.pending, x)
		c.lo, c.hi = append(c.lo, lo), append(c.hi, hi)
		if !seen[x.group] {
			seen[x.group] = true
			c.groups = append(c.groups, x.group)
		}
	}
	for _, a := range m.acks {
		if a.at <= at {
			c.acked = append(c.acked, a.what)
		}
	}
	return c
}

// choice is an index of a version for each pending cell.
type choice []int

// combinations returns the number of choices, or more than limit.
func (c *cut) combinations(limit int) int {
	n := 1
	for i := range c.pending {
		if n *= c.hi[i] - c.lo[i] + 1; n > limit {
			return limit + 1
		}
	}
	return n
}

// choices calls f with choices until it returns false: all there are, when
// there are at most limit, else limit of them by seed. The same seed gives the
// same choices.
func (c *cut) choices(limit int, seed uint64, f func(n int, ch choice) bool) {
	if all := c.combinations(limit); all <= limit {
		ch := slices.Clone(c.lo)
		for n := range all {
			if !f(n, slices.Clone(ch)) {
				return
			}
			for i := range ch { // count on
				if ch[i]++; ch[i] <= c.hi[i] {
					break
				}
				ch[i] = c.lo[i]
			}
		}
		return
	}
	for n := range limit {
		if !f(n, c.pick(n, seed)) {
			return
		}
	}
}

// pick makes choice n: nothing lasts, all lasts, one group alone lasts, one
// group alone does not, and then by chance in four manners.
func (c *cut) pick(n int, seed uint64) choice {
	ch := make(choice, len(c.pending))
	switch k := len(c.groups); {
	case n == 0:
		copy(ch, c.lo)
		for i := range ch {
			ch[i] = max(ch[i], 0)
		}
	case n == 1:
		copy(ch, c.hi)
	case n < 2+2*k:
		alone, one := (n-2)%2 == 0, c.groups[(n-2)/2]
		for i, x := range c.pending {
			ch[i] = c.hi[i]
			if (x.group == one) != alone {
				ch[i] = max(c.lo[i], 0)
			}
		}
	default:
		c.random(ch, rand.New(rand.NewPCG(seed, uint64(c.at)<<32|uint64(n))))
	}
	return ch
}

func (c *cut) random(ch choice, r *rand.Rand) {
	likely := []float64{0.05, 0.25, 0.5, 0.75, 0.95}[r.IntN(5)]
	garbage := r.IntN(3) == 0
	floor := func(i int) int {
		if garbage {
			return c.lo[i]
		}
		return max(c.lo[i], 0)
	}
	between := func(i int) int { // a version by chance
		if r.Float64() < likely {
			return c.hi[i]
		}
		return floor(i) + r.IntN(c.hi[i]-floor(i))
	}
	switch r.IntN(4) {
	case 0: // each cell for itself
		for i := range ch {
			ch[i] = between(i)
		}
	case 1: // whole groups
		lasts := map[int]bool{}
		for _, g := range c.groups {
			lasts[g] = r.Float64() < likely
		}
		for i, x := range c.pending {
			if ch[i] = floor(i); lasts[x.group] {
				ch[i] = c.hi[i]
			}
		}
	case 2: // in order up to an event, then by chance
		upTo := c.pending[r.IntN(len(c.pending))].versions
		at := upTo[len(upTo)-1].at
		for i, x := range c.pending {
			if ch[i] = max(x.latest(min(at, c.at)), floor(i)); ch[i] < c.hi[i] && r.Float64() < 0.1 {
				ch[i] = between(i)
			}
		}
	case 3: // one group is torn, the others are whole
		torn := c.groups[r.IntN(len(c.groups))]
		lasts := map[int]bool{}
		for _, g := range c.groups {
			lasts[g] = r.Float64() < likely
		}
		for i, x := range c.pending {
			switch {
			case x.group == torn && r.IntN(2) == 0, x.group != torn && !lasts[x.group]:
				ch[i] = floor(i)
			default:
				ch[i] = c.hi[i]
			}
		}
	}
}

// settled is a choice for all cells, with what each version needs.
type settled struct {
	c     *cut
	index []int // of each cell of the model
}

func (c *cut) settle(ch choice) *settled {
	s := &settled{c, make([]int, len(c.m.cells))}
	for i, x := range c.m.cells {
		s.index[i] = max(x.latest(c.at), 0)
	}
	for i, x := range c.pending {
		s.index[x.id] = ch[i]
	}
	for again := true; again; {
		again = false
		for _, x := range c.pending {
			for i := 1; i <= s.index[x.id]; i++ {
				if n := x.versions[i].need; n != nil && s.index[n.cell.id] < n.index {
					s.index[n.cell.id], again = n.index, true
				}
			}
		}
	}
	return s
}

func (s *settled) get(x *cell) value {
	i := s.index[x.id]
	if i == garbageIndex {
		return value{b: garbage}
	}
	return x.versions[i].val
}

// garbage is what an old disk may hold.
var garbage = func() []byte {
	b := make([]byte, blockSize)
	for i := range b {
		b[i] = byte(0xa5 ^ i)
	}
	return b
}()

// content returns the bytes of a file.
func (s *settled) content(n *inode) []byte {
	size := s.get(n.size).n
	b := make([]byte, size)
	for i, x := range n.blocks {
		if at := int64(i) * blockSize; at < size && x.latest(s.c.at) >= 0 {
			copy(b[at:], s.get(x).b)
		}
	}
	return b
}

// each calls f for every name that is left, directories before what is in them.
func (s *settled) each(f func(dir int64, name string, n *inode) bool) {
	var walk func(n *inode)
	walk = func(n *inode) {
		for _, name := range n.order {
			x := n.names[name]
			if x.latest(s.c.at) < 0 {
				continue
			}
			if child := s.get(x).n; child != 0 {
				in := s.c.m.inodes[child]
				if f(n.id, name, in) && in.kind == kindDir {
					walk(in)
				}
			}
		}
	}
	walk(s.c.m.inodes[s.c.m.root])
}

// hash names a state: equal states are looked at once.
func (s *settled) hash(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	num := func(v int64) { maphash.WriteComparable(&h, v) }
	if s.c.m.root != 0 {
		s.each(func(dir int64, name string, n *inode) bool {
			num(dir)
			h.WriteString(name)
			num(n.id)
			maphash.WriteComparable(&h, s.get(n.attr).attr)
			if n.kind == kindFile {
				h.Write(s.content(n))
			}
			return true
		})
	}
	for _, name := range s.c.m.diskNames() {
		dm := s.c.m.disks[name]
		for _, n := range dm.order {
			num(n)
			if x := dm.sectors[n]; x.latest(s.c.at) > 0 {
				h.Write(s.get(x).b)
			}
		}
	}
	num(int64(len(s.c.acked)))
	return h.Sum64()
}
