//go:build !sabotage

package boot

func (d *device) sabotage() {}
