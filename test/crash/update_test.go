package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/delta/remote"
	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/vm"
	"github.com/instar-os/instar/internal/wire"
)

// pair is a machine's disk with one system, and an update to another.
type pair struct {
	raw, update string
	old, new    string // short digests
}

// makePair builds the smallest machine twice, with a key of its own. What the
// second one changes of its container is YAML, and so is what both have for
// boot.confirm.
func makePair(t *testing.T, confirm, change string) pair {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("cp", "-r", filepath.Join(root, "examples/minimal")+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	instar := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(root, "out/instar"), append([]string{"-q", "--store", filepath.Join(dir, "store")}, args...)...)
		var errs strings.Builder
		cmd.Stderr = &errs
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("instar %s: %v\n%s%s", strings.Join(args, " "), err, out, &errs)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	public := instar("key", "new", "test.key")
	common := fmt.Sprintf("boot: {confirm: %s}\nupdate: {keys: [%q]}\n", confirm, public)
	write("old.yaml", common)
	write("new.yaml", common+"containers: {hello: "+change+"}\n")
	const definition = "instar.yaml"
	built := func(patch string) string {
		var list []struct{ System string }
		out := instar("-f", definition, "--patch", patch, "-o", "json", "build", "--arch", "amd64")
		if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		return list[0].System
	}
	p := pair{raw: filepath.Join(dir, "disk.raw"), update: filepath.Join(dir, "update.instar"), old: built("old.yaml"), new: built("new.yaml")}
	instar("-f", definition, "--patch", "old.yaml", "image", "--arch", "amd64", "-t", "raw", "--to", p.raw)
	instar("delta", "make", p.old, p.new, "--key", "test.key", "--to", p.update)
	p.old, p.new = p.old[:12], p.new[:12]
	return p
}

