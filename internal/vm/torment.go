package vm

import (
	"context"
	"fmt"
	"slices"
)

// Events returns the names of the emulator's events so far, as WATCHDOG, RESET
// and POWERDOWN (QEMU, docs/interop/qmp-ref).
func (v *VM) Events(ctx context.Context) ([]string, error) {
	if _, err := v.qmp.do(ctx, "query-status", nil); err != nil { // events come before the answer
		return nil, err
	}
	v.qmp.mu.Lock()
	defer v.qmp.mu.Unlock()
	return slices.Clone(v.qmp.events), nil
}

// Reset starts the machine again as the button does, without a word to it.
func (v *VM) Reset(ctx context.Context) error {
	_, err := v.qmp.do(ctx, "system_reset", nil)
	return err
}

// SysRq sends a magic system request over the serial console: a break, then the
// key (Documentation/admin-guide/sysrq.rst).
func (v *VM) SysRq(ctx context.Context, key byte) error {
	if _, err := v.qmp.do(ctx, "chardev-send-break", map[string]any{"id": "console"}); err != nil {
		return fmt.Errorf("sending a break: %w", err)
	}
	return v.console.Send(string(key))
}
