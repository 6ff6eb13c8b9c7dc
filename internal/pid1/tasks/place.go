package tasks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// Place makes the partitions of a configuration, as cgroups beside the one of
// all containers (root/instar-rt-1), and serves interrupts where they were
// declared. What the kernel will not have is an error, joined; the rest is done
// all the same. It may be repeated.
//
// Source: Documentation/admin-guide/cgroup-v2.rst, "Cpuset".
func Place(root, cgroup string, rt *system.RealTime) error {
	if rt == nil {
		return nil
	}
	var errs []error
	for _, p := range rt.Partitions {
		if err := partition(root, cgroup+"-"+p.Name, p.CPUs); err != nil {
			errs = append(errs, fmt.Errorf("CPUs %s are no partition of their own: %w", List(p.CPUs), err))
		}
	}
	return errors.Join(append(errs, interrupts("/", rt))...)
}

func partition(root, dir string, cpus []int) error {
	if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpuset"), 0); err != nil {
		return fmt.Errorf("the kernel has no cpuset controller: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, f := range [][2]string{{"cpuset.cpus", List(cpus)}, {"cpuset.cpus.partition", "root"}} {
		if err := os.WriteFile(filepath.Join(dir, f[0]), []byte(f[1]), 0); err != nil {
			return fmt.Errorf("setting %s to %s: %w", f[0], f[1], err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "cpuset.cpus.partition"))
	if err != nil {
		return err
	}
	if is := strings.TrimSpace(string(b)); is != "root" {
		return fmt.Errorf("declared: CPUs %s; the kernel: %s, with CPUs %s online", List(cpus), is, line("/sys/devices/system/cpu/online"))
	}
	for _, name := range []string{"cpu", "io", "memory", "pids"} {
		os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0) // what is lacking a container warns of
	}
	return nil
}

// List writes processors as the kernel reads them.
func List(cpus []int) string {
	var parts []string
	for _, c := range cpus {
		parts = append(parts, strconv.Itoa(c))
	}
	return strings.Join(parts, ",")
}

// interrupts serves each interrupt where it was declared, the others by House.
// Those of one processor, as timers, cannot be moved and are left alone.
func interrupts(root string, rt *system.RealTime) error {
	if len(rt.IRQs) == 0 && len(rt.House) == 0 {
		return nil
	}
	found, err := filepath.Glob(filepath.Join(root, "sys/kernel/irq/*/actions"))
	if err != nil {
		return err
	}
	var errs []error
	threads := map[string]int{} // priorities by number
	for _, file := range found {
		b, err := os.ReadFile(file)
		actions := strings.TrimSpace(string(b))
		if err != nil || actions == "" {
			continue
		}
		number := filepath.Base(filepath.Dir(file))
		cpus, declared := rt.House, match(rt.IRQs, actions)
		if declared != nil {
			cpus = declared.CPUs
			if declared.Priority > 0 {
				threads[number] = declared.Priority
			}
		}
		if len(cpus) == 0 {
			continue
		}
		err = os.WriteFile(filepath.Join(root, "proc/irq", number, "smp_affinity_list"), []byte(List(cpus)), 0)
		if err != nil && declared != nil {
			errs = append(errs, fmt.Errorf("interrupt %s (%s): declared: CPUs %s; the kernel: %w, with CPUs %s", number, actions, List(cpus), err,
				line(filepath.Join(root, "proc/irq", number, "effective_affinity_list"))))
		}
	}
	return errors.Join(append(errs, irqThreads(root, threads))...)
}

// match returns what was declared of an interrupt with some actions.
func match(irqs []system.IRQ, actions string) *system.IRQ {
	for i := range irqs {
		for action := range strings.SplitSeq(actions, ",") {
			if ok, _ := path.Match(irqs[i].Name, action); ok { // the pattern was checked
				return &irqs[i]
			}
		}
	}
	return nil
}

// Interrupts returns what the kernel has of the declared interrupts, root being
// where /proc and /sys are.
func Interrupts(root string, rt *system.RealTime) []wire.RTInterrupt {
	if len(rt.IRQs) == 0 {
		return nil
	}
	found, _ := filepath.Glob(filepath.Join(root, "sys/kernel/irq/*/actions"))
	serving := servers(root)
	var out []wire.RTInterrupt
	for _, file := range found {
		actions, number := line(file), filepath.Base(filepath.Dir(file))
		n, err := strconv.Atoi(number)
		if err != nil || actions == "" || match(rt.IRQs, actions) == nil {
			continue
		}
		one := wire.RTInterrupt{Number: n, Actions: actions, CPUs: line(filepath.Join(root, "proc/irq", number, "effective_affinity_list"))}
		if tids := serving[number]; len(tids) > 0 {
			one.Thread = tids[0]
			if a, err := unix.SchedGetAttr(one.Thread, 0); err == nil {
				one.Priority = int(a.Priority)
			}
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b wire.RTInterrupt) int { return a.Number - b.Number })
	return out
}

// servers returns the kernel's threads of interrupts, those named irq/NUMBER-…,
// by the number.
func servers(root string) map[string][]int {
	out := map[string][]int{}
	names, _ := filepath.Glob(filepath.Join(root, "proc/[0-9]*/comm"))
	for _, file := range names {
		b, err := os.ReadFile(file)
		rest, ok := strings.CutPrefix(string(b), "irq/")
		if err != nil || !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, "-")
		if tid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			out[number] = append(out[number], tid)
		}
	}
	return out
}

// irqThreads gives the kernel's threads of interrupts their priorities.
func irqThreads(root string, priorities map[string]int) error {
	if len(priorities) == 0 {
		return nil
	}
	var errs []error
	for number, tids := range servers(root) {
		for _, tid := range tids {
			priority, ok := priorities[number]
			if !ok {
				continue
			}
			if err := linux.SetPolicy(tid, unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: uint32(priority)}); err != nil {
				errs = append(errs, fmt.Errorf("thread of interrupt %s: declared: priority %d; the kernel: %w", number, priority, err))
			}
		}
	}
	return errors.Join(errs...)
}
