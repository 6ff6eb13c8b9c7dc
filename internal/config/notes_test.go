package config

import (
	"strings"
	"testing"
)

func TestNotes(t *testing.T) {
	for _, row := range []struct {
		name string
		d    Definition
		want string // in the first note; "" for no notes
	}{
		{"once", Definition{Boot: Boot{Firmware: "uefi", Switch: "table", Trial: "once"}}, ""},
		{"counter", Definition{Boot: Boot{Firmware: "uefi", Switch: "table", Trial: "counter", Watchdog: 1}}, "started again and again"},
		{"a board", Definition{Boot: Boot{Firmware: "uboot"}, Kernel: Kernel{Package: PerArch{"": "linux-image-rt-arm64"}}}, ""},
		{"real time", Definition{Boot: Boot{Firmware: "uefi", Switch: "table", Trial: "once"}, Kernel: Kernel{Package: PerArch{"": "linux-image-rt-amd64"}}}, "efi=runtime"},
		{"real time, told", Definition{Boot: Boot{Firmware: "uefi", Switch: "table", Trial: "once"},
			Kernel: Kernel{Package: PerArch{"": "linux-image-rt-amd64"}, Command: []string{"efi=runtime"}}}, ""},
	} {
		got := row.d.Notes()
		if row.want == "" && len(got) > 0 || row.want != "" && (len(got) == 0 || !strings.Contains(got[0], row.want)) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}
