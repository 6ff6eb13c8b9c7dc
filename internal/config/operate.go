package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Logs says how much of a container's output is kept.
type Logs struct {
	Size Size `yaml:"size" doc:"Bytes of the newest lines that are kept in memory for instar logs. Default: 256KiB." min:"16KiB" max:"16MiB"`
	Rate Size `yaml:"rate" doc:"Bytes a second that are taken, for the first ten seconds' worth at once. Lines beyond are dropped and counted. Default: no limit." min:"1KiB" example:"64KiB"`
}

// namespaced reports whether a kernel parameter belongs to a network, IPC or
// UTS namespace, so that a container can have its own: net(7),
// ipc_namespaces(7). All others are the machine's.
func namespaced(name string) bool {
	switch name {
	case "kernel.domainname", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
		"kernel.shm_rmid_forced", "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni":
		return true
	}
	return strings.HasPrefix(name, "fs.mqueue.") || strings.HasPrefix(name, "net.")
}

// ownSysctl is the check of the format "sysctl".
func ownSysctl(name string) string {
	switch {
	case strings.Contains(name, ".."):
		return "an empty part"
	case !namespaced(name):
		return "this parameter is the whole machine's, not a container's"
	}
	return ""
}

// A wait is a container that another comes after, and where it says so.
type wait struct{ name, key, at string }

// waits returns what a container comes after.
func waits(name string, ct Container) []wait {
	var all []wait
	for key, list := range map[string][]string{"after": ct.After, "needs": ct.Needs} {
		for i, other := range list {
			all = append(all, wait{other, key, index(join("containers", name)+"."+key, i)})
		}
	}
	slices.SortStableFunc(all, func(a, b wait) int { return strings.Compare(a.key, b.key) })
	return all
}

// operated checks what an operator's keys say together with others.
func (c *checker) operated(at string, ct Container) {
	for i, name := range ct.Needs {
		c.named(index(at+".needs", i), name, "container", sorted(c.def.Containers))
	}
	if ct.Network == "host" {
		for _, name := range sorted(ct.Sysctls) {
			if strings.HasPrefix(name, "net.") {
				c.wrongKey(join(at+".sysctls", name), "is the machine's, for the container has network: host", "give it a network of its own, or remove one of the two")
			}
		}
	}
	c.landlocked(at, ct)
	if ct.Swap > 0 && ct.Memory == 0 {
		c.wrongKey(at+".swap", "limits nothing without memory", fmt.Sprintf("declare memory beside it, as memory: %s", ct.Swap))
	}
}

// landlocked holds that a container's programs are among the files that it may
// use.
func (c *checker) landlocked(at string, ct Container) {
	if ct.Landlock == nil {
		return
	}
	programs := map[string][]string{at + ".command": ct.Command}
	if ct.Health != nil {
		programs[at+".health.exec"] = ct.Health.Exec
	}
	for i, p := range ct.Prepare {
		programs[index(at+".prepare", i)] = p
	}
	may := slices.Concat(ct.Landlock.Read, ct.Landlock.Write)
	for _, key := range sorted(programs) {
		command := programs[key]
		if len(command) > 0 && !slices.ContainsFunc(may, func(dir string) bool { return below(command[0], dir) }) {
			c.wrong(index(key, 0), command[0]+" is not below a path of landlock, so that it cannot be executed",
				"add its directory to landlock.read, and that of the libraries it uses")
		}
	}
}

// quoted are keys that join has quoted, for they hold dots; what they mean does
// not depend on them.
var quoted = regexp.MustCompile(`"[^"]*"`)
