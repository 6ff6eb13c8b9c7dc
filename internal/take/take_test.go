package take_test

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/take"
)

func TestTake(t *testing.T) {
	b := binary.AppendUvarint(nil, 7)
	b = binary.AppendVarint(b, -3)
	b = append(binary.AppendUvarint(b, 5), "amd64"...)
	b = append(b, 1, 2)
	p := take.From(b)
	if n, s, text, rest := p.Number(7), p.Signed(), p.Text(5), p.Bytes(2); n != 7 || s != -3 || text != "amd64" || rest[1] != 2 {
		t.Error(n, s, text, rest)
	}
	if err := p.End(); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	for _, row := range []struct {
		name, want string
		b          []byte
		read       func(*take.Taker)
	}{
		{"a number that is cut", "cut off", []byte{0x80}, func(p *take.Taker) { p.Number(math.MaxInt64) }},
		{"a number of more than 64 bits", "cut off", []byte(strings.Repeat("\xff", 11)), func(p *take.Taker) { p.Number(math.MaxInt64) }},
		{"a number of 64 bits", "at most", []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), func(p *take.Taker) { p.Number(math.MaxInt64) }},
		{"a number beyond its limit", "8 where at most 7", []byte{8}, func(p *take.Taker) { p.Number(7) }},
		{"a count without room", "where at most 2", []byte{40, 0, 0, 0, 0}, func(p *take.Taker) { p.Count(100, 4) }},
		{"a signed number that is cut", "cut off", []byte{0x80}, func(p *take.Taker) { p.Signed() }},
		{"bytes that are cut", "cut off", []byte{1}, func(p *take.Taker) { p.Bytes(2) }},
		{"a name that is cut", "cut off", []byte{3, 'a'}, func(p *take.Taker) { p.Text(9) }},
		{"a name with a control character", "0x1b", []byte{1, 0x1b}, func(p *take.Taker) { p.Text(9) }},
		{"a zero digest", "a digest is zero", make([]byte, 32), func(p *take.Taker) { p.Digest() }},
		{"what was not taken", "1 bytes behind its end", []byte{1, 2}, func(p *take.Taker) { p.Number(1) }},
	} {
		p := take.From(row.b)
		row.read(p)
		err := p.End()
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if p.Err() != nil { // the first error stays, and nothing comes any more
			if p.Number(100) != 0 || p.Signed() != 0 || p.Text(100) != "" || p.Bytes(1)[0] != 0 || p.End() != err {
				t.Errorf("%s: values come after the error", row.name)
			}
		}
	}
}
