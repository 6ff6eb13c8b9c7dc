package boot

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// face answers commands of checks.
type face struct {
	wire.Control
	code int
	err  error
}

func (f face) Exec(ctx context.Context, _ wire.ExecRequest, _ wire.Terminal) (wire.ExecResult, error) {
	if f.err == nil {
		return wire.ExecResult{Code: f.code}, nil
	}
	<-ctx.Done()
	return wire.ExecResult{}, f.err
}

// Each kind of check holds, and fails with a sentence that says what it is.
func TestChecks(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	exec := system.Check{Container: "c", Exec: []string{"/bin/check"}, Timeout: int64(time.Second)}
	lan := system.Check{Interface: "lan"}
	for _, row := range []struct {
		name  string
		check system.Check
		face  face
		want  string // of the error; "" for none
	}{
		{"a command", exec, face{}, ""},
		{"a command that fails", exec, face{code: 3}, "/bin/check in container c: exit code 3"},
		{"a command that hangs", exec, face{err: errors.New("stopped")}, "/bin/check in container c: stopped"},
		{"an address", system.Check{Reach: l.Addr().String(), Timeout: int64(time.Minute)}, face{}, ""},
		{"an address that nobody has", system.Check{Reach: gone.Addr().String(), Timeout: int64(time.Minute)}, face{}, gone.Addr().String() + " cannot be reached"},
		{"an interface", lan, face{}, ""},
		{"an interface that is down", system.Check{Interface: "wan"}, face{}, "interface wan is not up"},
		{"an interface that is not there", system.Check{Interface: "x"}, face{}, "interface x is not up"},
		{"a link that is not there", system.Check{Link: "x"}, face{}, "there is no link x"},
		{"a task that nobody measures", system.Check{Task: "a.b"}, face{}, "task a.b is not measured: the moon is full"},
	} {
		d := &device{machine: &machine{face: row.face, unmeasured: "the moon is full"}}
		st := wire.Status{Interfaces: []wire.InterfaceStatus{{Name: "lan", State: "up"}, {Name: "wan", State: "down"}}}
		said(t, row.name, d.check(t.Context(), row.check, st), row.want)
	}
	links := []wire.LinkStatus{{Name: "old", Written: 7, Age: 3 * time.Second}, {Name: "never"}, {Name: "new", Written: 1, Age: time.Second}}
	for link, want := range map[string]string{"new": "", "old": "link old was last written 3s ago", "never": "link never was never written"} {
		said(t, link, fresh(links, system.Check{Link: link, Fresh: int64(2 * time.Second)}), want)
	}
}

func said(t *testing.T, name string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", name, err, want)
	}
}
