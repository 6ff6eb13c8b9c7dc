// Command links measures the ports of links beside sockets, pipes and wake-ups
// of the kernel, in one run and one table.
//
//	links OUT.json
//
// It starts itself again for the other ends, which are processes of their own.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is one way to get a message across. Times are nanoseconds and contain
// the reading of the clock, about 50 ns.
type Row struct {
	What  string `json:"what"`
	Bytes int    `json:"bytes"`
	P50   int64  `json:"p50"`
	P99   int64  `json:"p99"`
	Count int    `json:"count"`
}

// Torn is what reading as fast as possible beside a writer that never rests
// has found.
type Torn struct {
	Reads   int     `json:"reads"`
	Torn    int     `json:"torn"`
	New     int     `json:"new"` // reads of a value that the read before had not seen
	Seconds float64 `json:"seconds"`
}

// Figures is what the benchmark writes.
type Figures struct {
	Name     string             `json:"name"`
	CPUs     int                `json:"cpus"`
	Near     []Row              `json:"writeAndRead"` // by one thread: nobody is woken
	Far      []Row              `json:"thereAndBack"` // to another process, which answers
	Torn     Torn               `json:"torn"`
	Ratios   map[string]float64 `json:"ratios"` // p50 of a peer over that of a sampling port of 64 bytes
	MeetsP99 bool               `json:"samplingUnder1usAtP99"`
	Notes    []string           `json:"notes"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "links:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) == 3 && os.Args[1] == "other-end" {
		return otherEnd(os.Args[2])
	}
	if len(os.Args) != 2 {
		return errors.New("usage: links OUT.json")
	}
	f := Figures{Name: "links", CPUs: runtime.NumCPU(), Ratios: map[string]float64{}, Notes: []string{
		"writeAndRead: one thread writes a message and reads it back, system calls without the Go scheduler; nobody is woken",
		"thereAndBack: a message to another process and its answer; with wake-ups both ends sleep in between, polling needs two processors",
		"torn: another process writes 64-byte values of which every word follows from the sequence, this one reads and checks",
	}}
	var err error
	if f.Near, err = near(); err != nil {
		return err
	}
	if f.Far, err = far(); err != nil {
		return err
	}
	if f.Torn, err = torn(10_000_000); err != nil {
		return err
	}
	f.judge()
	if err := table(os.Stdout, f); err != nil {
		return err
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(os.Args[1]), 0o755); err != nil {
		return err
	}
	return os.WriteFile(os.Args[1], append(text, '\n'), 0o644)
}

func (f *Figures) judge() {
	var ours Row
	for _, r := range f.Near {
		if r.Bytes == 64 && strings.HasPrefix(r.What, "sampling") {
			ours = r
		}
	}
	for _, r := range f.Near {
		if r.Bytes == 64 && r != ours {
			f.Ratios[r.What] = float64(r.P50) / float64(ours.P50)
		}
	}
	f.MeetsP99 = ours.P99 < 1000
}

func table(w io.Writer, f Figures) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, part := range []struct {
		title string
		rows  []Row
	}{{"write and read, nobody woken", f.Near}, {"there and back, two processes", f.Far}} {
		fmt.Fprintf(tw, "%s\tbytes\tp50 ns\tp99 ns\t\n", part.title)
		for _, r := range part.rows {
			fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t\n", r.What, r.Bytes, r.P50, r.P99)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d checksummed reads, %d of new values, in %.1f s: %d torn\n", f.Torn.Reads, f.Torn.New, f.Torn.Seconds, f.Torn.Torn)
	return err
}

// measure times n calls after as many for warming up as a tenth of n.
func measure(what string, bytes, n int, do func() error) (Row, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range n / 10 {
		if err := do(); err != nil {
			return Row{}, fmt.Errorf("%s: %w", what, err)
		}
	}
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		err := do()
		took[i] = time.Since(began)
		if err != nil {
			return Row{}, fmt.Errorf("%s: %w", what, err)
		}
	}
	slices.Sort(took)
	return Row{what, bytes, took[n/2].Nanoseconds(), took[n*99/100].Nanoseconds(), n}, nil
}
