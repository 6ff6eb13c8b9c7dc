package crash

import (
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/crashtest/blocks"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/image"
	"github.com/instar-os/instar/internal/slot"
)

// A deafness is what a disk ignores: flushes, or writes that should be on the
// medium at once. The bench must see that states are wrong then.
type deafness struct {
	name string
	to   func(i int, o blocks.Op) bool
}

// mutants replays an update as it would have been on disks that do not do what
// they are told, and counts the states that are wrong: none means that the bench
// is blind.
func mutants(t *testing.T, l *blocks.Log, j *judge) map[string]int {
	t.Helper()
	const states = 3000
	found := map[string]int{}
	for _, d := range deafnesses(t, l) {
		r, err := Replay(l.Deaf(d.to), 0, l.Len(), states, j.judge)
		if err != nil {
			t.Fatal(err)
		}
		if found[d.name] = r.Wrong; r.Wrong == 0 {
			t.Errorf("a disk that ignores %s is not noticed in %d states", d.name, r.States)
		} else {
			t.Logf("a disk that ignores %s: %d of %d states are wrong, as %s", d.name, r.Wrong, r.States, r.Bad[0][:min(len(r.Bad[0]), 300)])
		}
	}
	return found
}

func deafnesses(t *testing.T, l *blocks.Log) []deafness {
	t.Helper()
	all := []deafness{{"flushes", func(_ int, o blocks.Op) bool { return o.Kind == blocks.Flush }}}
	table, err := disk.ReadGPT(l.Prefix(0), l.Size())
	if err != nil {
		t.Fatal(err)
	}
	at := places(table, l.Ops())
	for _, where := range []string{tablePlace, "slots", image.StoreName} {
		all = append(all, deafness{"flushes of " + where, func(i int, o blocks.Op) bool { return o.Kind == blocks.Flush && at[i][where] }})
	}
	return all
}

// tablePlace is what is in no partition.
const tablePlace = "the partition table"

// places says of each flush where on the disk the writes are that it covers.
func places(table *disk.GPT, ops []blocks.Op) map[int]map[string]bool {
	all := map[int]map[string]bool{}
	pending := map[string]bool{}
	for i, o := range ops {
		if o.Kind == blocks.Flush {
			all[i], pending = pending, map[string]bool{}
			continue
		}
		where := tablePlace
		for _, p := range table.Partitions {
			if o.Off >= p.Offset()-slot.Gap && o.Off < p.Offset()+p.Size() && strings.HasPrefix(p.Name, slot.Name(0)[:len(slot.Name(0))-1]) {
				where = "slots"
			} else if o.Off >= p.Offset() && o.Off < p.Offset()+p.Size() {
				where = p.Name
			}
		}
		pending[where] = true
	}
	return all
}
