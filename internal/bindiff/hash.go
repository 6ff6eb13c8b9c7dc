package bindiff

import (
	"github.com/instar-os/instar/internal/bindiff/arith"
	"github.com/instar-os/instar/internal/bindiff/field"
)

// hash is that of a store path.
type hash [field.HashSize]byte

// maxHashes bounds the memory of hashModel.
const maxHashes = 1 << 14

// hashModel remembers along the whole stream what hashes have become.
type hashModel struct {
	became map[hash]hash
	hit    [2]arith.Flag // by whether the hash was seen before
	digits arith.Flag    // a hash is made of digits, as always
}

// hash codes the hash at at, which is f in the old file.
func (k *codec) hash(f field.Field, at int) {
	m := &k.models.hash
	was := hash(k.old[f.Pos:f.End()])
	now, seen := m.became[was]
	if !seen {
		now = was
	}
	actual := now
	if k.text != nil {
		actual = hash(k.text[at:])
	}
	if m.hit[b2u(seen)].Code(k.c, int(b2u(actual == now))) != 0 {
		actual = now
	} else {
		k.hashDigits(&actual)
	}
	if m.became == nil {
		m.became = map[hash]hash{}
	}
	if len(m.became) < maxHashes || seen {
		m.became[was] = actual
	}
	k.book(partField)
	k.out.write(actual[:])
	for _, c := range actual[field.HashSize-8:] {
		k.recent = k.recent<<8 | uint64(c)
	}
}

// hashDigits codes a hash that was not foretold: five bits a digit, or eight a
// byte where it is none.
func (k *codec) hashDigits(h *hash) {
	plain := 0
	for _, c := range h {
		if field.HashDigit(c) < 0 {
			plain = 1
		}
	}
	plain = k.models.hash.digits.Code(k.c, plain)
	for i, c := range h {
		if plain != 0 {
			h[i] = byte(k.c.Even(uint64(c), 8))
		} else {
			h[i] = field.HashLetter(int(k.c.Even(uint64(max(field.HashDigit(c), 0)), 5)))
		}
	}
}
