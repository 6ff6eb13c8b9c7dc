package config

import (
	"strconv"
	"strings"
)

// A number is a name of the kernel's interface with its value.
type number struct {
	name  string
	value int
}

// words returns the names of a table.
func words(table []number) []string {
	all := make([]string, len(table))
	for i, n := range table {
		all[i] = n.name
	}
	return all
}

func lookup(table []number, name string) (int, bool) {
	for _, n := range table {
		if n.name == name {
			return n.value, true
		}
	}
	return 0, false
}

// SignalNumber returns the number of a signal, as TERM or SIGTERM. amd64 and
// arm64 number them alike.
func SignalNumber(name string) (int, bool) {
	return lookup(signals, strings.TrimPrefix(name, "SIG"))
}

// SignalName returns the name of a signal as a definition writes it: TERM for
// TERM, SIGTERM and 15.
func SignalName(s string) (string, bool) {
	for _, n := range signals {
		if n.name == strings.TrimPrefix(s, "SIG") || strconv.Itoa(n.value) == s {
			return n.name, true
		}
	}
	return "", false
}

// CapabilityNumber returns the number of a capability, as NET_ADMIN or
// CAP_NET_ADMIN.
func CapabilityNumber(name string) (int, bool) {
	return lookup(capabilities, strings.TrimPrefix(name, "CAP_"))
}

// RlimitNumber returns the number of a resource limit, as nofile.
func RlimitNumber(name string) (int, bool) { return lookup(rlimits, name) }

// Source: include/uapi/asm-generic/signal.h.
var signals = []number{
	{"HUP", 1}, {"INT", 2}, {"QUIT", 3}, {"ILL", 4}, {"TRAP", 5}, {"ABRT", 6}, {"BUS", 7}, {"FPE", 8},
	{"KILL", 9}, {"USR1", 10}, {"SEGV", 11}, {"USR2", 12}, {"PIPE", 13}, {"ALRM", 14}, {"TERM", 15},
	{"STKFLT", 16}, {"CHLD", 17}, {"CONT", 18}, {"STOP", 19}, {"TSTP", 20}, {"TTIN", 21}, {"TTOU", 22},
	{"URG", 23}, {"XCPU", 24}, {"XFSZ", 25}, {"VTALRM", 26}, {"PROF", 27}, {"WINCH", 28}, {"IO", 29},
	{"PWR", 30}, {"SYS", 31},
}

// Source: include/uapi/linux/capability.h.
var capabilities = []number{
	{"CHOWN", 0}, {"DAC_OVERRIDE", 1}, {"DAC_READ_SEARCH", 2}, {"FOWNER", 3}, {"FSETID", 4}, {"KILL", 5},
	{"SETGID", 6}, {"SETUID", 7}, {"SETPCAP", 8}, {"LINUX_IMMUTABLE", 9}, {"NET_BIND_SERVICE", 10},
	{"NET_BROADCAST", 11}, {"NET_ADMIN", 12}, {"NET_RAW", 13}, {"IPC_LOCK", 14}, {"IPC_OWNER", 15},
	{"SYS_MODULE", 16}, {"SYS_RAWIO", 17}, {"SYS_CHROOT", 18}, {"SYS_PTRACE", 19}, {"SYS_PACCT", 20},
	{"SYS_ADMIN", 21}, {"SYS_BOOT", 22}, {"SYS_NICE", 23}, {"SYS_RESOURCE", 24}, {"SYS_TIME", 25},
	{"SYS_TTY_CONFIG", 26}, {"MKNOD", 27}, {"LEASE", 28}, {"AUDIT_WRITE", 29}, {"AUDIT_CONTROL", 30},
	{"SETFCAP", 31}, {"MAC_OVERRIDE", 32}, {"MAC_ADMIN", 33}, {"SYSLOG", 34}, {"WAKE_ALARM", 35},
	{"BLOCK_SUSPEND", 36}, {"AUDIT_READ", 37}, {"PERFMON", 38}, {"BPF", 39}, {"CHECKPOINT_RESTORE", 40},
}

// Source: include/uapi/asm-generic/resource.h.
var rlimits = []number{
	{"cpu", 0}, {"fsize", 1}, {"data", 2}, {"stack", 3}, {"core", 4}, {"rss", 5}, {"nproc", 6},
	{"nofile", 7}, {"memlock", 8}, {"as", 9}, {"locks", 10}, {"sigpending", 11}, {"msgqueue", 12},
	{"nice", 13}, {"rtprio", 14}, {"rttime", 15},
}
