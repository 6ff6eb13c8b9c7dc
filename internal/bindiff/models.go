package bindiff

import "github.com/instar-os/instar/internal/bindiff/arith"

// models is everything that is learned along a stream. Writer and reader hold
// the same at each point of it. About 45 MiB.
type models struct {
	class    arith.Number
	spans    [classes]spanModel
	run      [classes][runContexts]arith.Number
	sections sectionModels
	fields   fieldModels
	hash     hashModel
	gap      *arith.Bytes
	sub      *arith.Bytes
	history  history
	hashes   [8]uint32
}

// spanModel codes the list of spans.
type spanModel struct {
	count, gap, length arith.Number
	shift              [2]arith.Number // by whether there was a gap
	whole              [2]arith.Flag   // it goes on to the end of one file; by whether it is the last
}

const runContexts = 8

// tableBits is the logarithm of the slots of each context of literals.
const tableBits = 19

// newModels returns the models at the beginning of a stream. Tests that make
// many take smaller tables.
func newModels(bits int) *models {
	return &models{
		gap:     arith.NewBytes(7, bits, int(classes)*3),
		sub:     arith.NewBytes(5, bits-4, int(classes)),
		history: newHistory(bits + 2),
	}
}

// runContext sorts runs of right bytes by the length of the one before.
func runContext(last int) int {
	n := 0
	for last > 0 && n < runContexts-1 {
		last >>= 2
		n++
	}
	return n
}

// history finds repetitions among the literal bytes of all files.
type history struct {
	bytes []byte // a ring
	table []int32
	mask  int
	shift int
	n     int // bytes seen
	match int // where the byte foretold stands, counted as n is; 0: nowhere
	long  int // how many bytes before it have matched
}

// historyMin is the shortest repetition that foretells a byte.
const historyMin = 5

// newHistory remembers 1<<bits bytes.
func newHistory(bits int) history {
	return history{bytes: make([]byte, 1<<bits), table: make([]int32, 1<<(bits-4)), mask: 1<<bits - 1, shift: 64 - bits + 4}
}

func (h *history) at(i int) byte { return h.bytes[i&h.mask] }

// expected returns the byte foretold and how far to trust it, or -1.
func (h *history) expected() (int, int) {
	if h.match == 0 {
		return -1, 0
	}
	l := h.long
	if l > 16 {
		l = min(16+(l-16)/8, 31)
	}
	return int(h.at(h.match)), l
}

// add appends a byte and follows or looks for a match. recent holds the last
// eight bytes, the newest lowest.
func (h *history) add(b byte, recent uint64) {
	if h.match != 0 && h.at(h.match) == b {
		h.match++
		h.long++
	} else {
		h.match, h.long = 0, 0
	}
	h.bytes[h.n&h.mask] = b
	h.n++
	slot := &h.table[uint32((recent&(1<<(8*historyMin)-1))*0x9e3779b97f4a7c15>>h.shift)]
	if h.match == 0 && *slot > 0 && h.n-int(*slot) < h.mask {
		h.match = int(*slot)
		for h.long < 32 && h.long < h.match && h.at(h.match-1-h.long) == h.at(h.n-1-h.long) {
			h.long++
		}
		if h.long < historyMin {
			h.match, h.long = 0, 0
		}
	}
	*slot = int32(h.n)
}
