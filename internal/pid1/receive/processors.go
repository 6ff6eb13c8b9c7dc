package receive

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/update"
)

// noProcessors finds configurations whose tasks were proven on processors that
// this machine has not: there nothing is proven, and the tasks are not where they
// were declared. sysfs is the root of it.
func noProcessors(sysfs fs.FS, m *system.Manifest) []update.Problem {
	var all []update.Problem
	for i := range m.Configurations {
		c := &m.Configurations[i]
		want := processors(c)
		if len(want) == 0 {
			continue
		}
		// Linux, Documentation/admin-guide/cputopology.rst: what the system has,
		// whether it is switched on or not.
		text, err := fs.ReadFile(sysfs, "devices/system/cpu/present")
		if err != nil {
			return append(all, update.Problem{Code: update.NoProcessor, Text: fmt.Sprintf("the processors of this machine cannot be known: %v", err)})
		}
		for _, cpu := range want {
			if !listed(string(text), cpu) {
				all = append(all, update.Problem{Code: update.NoProcessor, Text: fmt.Sprintf(
					"the tasks of configuration %s were proven with CPU %d, and this machine has CPUs %s", c.Name, cpu, strings.TrimSpace(string(text)))})
			}
		}
	}
	return all
}

// processors are those that a configuration with tasks names, in order.
func processors(c *system.Configuration) []int {
	if c.RealTime == nil {
		return nil
	}
	all := slices.Clone(c.RealTime.House)
	for _, p := range c.RealTime.Partitions {
		all = append(all, p.CPUs...)
	}
	for _, irq := range c.RealTime.IRQs {
		all = append(all, irq.CPUs...)
	}
	for _, ct := range c.Containers {
		for _, t := range ct.Tasks {
			all = append(all, t.CPU)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// listed reports whether a number is in a list as the kernel writes it, "0-3,6".
// What cannot be read is in none.
func listed(list string, n int) bool {
	for _, part := range strings.Split(strings.TrimSpace(list), ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		from, err1 := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err1 == nil && err2 == nil && from <= n && n <= to {
			return true
		}
	}
	return false
}
