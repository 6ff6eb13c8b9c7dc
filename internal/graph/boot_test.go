package graph

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/reason"
	"github.com/instar-os/instar/internal/wire"
)

func entry(kind wire.EntryKind, name string, at, took int, state wire.State, text string) wire.BootEntry {
	return wire.BootEntry{Kind: kind, Name: name, At: time.Duration(at) * time.Millisecond, Took: time.Duration(took) * time.Millisecond, State: state, Text: text}
}

func TestBoot(t *testing.T) {
	info := wire.BootInfo{BootIdentity: wire.BootIdentity{Number: 7, System: "0123456789abcdef", Configuration: "day"}, Start: reason.Watchdog, End: reason.Rollback, Healthy: 2900 * time.Millisecond}
	for name, b := range map[string]wire.BootRecord{
		"nothing": {BootInfo: info},
		"boot": {BootInfo: info, Entries: []wire.BootEntry{
			entry(wire.EntryStage, "firmware", -3200, 2500, "", ""),
			entry(wire.EntryStage, "loader", -700, 700, "", ""),
			entry(wire.EntryStage, "kernel", 0, 1250, "", ""),
			entry(wire.EntryStep, "mount /proc", 1250, 0, "", ""),
			entry(wire.EntryStep, "load the kernel modules", 1252, 310, "", ""),
			entry(wire.EntryStep, "mount the data partition of a machine & <its> long name here", 1600, 120, "", "no such device"),
			entry(wire.EntryContainer, "broker", 1730, 0, wire.Starting, ""),
			entry(wire.EntryContainer, "panel", 1735, 0, wire.Starting, ""),
			entry(wire.EntryContainer, "broker", 2400, 0, wire.Healthy, ""),
			entry(wire.EntryContainer, "panel", 2900, 0, wire.Backoff, ""),
			entry(wire.EntryContainer, "panel", 3900, 0, wire.Starting, ""),
			entry(wire.EntryContainer, "broker", 90000, 0, wire.Stopping, ""),
		}},
	} {
		got := Boot("greenhouse & co", b)
		golden := "testdata/boot-" + name + ".svg"
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is drawn otherwise; look at it and run go test ./internal/graph -update", golden)
		}
		inside(t, got)
	}
}
