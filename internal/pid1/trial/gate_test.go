package trial

import (
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/reason"
)

func TestGate(t *testing.T) {
	// Each character is a second: . everything holds, x something does not,
	// r everything holds and a container was started again.
	for _, row := range []struct {
		name, seconds string
		want          Passage
		at            int // second of the passage
		code          reason.Code
	}{
		{"at once", ".........", Passed, 5, ""},
		{"late but in time", "xxxxxxxxxxxxxx......", Passed, 19, ""},
		{"a moment too late", "xxxxxxxxxxxxxxxx.....", Late, 20, reason.HealthLost},
		{"never", "xxxxxxxxxxxxxxxxxxxxx", Late, 20, reason.HealthTimeout},
		{"flaps", "....x....x....x....x....x", Late, 20, reason.HealthLost},
		{"one break", "....x......", Passed, 10, ""},
		{"falls unseen", "....r....r....r....r....r", Late, 20, reason.CrashLoop},
		{"fell twice", "..r..r......", Passed, 10, ""},
		{"waits", "xxx...", Waiting, 5, ""},
	} {
		g := Gate{After: 5 * time.Second, Within: 20 * time.Second}
		got, at, restarts := Waiting, 0, 0
		for i, c := range row.seconds {
			var missing []string
			switch c {
			case 'x':
				missing = []string{"broker is starting"}
			case 'r':
				restarts++
			}
			if got, at = g.Observe(time.Duration(i)*time.Second, missing, restarts), i; got != Waiting {
				break
			}
		}
		if got != row.want || at != row.at {
			t.Errorf("%s: %s at %d s, want %s at %d s", row.name, got, at, row.want, row.at)
		}
		if got == Late {
			if code, detail := g.Verdict(); code != row.code || detail == "" || !code.Known() {
				t.Errorf("%s: verdict %s (%s), want %s", row.name, code, detail, row.code)
			}
		}
	}
	g := Gate{After: time.Second, Within: time.Minute}
	g.Observe(time.Minute, []string{"broker is starting", "lan is down"}, 0)
	if _, detail := g.Verdict(); !strings.Contains(detail, "broker is starting; lan is down") || len(g.Missing()) != 2 || g.Held(time.Hour) != 0 {
		t.Errorf("detail %q", detail)
	}
}
