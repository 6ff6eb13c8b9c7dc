package tasks

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/system"
)

// Set gives a thread the policy and the processor of a task. It may be repeated.
func Set(tid int, t *system.Task) error {
	// The kernel refuses a deadline task that may not run on all of its partition,
	// and takes no other place for one that is a deadline task already.
	if t.Policy != "deadline" {
		var cpus unix.CPUSet
		cpus.Set(t.CPU)
		if err := unix.SchedSetaffinity(tid, &cpus); err != nil {
			return fmt.Errorf("sched_setaffinity: %w", err)
		}
	}
	switch t.Policy {
	case "deadline":
		return linux.SetPolicy(tid, unix.SchedAttr{Policy: unix.SCHED_DEADLINE,
			Runtime: uint64(t.Runtime), Deadline: uint64(t.Relative), Period: uint64(t.Period)})
	case "fifo":
		return linux.SetPolicy(tid, unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: uint32(t.Priority)})
	case "rr":
		return linux.SetPolicy(tid, unix.SchedAttr{Policy: unix.SCHED_RR, Priority: uint32(t.Priority)})
	}
	return nil
}

// Refusal says what was declared and what the kernel has against it.
func Refusal(tid int, t *system.Task, err error) error {
	declared := fmt.Sprintf("policy %s, priority %d, on CPU %d", t.Policy, t.Priority, t.CPU)
	if t.Policy == "deadline" {
		declared = fmt.Sprintf("runtime %s, deadline %s, period %s, which is %.2f%% of CPU %d",
			time.Duration(t.Runtime), time.Duration(t.Relative), time.Duration(t.Period), float64(t.Runtime)*100/float64(max(1, t.Period)), t.CPU)
	}
	return fmt.Errorf("declared: %s; the kernel: %w, with %s", declared, err, kernelSays(tid))
}

// kernelSays returns what the kernel's decision rests upon.
func kernelSays(tid int) string {
	text := fmt.Sprintf("sched_rt_runtime_us %s of sched_rt_period_us %s", line("/proc/sys/kernel/sched_rt_runtime_us"), line("/proc/sys/kernel/sched_rt_period_us"))
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return text
	}
	for l := range strings.Lines(string(b)) {
		if cpus, ok := strings.CutPrefix(l, "Cpus_allowed_list:"); ok {
			text += ", and CPUs " + strings.TrimSpace(cpus) + " for the thread"
		}
	}
	return text
}

func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "(not known)"
	}
	return strings.TrimSpace(string(b))
}
