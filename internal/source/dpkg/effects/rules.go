package effects

import (
	"strings"
)

// ruleFor returns the rule that claims commands of a name: it says what the exit
// status is and does what the command would do to the tree, or reports it.
func ruleFor(name string) func(m *machine, c *call) truth {
	switch name {
	case "true", "set", "cd", "trap", "umask", "ischroot", "type":
		return func(*machine, *call) truth { return yes }
	case "false", "aa-status", "aa-enabled":
		return func(*machine, *call) truth { return no }
	case "exit", "return", "break", "continue":
		return (*machine).leave
	case "export", "local", "readonly", "unset", "shift", "read":
		return (*machine).variables
	case "test", "[":
		return func(m *machine, c *call) truth {
			args := c.words[1:]
			if n := len(args); c.words[0].s == "[" && n > 0 && args[n-1].s == "]" {
				args = args[:n-1]
			}
			return m.test(args)
		}
	case "command", "which":
		return (*machine).find
	case ".":
		return (*machine).source
	case ":", "write", "cat", "echo", "printf":
		return (*machine).write
	case "sed", "find":
		return (*machine).filter
	case "dpkg":
		return (*machine).dpkg
	case "dpkg-divert":
		return (*machine).divert
	case "dpkg-statoverride":
		return (*machine).statoverride
	case "getent":
		return (*machine).getent
	case "adduser", "addgroup", "useradd", "groupadd":
		return (*machine).account
	case "update-alternatives":
		return (*machine).alternative
	case "deb-systemd-helper", "systemctl":
		return (*machine).unit
	case "db_get":
		return (*machine).debconf
	case "mkdir", "ln", "cp", "mv", "rm", "rmdir", "touch", "chmod", "chown", "chgrp", "install":
		return (*machine).files
	case "ucf":
		return (*machine).ucf
	case "setcap":
		return (*machine).setcap
	}
	return nil
}

// harmless lists commands that leave nothing in a tree, or nothing that a
// container needs, and why. Their exit status is unknown.
var harmless = map[string]string{
	"grep": "reads", "egrep": "reads", "fgrep": "reads", "cmp": "reads", "diff": "reads", "md5sum": "reads", "sha512sum": "reads",
	"stat": "reads", "ls": "reads", "readlink": "reads", "realpath": "reads", "id": "reads", "df": "reads", "ps": "reads", "ss": "reads",
	"pidof": "reads", "getcap": "reads", "apt-config": "reads", "dpkg-query": "reads", "chronyd": "prints with -p",
	"awk": "filters", "cut": "filters", "tr": "filters", "sort": "filters", "uniq": "filters", "head": "filters", "tail": "filters", "wc": "filters",
	"dirname": "prints", "basename": "prints", "seq": "prints", "date": "prints", "expr": "prints", "uname": "prints",
	"dpkg-architecture": "prints", "dpkg-realpath": "prints", "systemd-detect-virt": "prints",
	"mktemp": "makes a file that the script removes", "sleep": "waits",

	"invoke-rc.d": "nothing runs yet", "service": "nothing runs yet", "deb-systemd-invoke": "nothing runs yet", "kill": "nothing runs yet",
	"start-stop-daemon": "nothing runs yet", "udevadm": "nothing runs yet", "dbus-send": "nothing runs yet", "nscd": "nothing runs yet",
	"sysctl": "the host's kernel", "modprobe": "the host's kernel", "apparmor_parser": "the host's kernel", "update-binfmts": "the host's kernel",

	"update-rc.d":              "links of System V init, which no container has",
	"dpkg-trigger":             "what triggers start is done for the whole tree",
	"systemd-sysusers":         "accounts are made from all sysusers.d files",
	"systemd-tmpfiles":         "all tmpfiles.d files are applied",
	"ldconfig":                 "ld.so.cache is made for the whole tree",
	"update-shells":            "/etc/shells is made for the whole tree",
	"update-ca-certificates":   "the bundle is made for the whole tree",
	"pam-auth-update":          "pam.d/common-* are made for the whole tree",
	"dpkg-maintscript-helper":  "moves files of earlier versions",
	"ucfr":                     "its register serves upgrades",
	"update-passwd":            "accounts start from the master files",
	"shadowconfig":             "passwords are shadowed for the whole tree",
	"py3compile":               "byte code is a cache that Python does without",
	"journalctl":               "the message catalogue is a cache",
	"systemd-hwdb":             "the hardware database is a cache of hwdb.d",
	"gio-querymodules":         "a cache that GIO does without",
	"glib-compile-schemas":     "schemas are compiled by those who bring some: libglib has none",
	"install-info":             "the index of info files serves readers",
	"update-menus":             "there are no menus",
	"runit-helper":             "runit starts nothing here",
	"restorecon":               "there are no SELinux labels",
	"update-initramfs":         "the initial file system is instar's",
	"update-grub":              "boot entries are instar's",
	"depmod":                   "the order of modules follows from their own headers",
	"linux-run-hooks":          "hooks make initial file systems and boot entries, which are instar's",
	"linux-update-symlinks":    "/vmlinuz serves boot loaders that are not used",
	"dbus-uuidgen":             "a machine's name is made at its first start",
	"systemd-machine-id-setup": "a machine's name is made at its first start",
	"ssh-keygen":               "keys are secrets: made at first start, never in an image",
	"db_version":               "debconf", "db_input": "debconf", "db_go": "debconf", "db_stop": "debconf", "db_fset": "debconf",
	"db_set": "debconf", "db_metaget": "debconf", "db_capb": "debconf", "db_title": "debconf", "db_purge": "debconf",
	"db_unregister": "debconf", "db_subst": "debconf", "db_reset": "debconf", "db_settitle": "debconf",
}

