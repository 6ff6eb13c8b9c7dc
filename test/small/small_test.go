// Package small makes containers of real packages small by what they use, and
// holds that they still work. INSTAR_SMALL=full takes all of them;
// INSTAR_SMALL_REPORT names a file for the figures.
package small

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// figure is one line of the report, in bytes.
type figure struct {
	What    string  `json:"what"`
	Before  int64   `json:"before"`
	After   int64   `json:"after"`
	Saved   float64 `json:"saved"` // part of Before
	Seconds float64 `json:"seconds,omitempty"`
}

type machine struct {
	t   *testing.T
	dir string
	run string // XDG_RUNTIME_DIR
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func newMachine(t *testing.T, from string) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("fanotify and namespaces need root")
	}
	if _, err := os.Stat(filepath.Join(root(t), "out", "instar")); err != nil {
		t.Fatalf("this runs out/instar; make build makes it: %v", err)
	}
	m := &machine{t, t.TempDir(), t.TempDir()}
	if out, err := exec.Command("cp", "-r", from+"/.", m.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return m
}

// instar runs a command and returns what it prints on its standard output.
func (m *machine) instar(args ...string) []byte {
	m.t.Helper()
	cmd := exec.Command(filepath.Join(root(m.t), "out", "instar"), append([]string{"-q"}, args...)...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+m.run)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		if strings.Contains(errs.String(), "the archive no longer has") {
			m.t.Skip("the pinned versions have left the archive")
		}
		m.t.Fatalf("instar %v: %v\n%s", args, err, errs.String())
	}
	return out
}

func (m *machine) json(v any, args ...string) {
	m.t.Helper()
	if err := json.Unmarshal(m.instar(append([]string{"-o", "json"}, args...)...), v); err != nil {
		m.t.Fatal(err)
	}
}

func report(t *testing.T, f figure) {
	t.Helper()
	f.Saved = 1 - float64(f.After)/float64(f.Before)
	t.Logf("%s: %.1f MiB -> %.1f MiB, %.0f %% fewer bytes", f.What, float64(f.Before)/(1<<20), float64(f.After)/(1<<20), 100*f.Saved)
	name := os.Getenv("INSTAR_SMALL_REPORT")
	if name == "" {
		return
	}
	line, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

// Each service is recorded while its smoke test runs, and passes it again from
// what is left. Least is what must be saved, well below what is.
func TestServices(t *testing.T) {
	for _, s := range []struct {
		name   string
		least  float64
		always bool
	}{{"redis", 0.4, true}, {"nginx", 0.4, true}, {"python3", 0.4, false}, {"postgres", 0.6, false}} {
		t.Run(s.name, func(t *testing.T) {
			if !s.always && os.Getenv("INSTAR_SMALL") != "full" {
				t.Skip("INSTAR_SMALL=full runs it")
			}
			m := newMachine(t, filepath.Join("testdata", s.name))
			m.instar("lock")
			var got []struct{ Before, After int64 }
			begin := time.Now()
			m.json(&got, "record", "--timeout", "3m")
			f := figure{What: s.name, Before: got[0].Before, After: got[0].After, Seconds: time.Since(begin).Seconds()}
			report(t, f)
			if saved := 1 - float64(f.After)/float64(f.Before); saved < s.least {
				t.Errorf("%.0f %% fewer bytes, want %.0f %%", 100*saved, 100*s.least)
			}
		})
	}
}

type sizes struct {
	Store struct{ Objects struct{ Bytes int64 } }
}

var reductions = regexp.MustCompile(`(?m)^ +(prune|recorded):.*\n`)
var without = regexp.MustCompile(`(?m)^ +without:.*\n`)

// The greenhouse, with its packages as Debian has them, without its rules, and
// as it is; its recordings as they stand in the repository, by day and by night.
func TestGreenhouse(t *testing.T) {
	m := newMachine(t, filepath.Join(root(t), "examples", "greenhouse"))
	text, err := os.ReadFile(filepath.Join(m.dir, "instar.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	unpruned := reductions.ReplaceAll(text, nil)
	for name, def := range map[string][]byte{"unpruned.yaml": unpruned, "debian.yaml": without.ReplaceAll(unpruned, nil)} {
		if err := os.WriteFile(filepath.Join(m.dir, name), def, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m.instar("-f", "debian.yaml", "lock")
	if out, err := exec.Command("cp", filepath.Join(m.dir, "instar.lock"), filepath.Join(m.dir, "unpruned.lock")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	bytes := map[string]int64{}
	for _, name := range []string{"debian", "unpruned", "instar"} {
		var s sizes
		m.json(&s, "-f", name+".yaml", "size", "--arch", "amd64")
		bytes[name] = s.Store.Objects.Bytes
	}
	report(t, figure{What: "greenhouse, files of its trees, beside no rules", Before: bytes["unpruned"], After: bytes["instar"]})
	report(t, figure{What: "greenhouse, files of its trees, beside all that Debian's packages depend on", Before: bytes["debian"], After: bytes["instar"]})
	if saved := 1 - float64(bytes["instar"])/float64(bytes["debian"]); saved < 0.4 {
		t.Errorf("%.0f %% fewer bytes, want 40 %%", 100*saved)
	}
	for _, configuration := range []string{"day", "night"} {
		var got []struct{ Container string }
		m.json(&got, "record", "--check", "--configuration", configuration, "--timeout", "3m")
		if len(got) == 0 {
			t.Errorf("%s has no recorded container", configuration)
		}
	}
}