// settled waits until a machine runs a system that is confirmed.
func settled(ctx context.Context, v *vm.VM, system string) error {
	for {
		ask, cancel := context.WithTimeout(ctx, 15*time.Second)
		st, err := v.Control().Status(ask)
		cancel()
		if err == nil && st.Healthy && strings.HasPrefix(st.System, system) && st.Trial != nil && st.Trial.Standing == wire.Settled {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("system %s is not confirmed: %w\nlast: %+v %+v %v\n%s", system, context.Cause(ctx), st, st.Trial, err, v.Console().Tail(40))
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// marks are how many operations had been done when something was acknowledged.
type marks struct{ staged, confirmed int }

// TestUpdate records a machine that receives an update, tries it and confirms
// it, and cuts its power at every write of that.
func TestUpdate(t *testing.T) {
	o := options(t)
	p := makePair(t, "{after: 1s, within: 4m}", `{env: {EDITION: "2"}}`)
	base, err := open(p.raw, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	l, err := base.log()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var m marks
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
	defer cancel()
	if err := Boot(ctx, o, l, func(ctx context.Context, v *vm.VM) error {
		if err := settled(ctx, v, p.old); err != nil {
			return err
		}
		if err := send(ctx, v, p.update); err != nil {
			return err
		}
		m.staged = l.Len()
		if err := v.Control().Reboot(ctx); err != nil {
			return err
		}
		if err := settled(ctx, v, p.new); err != nil {
			return err
		}
		m.confirmed = l.Len()
		return v.PowerOff(ctx)
	}); err != nil {
		t.Fatal(err)
	}
	began, err := NewEye().At(l.Prefix(0))
	if err != nil {
		t.Fatal(err)
	}
	ended, err := NewEye().At(l.Now())
	if err != nil {
		t.Fatal(err)
	}
	j := &judge{pair: p, marks: m, kernels: map[string]string{}}
	for _, look := range []*Look{began, ended} {
		if err := j.learn(look); err != nil {
			t.Fatal(err)
		}
	}
	if len(j.kernels) != 2 {
		t.Fatalf("the disk began with %+v and ended with %+v", began, ended)
	}
	states, boots := 1000, 0
	if full {
		states, boots = 12000, 40
	}
	r, err := Replay(l, 0, l.Len(), states, j.judge)
	if err != nil {
		t.Fatal(err)
	}
	rep := counted("update", l)
	rep.States, rep.Distinct, rep.Outcomes, rep.Wrong = r.States, len(r.Seen), r.Outcomes, r.Wrong
	for _, bad := range r.Bad {
		t.Error(bad)
	}
	for _, outcome := range []string{"old", "trial", "new"} {
		if r.Outcomes[outcome] == 0 {
			t.Errorf("no state leads to %s: %v", outcome, r.Outcomes)
		}
	}
	if full {
		rep.Mutants = mutants(t, l, j)
	}
	for _, s := range choose(r, boots) {
		where := ""
		err := again(t, o, s.State(l), func(ctx context.Context, v *vm.VM) (err error) {
			where, err = arrives(ctx, v, p)
			return err
		})
		if err != nil {
			t.Errorf("after %+v, which leaves %+v: %v", s.Cut, s.look, err)
			where = "dead"
		}
		if where == "old" && s.Ops >= m.confirmed {
			t.Errorf("after %+v the old system runs, though the new one was confirmed", s.Cut)
		}
		rep.Boots[where]++
	}
	rep.write(t)
}

// TestBadUpdate sends a system whose container never becomes healthy. The
// machine tries it, goes back by itself, keeps the reason, and does not take it
// again.
func TestBadUpdate(t *testing.T) {
	o := options(t)
	p := makePair(t, "{after: 1s, within: 60s}", `{health: {http: "http://127.0.0.1:9/", within: 5s}}`)
	base, err := open(p.raw, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	l, err := base.log()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*bootLimit)
	defer cancel()
	if err := Boot(ctx, o, l, func(ctx context.Context, v *vm.VM) error {
		if err := settled(ctx, v, p.old); err != nil {
			return err
		}
		if err := send(ctx, v, p.update); err != nil {
			return err
		}
		if err := v.Control().Reboot(ctx); err != nil {
			return err
		}
		if err := judged(ctx, v, p.new); err != nil {
			return err
		}
		if err := settled(ctx, v, p.old); err != nil {
			return err
		}
		err := send(ctx, v, p.update)
		if !errors.Is(err, wire.ErrRefused) || !strings.Contains(err.Error(), string(reason.HealthTimeout)) {
			return fmt.Errorf("sent once more, the machine says %v", err)
		}
		t.Log(err)
		return v.PowerOff(ctx)
	}); err != nil {
		t.Fatal(err)
	}
}

func send(ctx context.Context, v *vm.VM, file string) error {
	u, err := remote.File(file)
	if err != nil {
		return err
	}
	defer u.Close()
	_, err = v.Control().Send(ctx, wire.UpdateRequest{}, wire.Outgoing{Front: u.Front(), Body: u.Body}, nil)
	return err
}

// judged waits until a machine has found a system bad.
func judged(ctx context.Context, v *vm.VM, system string) error {
	for {
		ask, cancel := context.WithTimeout(ctx, 15*time.Second)
		var list wire.Verdicts
		err := v.Call(ask, wire.MethodVerdicts, nil, &list)
		cancel()
		for _, verdict := range list.Verdicts {
			if strings.HasPrefix(verdict.System, system) && !verdict.Good && verdict.Configuration == "" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("system %s is not judged: %w\nlast: %+v %v\n%s", system, context.Cause(ctx), list, err, v.Console().Tail(40))
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// arrives says which system a machine settles in.
func arrives(ctx context.Context, v *vm.VM, p pair) (string, error) {
	for {
		ask, cancel := context.WithTimeout(ctx, 15*time.Second)
		st, err := v.Control().Status(ask)
		cancel()
		if err == nil && st.Healthy && st.Trial != nil && st.Trial.Standing == wire.Settled {
			switch {
			case strings.HasPrefix(st.System, p.old):
				return "old", nil
			case strings.HasPrefix(st.System, p.new):
				return "new", nil
			}
			return "", fmt.Errorf("system %s runs", st.System)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("nothing settles: %w\n%s", context.Cause(ctx), v.Console().Tail(40))
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// judge says what a look leads to.
type judge struct {
	pair
	marks
	kernels map[string]string // identity of a system's unified kernel image
}

// learn takes the unified kernel images of a disk whose loader has a default
// without a counter for the right ones.
func (j *judge) learn(l *Look) error {
	for p, id := range l.Loader {
		if e, ok := slot.ParseEntry(path.Base(p)); ok && !e.Counted {
			if old, ok := j.kernels[e.System]; ok && old != id {
				return fmt.Errorf("two images of system %s", e.System)
			}
			j.kernels[e.System] = id
		}
	}
	return nil
}

// way is one of the systems that a loader can take.
type way struct {
	slot.Entry
	key   string // sorts the loader's list
	image string // in the slot
}

// ways returns what the loader can take, in its order: what matches its default,
// else the entries by their keys, those without tries left not at all.
func ways(l *Look) ([]way, error) {
	var all []way
	add := func(name, key, image string) error {
		e, ok := slot.ParseEntry(name)
		if !ok {
			return fmt.Errorf("%s in the slot is no entry of ours", name)
		}
		if !e.Counted || e.Tries > 0 {
			all = append(all, way{e, key, image})
		}
		return nil
	}
	pattern, _, _ := strings.Cut(l.Default, "@")
	for p := range l.Loader {
		if path.Dir(p) != "EFI/Linux" {
			continue
		}
		key := "1"
		if path.Base(p) == pattern {
			key = "0"
		}
		if err := add(path.Base(p), key, p); err != nil {
			return nil, err
		}
	}
	for name, e := range l.Entries {
		if err := add(strings.TrimSuffix(name, ".conf")+".efi", e.Key, e.Image); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b way) int { return strings.Compare(a.key, b.key) })
	return all, nil
}

// judge follows the loader.
func (j *judge) judge(c Cut, l *Look) (string, error) {
	all, err := ways(l)
	if err != nil {
		return "", err
	}
	if len(all) == 0 || len(all) > 1 && all[0].key == all[1].key {
		return "", fmt.Errorf("the loader does not know what to take: %+v", all)
	}
	for _, w := range all {
		if id := l.Loader[w.image]; id == "" || j.kernels[w.System] != id {
			return "", fmt.Errorf("%s in the slot is not what it should be", w.image)
		}
		if l.Systems[w.System] != "whole" {
			return "", fmt.Errorf("%s can be booted, but its system: %s", w.image, l.Systems[w.System])
		}
	}
	first := all[0]
	switch {
	case first.Counted && (len(all) < 2 || all[1].Counted):
		return "", errors.New("a trial without a way back")
	case c.Ops >= j.confirmed && first.System != j.new:
		return "", errors.New("the new system was confirmed, and the old one boots")
	case c.Ops >= j.staged && first.System == j.old && !strings.Contains(l.Record, "trial of "+j.new) && !strings.Contains(l.Record, "current "+j.new):
		return "", errors.New("the update was acknowledged, and nothing is left of it")
	case strings.HasPrefix(l.Record, "damaged") || strings.HasPrefix(l.Record, "error"):
		return "", errors.New(l.Record)
	case first.Counted:
		return "trial", nil
	case first.System == j.old:
		return "old", nil
	}
	return "new", nil
}
