package lock

import (
	"fmt"
	"strings"
)

// String prints the changes for people, one a line, and the bytes to download.
func (c Changes) String() string {
	if c.Empty() {
		return "nothing changed\n"
	}
	var b strings.Builder
	for _, s := range c.Suites {
		fmt.Fprintf(&b, "suite %s/%s: %s\n", s.Source, s.Suite, moved(s.Old, s.New))
	}
	for _, a := range c.Arches {
		a.print(&b)
	}
	for _, f := range c.Files {
		name := f.Tree
		if f.Arch != "" {
			name += " (" + f.Arch + ")"
		}
		fmt.Fprintf(&b, "file of tree %s: %s%s\n", name, f.What, sized(f.Size))
	}
	for _, i := range c.Images {
		fmt.Fprintln(&b, i)
	}
	for _, x := range c.Closures {
		x.print(&b)
	}
	for _, n := range c.Numbers {
		fmt.Fprintf(&b, "%s %s: %s\n", n.Kind, n.Name, moved(numbered(n.Old), numbered(n.New)))
	}
	fmt.Fprintf(&b, "to download: %s\n", bytesOf(c.Download))
	return b.String()
}

func (a ArchChange) print(b *strings.Builder) {
	fmt.Fprintf(b, "%s: %d added, %d removed, %d changed, %s to download\n", a.Arch, len(a.Added), len(a.Removed), len(a.Changed), bytesOf(a.Download))
	for _, p := range a.Added {
		fmt.Fprintf(b, "  + %s %s%s\n", p.Name, p.Version, sized(p.Size))
	}
	for _, p := range a.Removed {
		fmt.Fprintf(b, "  - %s %s\n", p.Name, p.Version)
	}
	for _, p := range a.Changed {
		if p.Old.Version == p.New.Version {
			fmt.Fprintf(b, "  ~ %s %s with other content%s\n", p.New.Name, p.New.Version, sized(p.New.Size))
			continue
		}
		fmt.Fprintf(b, "  ~ %s %s -> %s%s\n", p.New.Name, p.Old.Version, p.New.Version, sized(p.New.Size))
	}
	for _, s := range a.Scripts {
		fmt.Fprintf(b, "  ! %s of %s: %s\n", s.Script, s.Package, s.What)
	}
}

func moved(old, new string) string {
	switch {
	case old == "":
		return "new, " + new
	case new == "":
		return "gone, was " + old
	case old == new:
		return new + ", signed again"
	}
	return old + " -> " + new
}

func numbered(n int64) string {
	if n < 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func sized(n int64) string {
	if n == 0 {
		return ""
	}
	return ", " + bytesOf(n)
}

// bytesOf writes a number of bytes with a binary unit.
func bytesOf(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
