// Command switch measures the live switch of ten containers, five kept and five
// replaced, beside OCI tools that do the same stops and starts, in turn in one
// run, and writes figures and ratios as JSON.
//
//	switch OUT.json          everything; needs root, out/instar and crun
//	switch peer TOOL BUNDLE  one peer, asked over standard input and output
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// Switches that are measured, after some that are not.
const (
	rounds = 50
	warm   = 5
	slow   = 10 // rounds of a peer that is too slow for all
)

// settle is the time before each switch in which the workers of the last one
// begin to listen to signals: the kernel drops what a namespace's first process
// does not take. idle is longer: an instar machine with nothing to do makes
// spare sandboxes of what a switch would start, 250 ms after the last.
const (
	settle = 50 * time.Millisecond
	idle   = 500 * time.Millisecond
)

// The sides: ours after some time without work, and right after another switch.
const (
	prepared   = "instar"
	unprepared = "instar, at once"
)

// replaced is the number of containers that a switch stops, and starts.
const replaced = 5

// programs are what runs in the containers: a small one, and one that itself
// takes longer to begin than a container.
var programs = []struct {
	name  string
	build []string // and the file to make
	peers []string
}{
	{"static C", []string{"gcc", "-static", "-O2", "-s", "test/bench/switch/testdata/worker.c", "-o"}, []string{crunV1, crunV2, "podman"}},
	{"Go", []string{"go", "build", "-trimpath", "-ldflags=-s -w", "-o"}, []string{crunV1}},
}

const goWorker = "./test/bench/switch/worker"

// crun refuses a machine with both versions of cgroups: it sees one.
const (
	crunV1 = "crun, cgroup v1"
	crunV2 = "crun, cgroup v2"
)

// figures is what is written.
type figures struct {
	Name     string            `json:"name"`
	CPUs     int               `json:"cpus"`
	Load     string            `json:"load"` // of the machine, at the end
	Programs map[string]*table `json:"programs"`
	Notes    []string          `json:"notes"`
}

// table has what one program took. Milliseconds are of a whole switch.
type table struct {
	Milliseconds map[string]map[string]float64 `json:"milliseconds"` // side: lowest, p50, p99, switches
	Ratios       map[string]float64            `json:"ratios"`       // peer over ours: above 1, ours is faster
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "switch:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "peer":
		return servePeer(args[1], args[2], os.Stdin, os.Stdout)
	case len(args) != 1:
		return errors.New("usage: switch OUT.json")
	}
	f, err := measure(ctx)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	if err := os.MkdirAll(filepath.Dir(args[0]), 0o755); err != nil {
		return err
	}
	return os.WriteFile(args[0], append(text, '\n'), 0o644)
}

func measure(ctx context.Context) (*figures, error) {
	f := &figures{Name: "switch", CPUs: runtime.NumCPU(), Programs: map[string]*table{}, Notes: notes}
	for _, p := range programs {
		took, err := measureWith(ctx, p.build, p.peers)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		f.Programs[p.name] = report(took)
	}
	load, err := os.ReadFile("/proc/loadavg")
	f.Load = strings.TrimSpace(string(load))
	return f, err
}

