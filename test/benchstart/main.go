// Command benchstart measures from start to exit of a static program that does
// nothing, beside crun and runc, and writes figures and ratios as JSON. It runs
// in a mount namespace whose only cgroup view is version 2.
//
//	benchstart INSTAR-OCI OUT.json [ROUNDS]
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A side is one way to run the program from start to exit.
type side struct {
	Name string `json:"name"`
	What string `json:"what"` // what it did within the time
	Row

	once func() (timed, before time.Duration, err error)
	all  []float64
	prep []float64
}

// Row holds figures in milliseconds.
type Row struct {
	Median  float64 `json:"median"`
	Lowest  float64 `json:"lowest"`
	P90     float64 `json:"p90"`
	Prepare float64 `json:"prepare,omitempty"` // median of what was done before the time began
}

// figures is what is written.
type figures struct {
	Name   string             `json:"name"`
	CPUs   int                `json:"cpus"`
	Kernel string             `json:"kernel"`
	Load   string             `json:"load"` // of the machine, at the end
	Rounds int                `json:"rounds"`
	Unit   string             `json:"unit"`
	View   string             `json:"view"` // of cgroups: "v1" or "v2"
	Sides  []*side            `json:"sides"`
	Ratios map[string]float64 `json:"ratios"` // peer over ours
	Notes  []string           `json:"notes"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "benchstart:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 3 {
		return errors.New("usage: benchstart INSTAR-OCI OUT.json [ROUNDS [v1]]")
	}
	rounds, view := 200, "v2"
	if len(os.Args) > 4 {
		view = os.Args[4]
	}
	if len(os.Args) > 3 {
		var err error
		if rounds, err = strconv.Atoi(os.Args[3]); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "benchstart")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w, err := newWorld(dir, view)
	if err != nil {
		return err
	}
	defer w.close()
	sides, notes, err := w.sides(os.Args[1])
	if err != nil {
		return err
	}
	if err := measure(sides, rounds); err != nil {
		return err
	}
	return write(os.Args[2], view, rounds, sides, notes)
}

// measure runs the sides in turns, each round beginning with another one. The
// first rounds do not count.
func measure(sides []*side, rounds int) error {
	const warm = 5
	for r := range rounds + warm {
		for i := range sides {
			s := sides[(i+r)%len(sides)]
			timed, before, err := s.once()
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			if r >= warm {
				s.all = append(s.all, timed.Seconds()*1000)
				s.prep = append(s.prep, before.Seconds()*1000)
			}
		}
	}
	for _, s := range sides {
		slices.Sort(s.all)
		slices.Sort(s.prep)
		n := len(s.all)
		s.Row = Row{Median: round(s.all[n/2]), Lowest: round(s.all[0]), P90: round(s.all[n*9/10]), Prepare: round(s.prep[n/2])}
	}
	return nil
}

func tenth(x float64) float64 { return float64(int(x*10+0.5)) / 10 }

func round(ms float64) float64 { return float64(int(ms*1000+0.5)) / 1000 }

func write(file, view string, rounds int, sides []*side, notes []string) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	f := figures{Name: "start to exit of a static program", CPUs: runtime.NumCPU(), Kernel: unix.ByteSliceToString(u.Release[:]),
		Load: string(load[:len(load)-1]), Rounds: rounds, Unit: "milliseconds", View: view, Sides: sides, Ratios: map[string]float64{}, Notes: notes}
	for _, peer := range sides {
		if peer.Name != "crun" && peer.Name != "runc" {
			continue
		}
		for _, s := range sides {
			if s.Name != "crun" && s.Name != "runc" {
				f.Ratios[peer.Name+" / "+s.Name+", median"] = tenth(peer.Median / s.Median)
				f.Ratios[peer.Name+" / "+s.Name+", lowest"] = tenth(peer.Lowest / s.Lowest)
			}
		}
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	fmt.Printf("cgroups %s\n", view)
	for _, s := range sides {
		fmt.Printf("%-34s median %7.3f ms   lowest %7.3f   p90 %7.3f   prepared in %.3f\n", s.Name, s.Median, s.Lowest, s.P90, s.Prepare)
	}
	for _, k := range slices.Sorted(maps.Keys(f.Ratios)) {
		fmt.Printf("%-40s %.1f\n", k, f.Ratios[k])
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// installed says whether a program is to be found.
func installed(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}
