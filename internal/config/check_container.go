package config

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

func (c *checker) container(at string, ct Container) {
	for i, t := range ct.Trees {
		c.named(index(at+".trees", i), t, "tree", sorted(c.def.Trees))
	}
	for i, name := range ct.After {
		c.named(index(at+".after", i), name, "container", sorted(c.def.Containers))
	}
	c.command(at, ct)
	for i, command := range ct.Prepare {
		c.program(index(at+".prepare", i), command)
	}
	c.mounts(at, ct)
	c.operated(at, ct)
	c.io(at, ct)
	c.users(at, ct)
	if r := ct.Restart; r.Min > r.Max {
		c.wrong(at+".restart", fmt.Sprintf("min, %s, is more than max, %s", r.Min, r.Max), "the delay grows from min to max")
	}
	if ct.OneShot && ct.Restart.Policy == "always" {
		p := at + ".restart"
		if c.has(p + ".policy") {
			p += ".policy"
		}
		c.wrong(p, "a oneshot container is not restarted always", "use on-failure or never")
	}
	if ct.Health != nil {
		c.health(at+".health", ct)
	}
}

// command checks what is started. A container with an OCI image need not say.
func (c *checker) command(at string, ct Container) {
	image := slices.ContainsFunc(ct.Trees, func(t string) bool { return c.def.Trees[t].From == "oci" })
	if c.has(at+".args") && (!image || c.has(at+".command")) {
		reason := "stands beside command"
		if !image {
			reason = "means nothing without an OCI image"
		}
		c.wrongKey(at+".args", reason, "write all arguments into command")
	}
	if !c.has(at + ".command") {
		if !image {
			c.missing(at, "command", "write it as command: [/usr/sbin/mosquitto, -c, /etc/mosquitto/mosquitto.conf]")
		}
		return
	}
	c.program(at+".command", ct.Command)
}

// program checks a command, which begins with a path in the container.
func (c *checker) program(at string, command []string) {
	switch {
	case len(command) == 0:
		c.wrong(at, "is empty", "write it as [/usr/sbin/mosquitto, -c, /etc/mosquitto/mosquitto.conf]")
	case !path.IsAbs(command[0]):
		c.wrong(index(at, 0), fmt.Sprintf("%q is not an absolute path", command[0]), "no shell and no PATH is searched; write the whole path, as /usr/bin/"+path.Base(command[0]))
	case path.Clean(command[0]) != command[0] || command[0] == "/":
		c.wrong(index(at, 0), fmt.Sprintf("%q is not the path of a program in its shortest form", command[0]), "write "+path.Clean(command[0]))
	}
}

// A mount is a path that a container mounts something at.
type mount struct{ at, path, what string }

// mounts checks that what a container mounts does not overlap.
func (c *checker) mounts(at string, ct Container) {
	own := []mount{{"", "/tmp", "/tmp, which every container has"}, {"", "/run", "/run, which every container has"}}
	var all []mount
	for i, t := range ct.Tmpfs {
		all = append(all, mount{index(at+".tmpfs", i) + ".path", t.Path, "tmpfs " + t.Path})
	}
	for i, d := range ct.Data {
		all = append(all, mount{index(at+".data", i) + ".path", d.Path, "data " + d.Path})
	}
	for i, m := range all {
		if m.path == "" {
			continue
		}
		c.mountable(m)
		for _, o := range own {
			if m.path == o.path {
				c.wrong(m.at, m.path+" stands in the place of "+o.what, "choose a path of its own")
			}
		}
		for _, o := range all[:i] {
			if o.path != "" && (below(m.path, o.path) || below(o.path, m.path)) {
				c.wrong(m.at, m.path+" overlaps "+o.what, "choose paths that do not hold each other")
			}
		}
	}
}

// mountable reports a path at which nothing may be mounted.
func (c *checker) mountable(m mount) {
	if m.path == "/" {
		c.wrong(m.at, "the root cannot be covered", "choose a directory")
	}
	for _, kernel := range []string{"/proc", "/sys", "/dev"} {
		if below(m.path, kernel) {
			c.wrong(m.at, m.path+" is below "+kernel+", which is the kernel's", "choose another path")
		}
	}
}

// below reports whether p is dir or in it.
func below(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

func (c *checker) health(at string, ct Container) {
	var given []string
	for _, key := range []string{"tcp", "http", "exec", "file"} {
		if c.has(at + "." + key) {
			given = append(given, key)
		}
	}
	switch {
	case len(given) == 0 && !c.within(at):
		c.wrongKey(at, "says not what to check", "give one of tcp, http, exec, file")
	case len(given) > 1:
		c.wrongKey(at+"."+given[1], "stands beside "+given[0], "use exactly one of tcp, http, exec, file")
	}
	if c.has(at + ".exec") {
		c.program(at+".exec", ct.Health.Exec)
	}
	if ct.OneShot {
		c.wrongKey(at, "a oneshot container has no health check", "its success counts as health; remove one of the two")
	}
}