// measureWith measures all sides with one program.
func measureWith(ctx context.Context, command, peers []string) (_ map[string][]time.Duration, err error) {
	work, err := os.MkdirTemp("", "instar-switch-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	command = append(slices.Clip(command), filepath.Join(work, "worker"))
	if command[0] == "go" {
		command = append(command, goWorker)
	}
	build := exec.Command(command[0], command[1:]...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the worker: %w\n%s", err, out)
	}
	ours, stop, err := startMachine(ctx, work)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	sides := []side{{prepared, ours}, {unprepared, ours}}
	for _, name := range peers {
		tool, _, _ := strings.Cut(name, ",")
		if _, err := exec.LookPath(tool); err != nil {
			continue
		}
		p, err := startPeer(name, work)
		if err != nil {
			return nil, err
		}
		defer p.stop()
		sides = append(sides, side{name, p.ask})
	}
	return inTurn(sides)
}

// A side is one that switches.
type side struct {
	name string
	ask  func() (time.Duration, error)
}

// inTurn asks the tools one after the other, so that a drift of the machine's
// speed meets all.
func inTurn(sides []side) (map[string][]time.Duration, error) {
	took := map[string][]time.Duration{}
	for i := range warm + rounds {
		for _, s := range sides {
			if s.name == "podman" && i >= warm+slow {
				continue
			}
			if s.name == prepared {
				time.Sleep(idle)
			} else {
				time.Sleep(settle)
			}
			d, err := s.ask()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			if i >= warm {
				took[s.name] = append(took[s.name], d)
			}
		}
	}
	return took, nil
}

var notes = []string{
	"10 containers, 5 run on and 5 are replaced by 5 others: SIGTERM, wait for the end, remove; then start; from the request to the answer",
	"ours: namespaces, EROFS and overlay root, default seccomp filter, cgroup, logs; over the control socket",
	"instar: after 0.5 s without a switch, in which it has made namespaces, mounts and control groups of the 5 that come, and a process of each that waits; within the time: stops, and the rest of the starts. What is left of the 5 that went is removed 20 ms after their end, beyond the time",
	"instar, at once: 50 ms after another switch: all is made within the time",
	"peers: the tool's default namespaces and mounts from a directory, no seccomp filter (crun), no network, no logs; 5 stops at once, then 5 starts at once; crun with cgroups of one version in sight, for it refuses a machine with both; podman with version 1",
	"static C: a program that waits for SIGTERM; Go: the same, whose runtime needs about 1.5 ms of a processor to begin and 0.5 ms to end, within the time of all sides",
}

func report(took map[string][]time.Duration) *table {
	f := &table{Milliseconds: map[string]map[string]float64{}, Ratios: map[string]float64{}}
	for name, all := range took {
		slices.Sort(all)
		at := func(q int) float64 { return all[(len(all)-1)*q/100].Seconds() * 1000 }
		f.Milliseconds[name] = map[string]float64{"p50": at(50), "p99": at(99), "lowest": at(0), "switches": float64(len(all))}
	}
	for name, of := range f.Milliseconds {
		for _, ours := range []string{prepared, unprepared} {
			if name == prepared || name == unprepared {
				continue
			}
			for q, v := range of {
				if q != "switches" {
					f.Ratios[name+" / "+ours+" "+q] = v / f.Milliseconds[ours][q]
				}
			}
		}
	}
	return f
}

const definition = `machine: bench-switch
sources:
  debian: {archive: debian, suites: [trixie]}
kernel: {from: debian, package: {amd64: linux-image-cloud-amd64, arm64: linux-image-cloud-arm64}}
arch: [` + runtime.GOARCH + `]
trees:
  worker: {from: file, path: worker, to: /worker, mode: "0755"}
containers:
%sconfigurations:
  one: {containers: [%s]}
  two: {containers: [%s]}
  rescue: {fallback: true, containers: [kept0]}
default: one
`

// startMachine runs a machine as containers on this host and returns what
// switches it to and fro.
func startMachine(ctx context.Context, work string) (ask func() (time.Duration, error), stop func() error, err error) {
	var containers, one, two string
	for _, name := range []string{"kept", "one", "two"} {
		for i := range replaced {
			n := fmt.Sprintf("%s%d", name, i)
			containers += fmt.Sprintf("  %s: {trees: [worker], command: [/worker, %s]}\n", n, n)
			if name != "two" {
				one += n + ", "
			}
			if name != "one" {
				two += n + ", "
			}
		}
	}
	text := fmt.Sprintf(definition, containers, one, two)
	if err := os.WriteFile(filepath.Join(work, "instar.yaml"), []byte(text), 0o644); err != nil {
		return nil, nil, err
	}
	instar, err := filepath.Abs("out/instar")
	if err != nil {
		return nil, nil, err
	}
	instarIn := func(args ...string) *exec.Cmd {
		cmd := exec.Command(instar, args...)
		cmd.Dir, cmd.Env = work, append(os.Environ(), "XDG_RUNTIME_DIR="+work)
		return cmd
	}
	if out, err := instarIn("lock").CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("instar lock: %w\n%s", err, out)
	}
	machine := instarIn("run")
	if err := machine.Start(); err != nil {
		return nil, nil, err
	}
	stop = func() error { return errors.Join(machine.Process.Signal(os.Interrupt), machine.Wait()) }
	if out, err := instarIn("status", "--wait", "60s").CombinedOutput(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("instar status: %w\n%s", err, out), stop())
	}
	c, err := wire.Dial(ctx, filepath.Join(work, "instar/bench-switch/control.sock"))
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	to := []string{"two", "one"}
	return func() (time.Duration, error) {
		began := time.Now()
		p, err := c.Switch(ctx, wire.SwitchRequest{Configuration: to[0], Mode: wire.SwitchLive})
		took := time.Since(began)
		to[0], to[1] = to[1], to[0]
		return took, errors.Join(err, checkPlan(p))
	}, stop, nil
}

// checkPlan finds five of each act.
func checkPlan(p wire.SwitchPlan) error {
	n := map[wire.Act]int{}
	for _, c := range p.Changes {
		n[c.Act]++
	}
	if n[wire.ActKept] != replaced || n[wire.ActStopped] != replaced || n[wire.ActStarted] != replaced {
		return fmt.Errorf("the switch was another one: %+v", p)
	}
	return nil
}
