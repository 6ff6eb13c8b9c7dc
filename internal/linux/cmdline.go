// Package linux holds the kernel interfaces that instar-init uses beside the
// container runtime: the command line, modules, block devices and partitions,
// uevents, mounts, rtnetlink and the end of the machine.
//
// It is raw: no policy, no state, no retries but those a system call needs.
// What reads sysfs takes it as an fs.FS.
package linux

import "strings"

// Cmdline is a kernel command line in its order.
type Cmdline []Arg

// Arg is one argument, "key" or "key=value".
type Arg struct{ Key, Value string }

// ParseCmdline splits a command line as the kernel does: by white space,
// except within double quotes, which are removed. The kernel passes what
// stands after "--" to init; it is part of the result all the same.
//
// Source: lib/cmdline.c, next_arg.
func ParseCmdline(s string) Cmdline {
	var c Cmdline
	for _, word := range splitQuoted(s) {
		key, value, _ := strings.Cut(word, "=")
		if key != "" && key != "--" {
			c = append(c, Arg{strings.ReplaceAll(key, `"`, ""), strings.ReplaceAll(value, `"`, "")})
		}
	}
	return c
}

func splitQuoted(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n' || r == '\v' || r == '\f' || r == '\r')
	})
}

// Count returns how often a key is given.
func (c Cmdline) Count(key string) (n int) {
	for _, a := range c {
		if a.Key == key {
			n++
		}
	}
	return n
}

// Lookup returns the value of a key; the last one counts.
func (c Cmdline) Lookup(key string) (string, bool) {
	for i := len(c) - 1; i >= 0; i-- {
		if c[i].Key == key {
			return c[i].Value, true
		}
	}
	return "", false
}