// packageRules claim commands of one package by how they start, and say why:
// what they do is done by a rule for the whole tree, or is of no use in a
// container. A new command in a new version is not claimed.
var packageRules = map[string]map[string]string{
	"ca-certificates": {
		"write /etc/ca-certificates.conf": "certs writes it: every certificate of the package is enabled",
		"cat > /etc/ca-certificates.conf": "certs writes it",
		"sed -e s/^[[:space:]]*// -e":     "certs writes it", "sed -e s/^[[:space:]]*2": "certs writes it",
		"mv -f /etc/ca-certificates.conf": "certs writes it", "mv /etc/ca-certificates.conf": "certs writes it",
		"rm -f /etc/ca-certificates.conf": "certs writes it", "echo $ca >> /etc/ca-certificates.conf": "certs writes it",
		"echo !$ca >> /etc/ca-certificates.conf": "certs writes it",
		"… > /etc/ca-certificates.conf":          "certs writes it",
	},
	"openssh-server": {
		"ucf --three-way --debconf-ok":         "sshd_config is copied from /usr/share/openssh by a rule",
		"cp -aZ /usr/share/openssh":            "sshd_config is copied from /usr/share/openssh by a rule",
		"sed -i s/^#":                          "answers of debconf: the defaults change nothing",
		"/usr/sbin/sshd -G":                    "prints",
		"$sshd_path -G":                        "prints",
		"dpkg-divert --package openssh-client": "an upgrade's",
	},
	"python3.13": {"/usr/bin/python3.13 -E -S": "byte code is a cache that Python does without"},
	"python3.13-minimal": {"/usr/bin/python3.13 -E -S": "byte code is a cache that Python does without",
		"$filt": "filters"},
	"python3":              {"$hook ": "byte code is a cache that Python does without"},
	"base-passwd":          {"cp /usr/share/base-passwd/": "accounts start from the master files", "cat > /etc/passwd": "accounts start from the master files", "cat > /etc/group": "accounts start from the master files"},
	"libpam-modules":       {"perl -nle": "reads", "pam-auth-update --remove": "an upgrade's"},
	"tzdata":               {"ln -nsf /usr/share/zoneinfo/Etc/UTC /etc/localtime": "/etc/localtime is made by a rule", "mv -f /etc/localtime.dpkg-new": "/etc/localtime is made by a rule"},
	"libc6":                {"perl -e": "reads LD_LIBRARY_PATH"},
	"libpam-runtime":       {"rm -f /etc/pam.d/common-": "copies of an earlier version"},
	"login.defs":           {"mv /etc/login.defs.dpkg-bak": "an upgrade's"},
	"ucf":                  {"cp -f /var/lib/ucf/hashfile": "keeps the register of an earlier version"},
	"initramfs-tools-core": {"sed /^###/d /usr/share/initramfs-tools/modules": "the initial file system is instar's"},
	"libglib2.0-0t64":      {"rm -f -v $old_postrm": "an upgrade's"},
	"dpkg":                 {"ln -s /usr/sbin/start-stop-daemon": "/sbin is /usr/sbin"},
}

