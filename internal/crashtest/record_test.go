package crashtest_test

import (
	"fmt"

	"github.com/instar-os/instar/internal/crashtest"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/record"
)

func recordScenarios() []*crashtest.Scenario {
	return []*crashtest.Scenario{updateRecord(0), updateRecord(1), updateRecord(2)}
}

// recordAt is the record after n updates. The third is longer than a sector of
// the format.
func recordAt(n int, r *record.Record) {
	*r = record.Record{Boots: uint64(n), Current: digest.Of([]byte("current")), Previous: digest.Of([]byte("previous"))}
	if n%2 == 1 {
		r.Trial = &record.Trial{System: digest.Of(fmt.Append(nil, n)), Tries: 3, Phase: record.Staged}
	}
	for i := range n * 15 {
		r.Judge(record.Verdict{System: digest.Of(fmt.Append(nil, "bad", i)), Reason: "health-timeout", Detail: string(text("why", 200)), Time: int64(i)})
	}
}

// updateRecord updates a record that was updated some times before.
func updateRecord(before int) *crashtest.Scenario {
	const size, updates = 128 << 10, 4
	open := func(d *crashtest.Disk) (*record.Book, error) { return record.Open(d, size) }
	return &crashtest.Scenario{
		Name: fmt.Sprintf("record: updates after %d others", before),
		Setup: func(e *crashtest.Env) error {
			d := e.AddDisk("record", make([]byte, size))
			b, err := open(d)
			for n := 1; err == nil && n <= before; n++ {
				err = b.Update(func(r *record.Record) { recordAt(n, r) })
			}
			return err
		},
		Run: func(e *crashtest.Env) error {
			b, err := open(e.Disk("record"))
			if err != nil {
				return err
			}
			for n := int(b.Record().Boots) + 1; n <= before+updates; n++ {
				if err := b.Update(func(r *record.Record) { recordAt(n, r) }); err != nil {
					return err
				}
				e.Ack("%d", n)
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			b, err := open(s.Disk("record"))
			if err != nil {
				return "", err
			}
			got := b.Record()
			last := before
			for n := before + 1; n <= before+updates; n++ {
				if s.Has("%d", n) {
					last = n
				}
			}
			if b.Damaged != nil && last > 0 {
				return "", b.Damaged
			}
			var want record.Record
			if got.Boots > 0 {
				recordAt(int(got.Boots), &want)
			}
			if a, b := fmt.Sprintf("%+v", deref(got)), fmt.Sprintf("%+v", deref(want)); a != b {
				return "", fmt.Errorf("the record of update %d is %s", got.Boots, a)
			}
			switch n := int(got.Boots); {
			case n < last:
				return "", fmt.Errorf("update %d was acknowledged, that of %d is there", last, n)
			case n == before+updates:
				return "new", nil
			case n == before:
				return "old", nil
			}
			return "between", nil
		},
	}
}

// deref makes what a record points to part of what is printed of it.
func deref(r record.Record) any {
	if r.Trial == nil {
		return r
	}
	t := *r.Trial
	r.Trial = nil
	return struct {
		record.Record
		trial record.Trial
	}{r, t}
}
