package main

import (
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/wire"
)

// printDevices writes the machine's devices with their owners as lines of a
// status.
func printDevices(w io.Writer, all []wire.DeviceStatus) {
	for _, d := range all {
		kind := ""
		if d.Kind != "" {
			kind = ", " + d.Kind
		}
		fmt.Fprintf(w, "device\t%s of %s %s %s%s (%s)\n", d.Name, d.Container, d.Path, d.State, kind, d.Detail)
	}
}
