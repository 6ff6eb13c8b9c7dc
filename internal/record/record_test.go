package record

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
)

func sys(s string) digest.Digest { return digest.Of([]byte(s)) }

// medium is a partition with a cache: what is written lasts when it is synced.
// Power is cut after so many bytes of writes.
type medium struct {
	cache, disk []byte
	left        int // bytes that may be written; -1: no cut
	dropSync    bool
	rot         bool // what is written reaches the medium damaged
}

var errCut = errors.New("power cut")

// small is the size of a partition of the tests in bytes.
const small = 64 << 10

func newMedium(size int) *medium {
	return &medium{cache: make([]byte, size), disk: make([]byte, size), left: -1}
}

func (m *medium) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.cache).ReadAt(p, off)
}

func (m *medium) ReadBack(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.disk).ReadAt(p, off)
}

func (m *medium) WriteAt(p []byte, off int64) (int, error) {
	if m.left >= 0 && len(p) > m.left {
		n := copy(m.cache[off:], p[:m.left])
		copy(m.disk[off:], p[:m.left])
		return n, errCut
	}
	if m.left >= 0 {
		m.left -= len(p)
	}
	return copy(m.cache[off:], p), nil
}

func (m *medium) Sync() error {
	if m.dropSync {
		return nil
	}
	copy(m.disk, m.cache)
	if m.rot {
		m.disk[100] ^= 1
		m.disk[small/2+100] ^= 1
	}
	return nil
}

