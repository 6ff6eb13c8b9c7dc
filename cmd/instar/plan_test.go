package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/update"
	"github.com/instar-os/instar/internal/wire"
)

func TestParseRate(t *testing.T) {
	for s, want := range map[string]int64{"1Mbit": 1e6, "250kB": 2e6, "1.5Gbit": 15e8, "9600bit": 9600, "1KiB": 8192, "3B": 24} {
		if got, err := parseRate(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "1", "Mbit", "-1Mbit", "0bit", "NaNbit", "1e30Gbit", "1 Tbit"} {
		if got, err := parseRate(s); err == nil {
			t.Errorf("%q: %d", s, got)
		}
	}
	if got := rateText(2500000); got != "2.5 Mbit/s" {
		t.Error(got)
	}
}

func TestSSHArgs(t *testing.T) {
	for in, want := range map[string]string{"host": "[host]", "root@host": "[root@host]", "//root@host:2222": "[-p 2222 root@host]", "//host": "[host]", "//[::1]:22": "[-p 22 ::1]"} {
		if got, err := sshArgs(in); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-oProxyCommand=x", "//", "//-x", "//host/path", "//host:port"} {
		if got, err := sshArgs(in); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}

// Whatever a machine says against an update is shown, and speaks against it.
func TestAnswers(t *testing.T) {
	if all := answers(wire.UpdateChecked{Need: 1 << 20, Free: 2 << 20}); len(all) != len(questions)-1 || all[2].Text != "1.00 MiB at most of 2.00 MiB" {
		t.Errorf("nothing speaks against it: %+v", all)
	}
	codes := []string{update.ForAnother, update.NoBase, update.Older, update.Same, update.NoSpace, update.Bad, update.DataNewer, update.NoDriver,
		update.Unhealthy, update.NoTrial, update.NoPart, update.NoProcessor, "of tomorrow"}
	seen := map[string]bool{}
	for i, code := range codes {
		all := answers(wire.UpdateChecked{Problems: []wire.UpdateProblem{{Code: code, Text: "one"}, {Code: code, Text: "two"}}})
		var against []string
		for _, v := range all {
			if !v.OK {
				against = append(against, v.What+": "+v.Text)
			}
		}
		if len(against) != 1 || !strings.HasSuffix(against[0], ": one; two") {
			t.Errorf("%s: %q", code, against)
			continue
		}
		if known := !strings.HasPrefix(against[0], "machine: other"); known != (i < len(codes)-1) {
			t.Errorf("%s is answered by %q", code, against)
		}
		seen[against[0]] = true
	}
	if len(seen) != len(questions) {
		t.Errorf("of %d questions %d are ever answered", len(questions), len(seen))
	}
}
