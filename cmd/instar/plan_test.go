package main

import (
	"fmt"
	"testing"
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
