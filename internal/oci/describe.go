package oci

import (
	"maps"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/launch"
)

// Features is what the runtime can do: the specification, "Features structure".
func Features() any {
	list := func(m map[string]uint64) []string { return slices.Sorted(maps.Keys(m)) }
	no := map[string]bool{"enabled": false}
	return map[string]any{
		"ociVersionMin": "1.0.0",
		"ociVersionMax": Version,
		"hooks":         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		"mountOptions":  mountOptionNames(),
		"linux": map[string]any{
			"namespaces":   list(namespaceFlags),
			"capabilities": launch.Capabilities(),
			"cgroup":       map[string]bool{"v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false},
			"seccomp": map[string]any{
				"enabled": true,
				"actions": []string{"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
					"SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"},
				"operators": []string{"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
					"SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"},
				"archs":          []string{"SCMP_ARCH_AARCH64", "SCMP_ARCH_X86_64"},
				"knownFlags":     list(seccompFlags),
				"supportedFlags": list(seccompFlags),
			},
			"apparmor": no, "selinux": no, "intelRdt": no,
			"mountExtensions": map[string]any{"idmap": no},
		},
		"potentiallyUnsafeConfigAnnotations": []string{},
	}
}

// DefaultConfig is a config.json to begin with: a shell in rootfs, in namespaces
// of its own, with the mounts, masked paths and few capabilities that runtimes
// agree on.
func DefaultConfig() *Config {
	caps := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	c := &Config{
		Version: "1.0.2", Hostname: "container", Root: &Root{Path: "rootfs", Readonly: true},
		Process: &Process{Terminal: true, Args: []string{"sh"}, Cwd: "/", NoNewPrivileges: true,
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
			Capabilities: &Caps{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits:      []Rlimit{{"RLIMIT_NOFILE", 1024, 1024}}},
	}
	for _, m := range [][4]string{
		{"/proc", "proc", "proc", ""},
		{"/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"},
		{"/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{"/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"},
		{"/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"},
		{"/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"},
		{"/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"},
	} {
		mount := Mount{Destination: m[0], Type: m[1], Source: m[2]}
		if m[3] != "" {
			mount.Options = strings.Split(m[3], ",")
		}
		c.Mounts = append(c.Mounts, mount)
	}
	for _, n := range []string{"pid", "network", "ipc", "uts", "mount", "cgroup"} {
		c.Linux.Namespaces = append(c.Linux.Namespaces, Namespace{Type: n})
	}
	c.Linux.Resources = &Resources{Devices: []DeviceRule{{Access: "rwm"}}}
	c.Linux.MaskedPaths = []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"}
	c.Linux.ReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	return c
}