// reboot forgets the cache.
func (m *medium) reboot(t *testing.T) *Book {
	t.Helper()
	copy(m.cache, m.disk)
	m.left = -1
	b, err := Open(m, int64(len(m.disk)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func full() Record {
	r := Record{Current: sys("b"), Previous: sys("a"), Boots: 7,
		Trial: &Trial{System: sys("c"), Configuration: "day", Slot: 1, Tries: 3, Booted: 0, Phase: Armed, Bundle: sys("bundle")}}
	for i := range MaxVerdicts {
		r.Judge(Verdict{System: sys(fmt.Sprint(i)), Good: i%2 == 0, Reason: "health-timeout", Detail: strings.Repeat("x", 100), Time: 1755000000, Boot: uint64(i)})
	}
	return r
}

func TestUpdate(t *testing.T) {
	m := newMedium(small)
	b := m.reboot(t)
	if !reflect.DeepEqual(b.Record(), Record{}) || b.Damaged != nil {
		t.Fatalf("blank: %+v, %v", b.Record(), b.Damaged)
	}
	want := full()
	for i := range 5 {
		want.Boots = uint64(i)
		if err := b.Update(func(r *Record) { *r = want.clone() }); err != nil {
			t.Fatal(err)
		}
		if got := b.Record(); !reflect.DeepEqual(got, want) {
			t.Fatalf("update %d: %+v", i, got)
		}
		if b = m.reboot(t); !reflect.DeepEqual(b.Record(), want) || b.Damaged != nil {
			t.Fatalf("update %d, after a reboot: %+v, %v", i, b.Record(), b.Damaged)
		}
	}
	got := b.Record()
	got.Trial.Tries, got.Verdicts[0].Good = 99, !got.Verdicts[0].Good
	if !reflect.DeepEqual(b.Record(), want) {
		t.Error("the caller's copy is the book's")
	}
}

// Every byte of a write is cut, over the first and over the second copy.
func TestTorn(t *testing.T) {
	big, tiny := full(), Record{Current: sys("a"), Boots: 1}
	big.Verdicts = big.Verdicts[:4]
	for i := range big.Verdicts {
		big.Verdicts[i].Detail = strings.Repeat("x", MaxDetail) // more than one sector of all
	}
	for which, order := range map[string][]Record{
		"grows": {tiny, big}, "shrinks": {big, tiny}, "first over blank": {big}, "third": {tiny, big, tiny},
	} {
		m := newMedium(16 << 10)
		b := m.reboot(t)
		old := Record{}
		for _, r := range order[:len(order)-1] {
			if err := b.Update(func(x *Record) { *x = r }); err != nil {
				t.Fatal(err)
			}
			old = r
		}
		last := order[len(order)-1]
		data, err := Encode(last, 9)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range len(data) {
			c := &medium{cache: slices.Clone(m.disk), disk: slices.Clone(m.disk)}
			b := c.reboot(t)
			c.left = cut // bytes
			if err := b.Update(func(x *Record) { *x = last }); !errors.Is(err, errCut) {
				t.Fatalf("%s: cut at %d: %v", which, cut, err)
			}
			if !reflect.DeepEqual(b.Record(), old) {
				t.Fatalf("%s: cut at %d: an update that failed is shown", which, cut)
			}
			// All but the padding may have arrived: then the new record is there.
			b = c.reboot(t)
			if got := b.Record(); !reflect.DeepEqual(got, old) && !(cut >= headerSize && reflect.DeepEqual(got, last)) {
				t.Fatalf("%s: cut at %d: %+v", which, cut, got)
			}
			if err := b.Update(func(x *Record) { *x = last; x.Boots = 1000 }); err != nil {
				t.Fatal(err)
			}
			if got := c.reboot(t).Record(); got.Boots != 1000 {
				t.Fatalf("%s: cut at %d, then again: %+v", which, cut, got)
			}
		}
	}
}

// TestMutants shows that each step of Update is needed.
func TestMutants(t *testing.T) {
	for name, spoil := range map[string]func(*medium){
		"sync dropped": func(m *medium) { m.dropSync = true },
		"bad medium":   func(m *medium) { m.rot = true },
	} {
		m := newMedium(small)
		b := m.reboot(t)
		spoil(m)
		if err := b.Update(func(r *Record) { r.Boots++ }); err == nil || !strings.Contains(err.Error(), "reads back as something else") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamage(t *testing.T) {
	m := newMedium(small)
	b := m.reboot(t)
	for i := range 2 {
		if err := b.Update(func(r *Record) { r.Boots = uint64(i + 1) }); err != nil {
			t.Fatal(err)
		}
	}
	pristine := slices.Clone(m.disk)
	for i := range 3 { // first copy, second, both
		m.disk = slices.Clone(pristine)
		if i != 1 {
			m.disk[70] ^= 1
		}
		if i != 0 {
			m.disk[small/2+3] ^= 1
		}
		b = m.reboot(t)
		want := []uint64{2, 1, 0}[i]
		if b.Record().Boots != want || (b.Damaged != nil) != (i == 2) {
			t.Errorf("damage %d: %d boots, damaged: %v", i, b.Record().Boots, b.Damaged)
		}
	}
	if err := b.Update(func(r *Record) { r.Boots = 5 }); err != nil || b.Damaged != nil {
		t.Errorf("begin anew: %v, %v", err, b.Damaged)
	}
	if got := m.reboot(t); got.Record().Boots != 5 {
		t.Errorf("begun anew: %+v", got.Record())
	}
	if _, err := Open(m, 4096); err == nil {
		t.Error("opened a device that is too small")
	}
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*Record){
		"phase":    func(r *Record) { r.Trial.Phase = "tried" },
		"slot":     func(r *Record) { r.Trial.Slot = 8 },
		"system":   func(r *Record) { r.Trial.System = digest.Digest{} },
		"tries":    func(r *Record) { r.Trial.Tries = -1 },
		"verdicts": func(r *Record) { r.Verdicts = append(r.Verdicts, Verdict{System: sys("x")}) },
		"twice":    func(r *Record) { r.Verdicts[0] = r.Verdicts[1] },
		"detail":   func(r *Record) { r.Verdicts[0].Detail = strings.Repeat("x", MaxDetail+1) },
	} {
		m := newMedium(small)
		b := m.reboot(t)
		if err := b.Update(func(r *Record) { *r = full(); change(r) }); err == nil {
			t.Errorf("%s: written", name)
		}
		if !bytes.Equal(m.cache, make([]byte, small)) {
			t.Errorf("%s: refused, but written", name)
		}
	}
}

func TestJudge(t *testing.T) {
	var r Record
	for i := range MaxVerdicts + 10 {
		r.Judge(Verdict{System: sys(fmt.Sprint(i)), Good: i >= 20, Reason: strings.Repeat("\xff", 200), Detail: strings.Repeat("ü", MaxDetail)})
	}
	if len(r.Verdicts) != MaxVerdicts || r.Verdicts[0].System != sys("73") {
		t.Fatalf("%d verdicts, first %v", len(r.Verdicts), r.Verdicts[0])
	}
	for i := range 20 {
		if !r.Bad(sys(fmt.Sprint(i))) {
			t.Errorf("a bad verdict (%d) was forgotten before a good one", i)
		}
	}
	r.Judge(Verdict{System: sys("3"), Good: true, Reason: "by the operator"})
	if v, ok := r.Verdict(sys("3")); !ok || r.Bad(sys("3")) || v.Reason != "by the operator" || len(r.Verdicts) != MaxVerdicts {
		t.Errorf("a newer verdict: %+v, %v, %d", v, ok, len(r.Verdicts))
	}
	if r.Acquit(sys("4")); r.Bad(sys("4")) {
		t.Error("acquitted, but bad")
	}
	if _, err := Encode(r, 1); err != nil {
		t.Error(err)
	}
}

// What a newer version of instar added does not hide what is known.
func TestUnknownFields(t *testing.T) {
	b, err := Encode(Record{Boots: 3}, 1)
	if err != nil {
		t.Fatal(err)
	}
	payload := []byte(`{"boots":3,"future":{"x":[1]}}`)
	clear(b[headerSize:])
	copy(b[headerSize:], payload)
	b[12] = byte(len(payload))
	sum := checksum(b, len(payload))
	copy(b[sumAt:], sum[:])
	if r, _, err := Decode(b); err != nil || r.Boots != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range []Record{{}, full()} {
		b, err := Encode(r, 5)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// Most inputs fail at the checksum: it is made right.
		if n, err := length(b); err == nil && n <= int64(len(b)) {
			b = slices.Clone(b)
			sum := checksum(b, int(n)-headerSize)
			copy(b[sumAt:], sum[:])
		}
		r, seq, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Encode(*r, seq)
		if err != nil {
			t.Fatalf("decoded, but not encoded: %v", err)
		}
		back, seq2, err := Decode(again)
		if err != nil || seq2 != seq || !reflect.DeepEqual(back, r) && len(r.Verdicts) > 0 {
			t.Fatalf("%+v became %+v, %v", r, back, err)
		}
	})
}
