package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// networkCapabilities are about the network namespace, which is the machine's
// with network: host.
var networkCapabilities = []string{"NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW"}

// machineCapabilities are looked for in the machine's user namespace alone:
// capable() in Linux. A container with users of its own cannot have them.
var machineCapabilities = []string{
	"AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "DAC_READ_SEARCH", "IPC_LOCK", "LEASE",
	"LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "PERFMON", "SYS_BOOT", "SYS_MODULE", "SYS_NICE",
	"SYS_PACCT", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM",
}

// idCount is how many users, and groups, a container with its own has.
const idCount = 1 << 16

// users checks that what a container asks for is to be had with its users.
func (c *checker) users(at string, ct Container) {
	if ct.UserNS != "private" {
		return
	}
	for i, name := range ct.Capabilities {
		short := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		switch {
		case ct.Network == "host" && slices.Contains(networkCapabilities, short):
			c.wrong(index(at+".capabilities", i), short+" is about the machine's network, and the container's users are not the machine's",
				"add userns: host, or give it a network of its own")
		case slices.Contains(machineCapabilities, short):
			c.wrong(index(at+".capabilities", i), short+" is about the whole machine, and the container's users are not the machine's",
				"add userns: host, or leave it out")
		}
	}
	for _, id := range slices.Concat(ct.Groups, strings.SplitN(ct.User, ":", 2)) {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil && n >= idCount {
			c.wrong(at+".user", fmt.Sprintf("%d is not among the container's own %d users and groups", n, idCount), "add userns: host, or take a smaller number")
		}
	}
}
