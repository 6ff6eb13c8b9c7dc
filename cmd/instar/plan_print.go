package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/instar-os/instar/internal/delta/pack"
	"github.com/instar-os/instar/internal/plan"
)

// rateUnits are bits a second, the longest names first.
var rateUnits = []struct {
	name string
	bits float64
}{
	{"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}, {"MiB", 8 << 20}, {"KiB", 8 << 10}, {"MB", 8e6}, {"kB", 8e3}, {"B", 8},
}

// parseRate reads a rate, "2Mbit" or "250kB", in bits a second.
func parseRate(s string) (int64, error) {
	for _, u := range rateUnits {
		text, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n*u.bits >= 1) || n*u.bits > 1e15 {
			break
		}
		return int64(n * u.bits), nil
	}
	return 0, fmt.Errorf("--rate %s: want a number with a unit, as 250kB or 2Mbit", s)
}

func rateText(bits int64) string {
	for _, u := range rateUnits[:3] {
		if float64(bits) >= u.bits {
			return fmt.Sprintf("%.4g %s/s", float64(bits)/u.bits, u.name)
		}
	}
	return fmt.Sprintf("%d bit/s", bits)
}

func printPlan(w io.Writer, p *plan.Plan) error {
	from := "whatever is there"
	if !p.From.IsZero() {
		from = p.From.Short()
	}
	fmt.Fprintf(w, "%s on %s: %s -> %s\n", p.Machine, p.Arch, from, p.To.Short())
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, x := range p.Packages {
		fmt.Fprintf(tw, "package\t%s\t%s -> %s\n", x.Name, nothing(x.From), nothing(x.To))
	}
	if f := p.Files; f.Added.Files+f.Changed.Files+f.Removed.Files > 0 {
		fmt.Fprintf(tw, "files\t%d new, %d changed, %d gone\t%s new and changed\n", f.Added.Files, f.Changed.Files, f.Removed.Files, bytesText(f.Added.Bytes+f.Changed.Bytes))
	}
	for _, f := range p.Files.List {
		fmt.Fprintf(tw, "file\t%s:%s\t%s, %s\n", f.Container, printable(f.Path), f.Act, bytesText(f.Size))
	}
	for _, c := range p.Containers {
		fmt.Fprintf(tw, "container\t%s/%s\t%s\n", c.Configuration, c.Name, strings.TrimSuffix(string(c.Act)+": "+strings.Join(c.Why, ", "), ": "))
	}
	for _, d := range p.Data {
		fmt.Fprintf(tw, "data\t%s/%s:%s\tversion %d -> %d\n", d.Configuration, d.Container, d.Path, d.From, d.To)
	}
	if len(p.Reboot) > 0 {
		fmt.Fprintf(tw, "reboot\t%s\n", strings.Join(p.Reboot, "; "))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if p.Update != nil {
		if err := printDelta(w, &pack.Report{Size: p.Update.Size, Front: p.Update.Front, Parts: p.Update.Parts}); err != nil {
			return err
		}
		for _, t := range p.Update.Times {
			fmt.Fprintf(tw, "time\t%s\tat %s\n", (time.Duration(t.Seconds*float64(time.Second)) + time.Millisecond - 1).Truncate(time.Millisecond), rateText(t.Rate))
		}
	}
	for _, v := range p.Verdicts {
		is := "ok"
		if !v.OK {
			is = "NO"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", is, v.What, v.Text)
	}
	return tw.Flush()
}

func nothing(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
