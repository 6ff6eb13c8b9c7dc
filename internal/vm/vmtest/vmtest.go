// Package vmtest lets many checks share one boot of a virtual machine. A test
// binary declares its machines, hands them to Main, and asks for them in tests:
//
//	var greenhouse = &vmtest.Machine{Name: "greenhouse", Options: options, Ready: vmtest.Healthy}
//
//	func TestMain(m *testing.M) { os.Exit(vmtest.Main(m, greenhouse)) }
//
//	func TestPanel(t *testing.T) {
//		greenhouse.Check(t, "answers", func(ctx context.Context, v *vm.VM) error { … })
//	}
package vmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/vm"
)

// Times that a boot and a check may take, when the Machine does not say.
const (
	DefaultBoot  = 3 * time.Minute
	DefaultCheck = 30 * time.Second
)

// Machine is a virtual machine that is booted when the first test asks for it
// and ended by Main.
type Machine struct {
	Name    string
	Options func() (vm.Options, error)          // says how to start it; may build the image
	Ready   func(context.Context, *vm.VM) error // waits until checks may run; nil for at once
	Boot    time.Duration                       // limit of start and Ready; 0 means DefaultBoot
	Limit   time.Duration                       // limit of one check; 0 means DefaultCheck

	once sync.Once
	vm   *vm.VM
	err  error
}

// Healthy is a Ready that waits until every container does its work.
func Healthy(ctx context.Context, v *vm.VM) error {
	_, err := v.WaitHealthy(ctx)
	return err
}

// Main runs the tests and then ends the machines; it returns the exit code. A
// machine that does not power off by itself fails the run.
func Main(m *testing.M, machines ...*Machine) int {
	code := m.Run()
	for _, machine := range machines {
		if err := machine.end(); err != nil {
			fmt.Fprintf(os.Stderr, "--- FAIL: ending %s: %v\n", machine.Name, err)
			code = max(code, 1)
		}
	}
	return code
}

// VM returns the running machine; the first call boots it, twice if need be.
// When it cannot be booted the test fails with the console's transcript.
func (m *Machine) VM(t testing.TB) *vm.VM {
	t.Helper()
	m.once.Do(m.boot)
	if m.err != nil {
		t.Fatalf("machine %s: %v", m.Name, m.err)
	}
	return m.vm
}

// boot starts the machine, and once more when it does not get ready: an
// emulated machine on a busy host may miss a time-out that says nothing.
func (m *Machine) boot() {
	o, err := m.Options()
	if err != nil {
		m.err = err
		return
	}
	first := m.tryBoot(o)
	if first == nil {
		return
	}
	if second := m.tryBoot(o); second != nil {
		m.err = fmt.Errorf("%w\nand once more: %w", first, second)
	}
}

func (m *Machine) tryBoot(o vm.Options) error {
	ctx, cancel := limit(context.Background(), m.Boot, DefaultBoot)
	defer cancel()
	v, err := vm.Start(ctx, o)
	if err != nil {
		return err
	}
	if m.Ready != nil {
		if err := m.Ready(ctx, v); err != nil {
			v.Close()
			return fmt.Errorf("%w\n--- whole console:\n%s", err, v.Console().Transcript())
		}
	}
	m.vm = v
	return nil
}

func limit(ctx context.Context, d, byDefault time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		d = byDefault
	}
	return context.WithTimeout(ctx, d)
}

// Check runs a subtest against the machine. A check that fails is run once
// more; when it fails again the test does, with both errors and what the
// console said meanwhile.
func (m *Machine) Check(t *testing.T, name string, check func(context.Context, *vm.VM) error) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Helper()
		v := m.VM(t)
		before := len(v.Console().Transcript())
		first := m.tryCheck(t, v, check)
		if first == nil {
			return
		}
		second := m.tryCheck(t, v, check)
		if second == nil {
			t.Logf("passed the second time; the first: %v", first)
			return
		}
		said := v.Console().Transcript()
		t.Errorf("%v\n--- console meanwhile:\n%s", errors.Join(first, second), said[min(before, len(said)):])
	})
}

func (m *Machine) tryCheck(t *testing.T, v *vm.VM, check func(context.Context, *vm.VM) error) error {
	ctx, cancel := limit(t.Context(), m.Limit, DefaultCheck)
	defer cancel()
	return check(ctx, v)
}

// end powers the machine off, if it was booted.
func (m *Machine) end() error {
	if m.vm == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	select {
	case <-m.vm.Done():
		return m.vm.Close() // a test ended it
	default:
	}
	return errors.Join(m.vm.PowerOff(ctx), m.vm.Close())
}
