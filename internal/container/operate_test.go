package container

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/system"
)

// TestOperate looks into a running container and stirs it.
func TestOperate(t *testing.T) {
	w := newWorld(t)
	c := w.container(t, func(c *system.Container) {
		c.Env = []string{"PATH=/nowhere:/bin", "A=1", "B=2"}
		c.Limits.OOMScore = 250
		c.Sysctls = map[string]string{"kernel.msgmax": "4711", "net.ipv4.ip_default_ttl": "33"}
	})
	s := w.sandbox(t, c)
	if _, err := s.Find("/bin/probe"); err == nil {
		t.Error("something is found in a container that does not run")
	}
	const program = "/bin/probe"
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Start([]string{program, "sleep"}, nil, wr, nil)
	wr.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		s.Kill()
		p.Wait()
		r.Close()
	}()

	if found, err := s.Find("/missing", program); err != nil || found != program {
		t.Errorf("found %q, %v", found, err)
	}
	if _, err := s.Find("missing"); err == nil {
		t.Error("a program is found that is not there")
	}

	master, peer, err := s.Terminal(0, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := Resize(master, 24, 80); err != nil {
		t.Error(err)
	}
	x, err := s.ExecEnv([]string{"B=3"}, []string{program, "report", "/proc/sys/kernel/msgmax", "/proc/sys/net/ipv4/ip_default_ttl"}, peer, peer, nil)
	peer.Close()
	if err != nil {
		t.Fatal(err)
	}
	master.SetReadDeadline(time.Now().Add(10 * time.Second))
	text, _ := io.ReadAll(master) // ends with EIO
	if e, err := x.Wait(); err != nil || e != (Exit{}) {
		t.Errorf("%v, %v: %s", e, err, text)
	}
	var seen struct {
		Env   []string
		OOM   string
		Files map[string]string
	}
	if err := json.Unmarshal(bytes.TrimSpace(text), &seen); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if !slices.Equal(seen.Env, []string{"PATH=/nowhere:/bin", "A=1", "B=3"}) {
		t.Errorf("environment %q", seen.Env)
	}
	if seen.OOM != "250" && seen.OOM != "250\n" {
		t.Errorf("OOM score %q", seen.OOM)
	}
	if got := seen.Files["/proc/sys/kernel/msgmax"] + seen.Files["/proc/sys/net/ipv4/ip_default_ttl"]; got != "4711\n33\n" {
		t.Errorf("kernel parameters %q", got)
	}

	pids, err := s.Processes()
	if s.cgroup == nil { // test/e2e pauses one that has it
		if err == nil || s.Freeze(true) == nil {
			t.Error("a sandbox without a cgroup is listed or frozen")
		}
		return
	}
	if err != nil || !slices.Equal(pids, []int{p.PID()}) {
		t.Errorf("processes %v, %v", pids, err)
	}
	for _, frozen := range []bool{true, false} {
		if err := s.Freeze(frozen); err != nil {
			t.Fatal(err)
		}
		if got := s.cgroup.field("cgroup.events", "frozen") == 1; got != frozen {
			t.Errorf("frozen %v, want %v", got, frozen)
		}
	}
}
