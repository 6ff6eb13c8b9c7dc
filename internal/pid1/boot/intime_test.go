package boot

import (
	"testing"

	"github.com/instar-os/instar/internal/wire"
)

// A task holds as long as nothing more contradicts its proof; what has, counts
// once; a thread that was started again begins anew.
func TestInTime(t *testing.T) {
	var k kept
	for _, look := range []struct {
		name string
		task wire.RTTask
		want string
	}{
		{"before its first job", wire.RTTask{}, "task loop.main has not run"},
		{"in time", wire.RTTask{Jobs: 10}, ""},
		{"late", wire.RTTask{Jobs: 20, Misses: 1}, "of 20 jobs 1 were late"},
		{"late some time ago", wire.RTTask{Jobs: 30, Misses: 1}, ""},
		{"beyond its bound", wire.RTTask{Jobs: 40, Misses: 1, Beyond: 2}, "2 took longer than their bound"},
		{"in another thread", wire.RTTask{Jobs: 5}, ""},
		{"computed too much", wire.RTTask{Jobs: 9, Overruns: 1}, "1 computed more than their wcet"},
		{"at last", wire.RTTask{Jobs: 12, Overruns: 1}, ""},
	} {
		said(t, look.name, k.inTime("loop.main", map[string]wire.RTTask{"loop.main": look.task, "other.main": {Jobs: 9, Misses: 9}}), look.want)
	}
	said(t, "no thread", k.inTime("loop.side", nil), "task loop.side has not run")
}