// claimed reports whether a rule of the package claims the command.
func claimed(pkg, text string) bool {
	for start := range packageRules[pkg] {
		if strings.HasPrefix(text, start) {
			return true
		}
	}
	return false
}

func (m *machine) leave(c *call) truth {
	m.left = true
	if n := c.name(); n == "exit" {
		m.vars[exitMark] = literal("1")
	}
	if a := c.arg(1); a != "" && a != "0" {
		return no
	}
	return yes
}

func (m *machine) variables(c *call) truth {
	switch c.name() {
	case "shift":
		if len(m.args) > 0 {
			m.args = m.args[1:]
		}
		return yes
	case "read":
		for _, w := range c.operands() {
			m.vars[w] = open("$" + w)
		}
		return unknown
	}
	for _, w := range c.words[1:] {
		name, v, set := strings.Cut(w.s, "=")
		switch {
		case c.name() == "unset":
			delete(m.vars, name)
		case set:
			m.vars[name] = value{v, w.known, w.later}
		case c.name() == "local":
			delete(m.vars, name)
		}
	}
	return yes
}

// find is command -v, which, and "command" itself.
func (m *machine) find(c *call) truth {
	if !c.allKnown() {
		return unknown
	}
	if c.name() == "command" && c.arg(1) != "-v" {
		return m.explain(&call{words: c.words[1:], text: c.text, out: c.out})
	}
	_, st := m.lookup(c.words[len(c.words)-1].s)
	return st
}

// sources are the libraries that scripts read commands from; they set nothing up
// that a rule does not know.
var sources = map[string]bool{"/usr/share/debconf/confmodule": true, "/usr/share/dpkg/sh/dpkg-error.sh": true}

func (m *machine) source(c *call) truth {
	if sources[c.arg(1)] {
		return yes
	}
	return m.unclaimed(c)
}

func (m *machine) debconf(c *call) truth {
	v := open("$RET")
	if answer, ok := debconfDefaults[c.arg(1)]; ok {
		v = literal(answer)
	}
	m.vars["RET"] = v
	if v.known {
		return yes
	}
	return unknown
}

// debconfDefaults are the packages' own defaults of the questions that matter.
var debconfDefaults = map[string]string{
	"tzdata/Areas": "Etc", "tzdata/Zones/Etc": "UTC", "iproute2/setcaps": "false",
	"openssh-server/permit-root-login": "true", "openssh-server/password-authentication": "true",
}

// filter is sed and find, which change files with some options.
func (m *machine) filter(c *call) truth {
	for _, w := range c.words[1:] {
		if strings.HasPrefix(w.s, "-i") || w.s == "-delete" || w.s == "-exec" || w.s == "-execdir" {
			return m.unclaimed(c)
		}
	}
	if !harmlessTarget(c.out) {
		return m.unclaimed(c)
	}
	return unknown
}

func (m *machine) dpkg(c *call) truth {
	if c.arg(1) == "--compare-versions" {
		args := c.words[2:]
		if len(args) > 0 && args[0].s == "--" {
			args = args[1:]
		}
		if len(args) == 3 {
			return compareVersions(args[0], args[1].s, args[2])
		}
		if len(args) == 2 { // the version of a fresh installation, unquoted
			return compareVersions(literal(""), args[0].s, args[1])
		}
		return unknown
	}
	switch c.arg(1) {
	case "-s", "-L", "-S", "-l", "--print-architecture", "--assert-multi-arch":
		return unknown
	}
	return m.unclaimed(c)
}

// divert: a fresh tree has no diversions. Those that scripts add as an aid to
// moving files into /usr divert paths that no package of the merged tree brings.
func (m *machine) divert(c *call) truth {
	for i, w := range c.words {
		switch w.s {
		case "--truename", "--listpackage", "--list", "--remove":
			return no
		case "--divert":
			if strings.HasSuffix(c.arg(i+1), ".usr-is-merged") {
				return yes
			}
		}
	}
	return m.unclaimed(c)
}
