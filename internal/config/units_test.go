package config

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0B": 0, "1B": 1, "4096B": 4096, "64KiB": 64 << 10, "64MiB": 64 << 20, "3GiB": 3 << 30, "8191PiB": -1,
		"8388607TiB": 8388607 << 40, "8388608TiB": -1, "99999999999999999999B": -1, "1.5MiB": -1, "-1B": -1, "01B": -1, "64": -1, "64M": -1, "": -1} {
		got, err := ParseSize(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("ParseSize(%q) = %d, %v", text, got, err)
		}
		if back, err2 := ParseSize(got.String()); err == nil && (err2 != nil || back != got) {
			t.Errorf("%q is written %s", text, got)
		}
	}
}

func TestMode(t *testing.T) {
	for text, want := range map[string]int{"0755": 0o755, "755": 0o755, "1777": 0o1777, "0": -1, "0o755": -1, "00755": -1, "0899": -1} {
		got, err := ParseMode(text)
		if (err != nil) != (want < 0) || err == nil && got != Mode(want) {
			t.Errorf("ParseMode(%q) = %s, %v", text, got, err)
		}
	}
}

// The kernel's numbers, as golang.org/x/sys has them from its headers.
func TestNumbers(t *testing.T) {
	for name, want := range map[string]int{
		"CHOWN": unix.CAP_CHOWN, "NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "SYS_ADMIN": unix.CAP_SYS_ADMIN,
		"SYS_TIME": unix.CAP_SYS_TIME, "AUDIT_READ": unix.CAP_AUDIT_READ, "CHECKPOINT_RESTORE": unix.CAP_LAST_CAP,
	} {
		if n, ok := CapabilityNumber(name); !ok || n != want {
			t.Errorf("CapabilityNumber(%s) = %d, %v", name, n, ok)
		}
	}
	for i, n := range capabilities {
		if n.value != i {
			t.Errorf("%s is %d, stands at %d", n.name, n.value, i)
		}
	}
	for _, s := range signals {
		want := unix.SignalNum("SIG" + s.name)
		if n, ok := SignalNumber("SIG" + s.name); !ok || n != s.value || n != int(want) {
			t.Errorf("SignalNumber(%s) = %d, %v, want %d", s.name, n, ok, want)
		}
	}
	for name, want := range map[string]int{"cpu": unix.RLIMIT_CPU, "nofile": unix.RLIMIT_NOFILE, "memlock": unix.RLIMIT_MEMLOCK, "core": unix.RLIMIT_CORE,
		"nproc": unix.RLIMIT_NPROC, "as": unix.RLIMIT_AS, "stack": unix.RLIMIT_STACK, "fsize": unix.RLIMIT_FSIZE, "data": unix.RLIMIT_DATA, "rss": unix.RLIMIT_RSS,
		"locks": unix.RLIMIT_LOCKS, "sigpending": unix.RLIMIT_SIGPENDING, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME} {
		if n, ok := RlimitNumber(name); !ok || n != want {
			t.Errorf("RlimitNumber(%s) = %d, %v, want %d", name, n, ok, want)
		}
	}
	if _, ok := SignalNumber("NOPE"); ok {
		t.Error("there is a signal NOPE")
	}
}

func TestSuggest(t *testing.T) {
	words := []string{"health", "memory", "machine", "arch"}
	for s, want := range map[string]string{"helth": "health", "haelth": "health", "HEALTH": "health", "mahcine": "machine", "arc": "arch", "zzz": "", "": "", "budget": ""} {
		if got := suggest(s, words); got != want {
			t.Errorf("suggest(%q) = %q, want %q", s, got, want)
		}
	}
}
