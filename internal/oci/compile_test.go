package oci

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// world is the machine of tests: /src is a directory, /srcfile a file.
func world(view string) *facts {
	f := &facts{arch: "amd64", bundle: "/bundle", rootfs: "/bundle/rootfs",
		host: func(p string) kind {
			switch p {
			case "/src", "/proc/acpi", "/bundle/relative":
				return directory
			case "/srcfile", "/proc/kcore":
				return other
			}
			return missing
		},
		inRoot: func(p string) kind {
			if p == "/" || p == "/proc" || p == "/dev" {
				return directory
			}
			return missing
		}}
	switch view {
	case "v1":
		f.cgroup = &cgroups{[]hierarchy{{name: "pids", mount: "/sys/fs/cgroup/pids", controllers: "pids", dir: "/sys/fs/cgroup/pids/x"},
			{name: "cpu,cpuacct", mount: "/sys/fs/cgroup/cpu,cpuacct", controllers: "cpu,cpuacct", aliases: []string{"cpuacct"}, dir: "/sys/fs/cgroup/cpu,cpuacct/x"}}}
	case "v2":
		f.cgroup = &cgroups{[]hierarchy{{name: "cgroup", mount: "/sys/fs/cgroup", dir: "/sys/fs/cgroup/x"}}}
	}
	return f
}

// config is a small container with something changed: JSON that is merged into it.
func config(t *testing.T, change string) (*Config, error) {
	t.Helper()
	c := &Config{}
	base := `{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["/true"], "user": {"uid": 0, "gid": 0}},
	  "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "ipc"}]}}`
	for _, text := range []string{base, change} {
		if err := json.Unmarshal([]byte(text), c); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return parse(b)
}

// TestCompile changes one thing of a container and looks for the operations
// that it brings, in order. "!" is one that must not be there.
func TestCompile(t *testing.T) {
	for _, row := range []struct {
		name, view, change string
		want               []string
	}{
		{"namespaces", "", `{}`, []string{"clone flags 0x2c020000", "mount(0, \"/\", 0, 0x84000"}},
		{"join", "", `{"linux": {"namespaces": [{"type": "mount"}, {"type": "network", "path": "/run/netns/a"}]}}`,
			[]string{"clone flags 0x20000", `openat(-100, "/run/netns/a"`, "joining the network namespace", "!bringing lo up"}},
		{"network", "", `{"linux": {"namespaces": [{"type": "mount"}, {"type": "network"}]}}`, []string{"clone flags 0x40020000", "bringing lo up"}},
		{"user namespace", "", `{"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}], "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 10}]}}`,
			[]string{"clone flags 0x10020000", "reporting stage n", "waiting after stage n", "becoming the namespace's group 0", "becoming the namespace's user 0",
				"# making /dev/null", "# taking /dev/null", "!mknodat(-100, \"/dev/null\", 8630"}},
		{"time", "", `{"linux": {"namespaces": [{"type": "mount"}, {"type": "time"}], "timeOffsets": {"monotonic": {"secs": 5}}}}`,
			[]string{"unshare(128)", "writing monotonic 5 0 to /proc/self/timens_offsets"}},
		{"names", "", `{"hostname": "h", "domainname": "d"}`, []string{`sethostname("h", 1)`, `setdomainname("d", 1)`}},
		{"sysctl", "", `{"linux": {"sysctl": {"net.ipv4.ip_forward": "1", "kernel/a.b": "2"}}}`,
			[]string{"/proc/sys/kernel/a.b", "/proc/sys/net/ipv4/ip_forward", "changing to /bundle/rootfs"}},
		{"cgroups v1", "v1", `{}`, []string{`"/sys/fs/cgroup/pids/x/tasks"`, `"/sys/fs/cgroup/cpu,cpuacct/x/tasks"`, `mount(0, "/", 0`}},
		{"cgroups v2", "v2", `{"linux": {"namespaces": [{"type": "mount"}, {"type": "cgroup"}]}}`, []string{"!cgroup.procs", "!/tasks", "unshare(0x2000000)"}},
		{"root", "", `{"root": {"path": "rootfs", "readonly": true}}`, []string{`open_tree(-100, "/bundle/rootfs", 0x88001)`, `chroot(".")`, `chroot(".")`,
			`pivot_root(".", ".")`, `umount2(".", 2)`, "# making / read-only"}},
		{"bind", "", `{"mounts": [{"destination": "/a/b", "source": "/src", "options": ["rbind", "ro", "nosuid", "rprivate"]}]}`,
			[]string{`openat(-100, "/src"`, `mkdirat(-100, "/a"`, `mkdirat(-100, "/a/b"`, `open_tree(`, "mount attributes of /src", "mount attributes of /src", "mounting /a/b"}},
		{"bind of a file", "", `{"mounts": [{"destination": "/a/f", "type": "bind", "source": "/srcfile"}]}`,
			[]string{`mkdirat(-100, "/a"`, `mknodat(-100, "/a/f"`, "mounting /a/f"}},
		{"bind of the bundle", "", `{"mounts": [{"destination": "/r", "type": "bind", "source": "relative"}]}`, []string{`"/bundle/relative"`}},
		{"tmpfs", "", `{"mounts": [{"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "nodev", "size=1k", "mode=700"]}]}`,
			[]string{`mount("tmpfs", "/t", "tmpfs", 4, "size=1k,mode=700")`, `pivot_root(`, "making /t read-only"}},
		{"proc", "", `{"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}]}`, []string{"!mkdirat(-100, \"/proc\"", `mount("proc", "/proc", "proc")`}},
		{"propagation", "", `{"mounts": [{"destination": "/t", "type": "tmpfs", "options": ["rslave"]}]}`, []string{`mount(0, "/t", 0, 0x84000`}},
		{"remount", "", `{"mounts": [{"destination": "/proc", "options": ["remount", "bind", "ro"]}]}`, []string{`"/proc", 0, 0x1021`}},
		{"cgroup mount v1", "v1", `{"mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}]}`,
			[]string{`mount("tmpfs", "/sys/fs/cgroup", "tmpfs"`, "taking /sys/fs/cgroup/pids/x", `symlinkat("cpu,cpuacct", -100, "/sys/fs/cgroup/cpuacct")`, "making /sys/fs/cgroup read-only"}},
		{"cgroup mount v2", "v2", `{"linux": {"namespaces": [{"type": "mount"}, {"type": "cgroup"}]}, "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}]}`,
			[]string{`mount("cgroup", "/sys/fs/cgroup", "cgroup2", 1`}},
		{"devices", "", `{"linux": {"devices": [{"path": "/dev/x", "type": "b", "major": 7, "minor": 3, "fileMode": 384, "uid": 5}, {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]}}`,
			[]string{`mknodat(-100, "/dev/zero", 0x21b6`, `mknodat(-100, "/dev/x", 0x6180, 0x703)`, `fchownat(-100, "/dev/x", 5`, `mknodat(-100, "/dev/null"`, "!mknodat(-100, \"/dev/null\""}},
		{"host's /dev", "", `{"mounts": [{"destination": "/dev", "type": "bind", "source": "/src"}]}`, []string{"!mknodat(-100, \"/dev/zero\""}},
		{"masks", "", `{"linux": {"maskedPaths": ["/proc/acpi", "/proc/kcore"]}}`,
			[]string{`mount("tmpfs", "/proc/acpi", "tmpfs", 1`, `mount("/dev/null", "/proc/kcore", 0, 0x1000) or error 2`}},
		{"read-only paths", "", `{"linux": {"readonlyPaths": ["/proc/sys"]}}`, []string{`mount("/proc/sys", "/proc/sys", 0, 0x5000`, "making /proc/sys read-only"}},
		{"root propagation", "", `{"linux": {"rootfsPropagation": "rprivate"}}`, []string{"pivot_root", `mount(0, "/", 0, 0x44000`}},
		{"user", "", `{"process": {"user": {"uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 63}}}`,
			[]string{"setgroups(2,", "setresgid(8, 8, 8)", "setresuid(7, 7, 7)", "umask(63)", "execve"}},
		{"capabilities", "", `{"process": {"capabilities": {"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]}}}`,
			[]string{"!dropping capability 0\n", "dropping capability 1\n", "capset", "keeping capability 0\n"}},
		{"rlimits", "", `{"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}]}}`, []string{"prlimit64(0, 7,", "setresuid"}},
		{"rlimits in a user namespace", "", `{"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}]}, "linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}}`, []string{"!prlimit64"}},
		{"seccomp late", "", `{"process": {"noNewPrivileges": true}, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}`,
			[]string{"setresuid", "forbidding new privileges", "reporting stage r", "seccomp(1, 0,", "execve"}},
		{"seccomp early", "", `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}`, []string{"close_range", "seccomp(1, 0,", "setresuid", "!seccomp"}},
		{"terminal", "", `{"process": {"terminal": true, "consoleSize": {"height": 24, "width": 80}}}`,
			[]string{"setsid", `"/dev/pts/ptmx"`, "opening the terminal", "setting the terminal's size", "mounting /dev/console", "setting descriptor 2", "controlling"}},
		{"hooks", "", `{"hooks": {"prestart": [{"path": "/h"}], "createContainer": [{"path": "/h"}]}}`,
			[]string{"reporting stage n", `chroot(".")`, "reporting stage m", "pivot_root", "reporting stage r"}},
		{"working directory", "", `{"process": {"cwd": "/new/dir"}}`, []string{`mkdirat(-100, "/new/dir"`, "pivot_root", `chdir("/new/dir")`}},
		{"environment", "", `{"process": {"env": ["A=b"]}}`, []string{"execve($path, $argv, pool+"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := config(t, row.change)
			if err != nil {
				t.Fatal(err)
			}
			p, err := compile(c, world(row.view), 0)
			if err != nil {
				t.Fatal(err)
			}
			rest := p.program.String()
			for _, want := range row.want {
				if not, isNot := strings.CutPrefix(want, "!"); isNot {
					if strings.Contains(rest, not) {
						t.Errorf("%q is in\n%s", not, rest)
					}
					continue
				}
				i := strings.Index(rest, want)
				if i < 0 {
					t.Fatalf("no %q in\n%s", want, rest)
				}
				rest = rest[i+len(want):]
			}
		})
	}
}

// TestRefused lists what is no container.
func TestRefused(t *testing.T) {
	for change, want := range map[string]string{
		`{"ociVersion": ""}`:                               "ociVersion",
		`{"ociVersion": "2.0"}`:                            "2.0",
		`{"root": {"path": ""}}`:                           "root.path",
		`{"process": {"cwd": "x"}}`:                        "not absolute",
		`{"process": {"args": []}}`:                        "args",
		`{"process": {"env": ["A\u0000B"]}}`:               "NUL",
		`{"process": {"rlimits": [{"type": "RLIMIT_X"}]}}`: "rlimit",
		`{"process": {"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}}`: "more than the hard",
		`{"process": {"capabilities": {"bounding": ["CAP_X"]}}}`:                   "CAP_X",
		`{"linux": {"namespaces": [{"type": "x"}]}}`:                               "unknown type",
		`{"linux": {"namespaces": [{"type": "pid"}, {"type": "pid"}]}}`:            "two namespaces",
		`{"hostname": "h", "linux": {"namespaces": [{"type": "mount"}]}}`:          "UTS",
		`{"linux": {"uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}}`: "user namespace",
		`{"linux": {"rootfsPropagation": "ro"}}`:                                   "rootfsPropagation",
		`{"linux": {"devices": [{"path": "/dev/x", "type": "z"}]}}`:                "unknown type",
		`{"linux": {"seccomp": {"defaultAction": "X"}}}`:                           "unknown action",
		`{"mounts": [{"destination": "/x", "type": "bind", "source": "/none"}]}`:   "/none",
		`{"mounts": [{"destination": "/x", "uidMappings": [{"size": 1}]}]}`:        "ID-mapped",
		`{"hooks": {"poststop": [{"path": "x"}]}}`:                                 "not absolute",
		`{"hooks": {"poststop": [{"path": "/x", "timeout": 0}]}}`:                  "timeout",
	} {
		c, err := config(t, change)
		if err == nil {
			_, err = compile(c, world(""), 0)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something with %q", change, err, want)
		}
	}
}

func TestUnderstand(t *testing.T) {
	for name := range mountOptions {
		if m := understand(Mount{Destination: "/x", Options: []string{name}}, "/b"); m.data != "" {
			t.Errorf("%s is given to the file system", name)
		}
	}
	m := understand(Mount{Destination: "x/../y", Type: "none", Source: "s", Options: []string{"bind", "ro", "rw", "nosuid", "foo=1", "bar"}}, "/b")
	if m.at != "/y" || m.source != "/b/s" || m.flags != 4096|2 || m.data != "foo=1,bar" {
		t.Errorf("%+v", m)
	}
}

// TestDefaultConfig: what spec writes can be read and compiled.
func TestDefaultConfig(t *testing.T) {
	b, err := json.Marshal(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	c, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, DefaultConfig()) {
		t.Error("it is another one when it is read back")
	}
	if _, err := compile(c, world("v2"), 0); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	b, err := json.Marshal(DefaultConfig())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"ociVersion":"1.0.0","root":{"path":"/"},"process":{"cwd":"/","args":["x"]},"mounts":[{"destination":"..","type":"cgroup"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parse(b)
		if err != nil {
			return
		}
		p, err := compile(c, world("v1"), 0)
		if err == nil {
			if err := p.program.Check(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestFindCgroups(t *testing.T) {
	v1 := `31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`
	var got []string
	for _, h := range findCgroups(v1) {
		got = append(got, fmt.Sprint(h.name, " ", h.controllers, " ", h.aliases))
	}
	if want := []string{"cpu,cpuacct cpu,cpuacct [cpu cpuacct]", "systemd name=systemd []", "unified  []"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	list := findCgroups(v1 + "50 1 0:9 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
	if g := (&cgroups{list}); !g.unified() {
		t.Errorf("%+v", list)
	}
	for declared, want := range map[string]string{"": "/id", "a/../../b": "/b", "/x/y": "/x/y", ":p:n": "/system.slice/p-n.scope", "u.slice::n": "/u.slice/n.scope"} {
		if got := cgroupPath(declared, "id"); got != want {
			t.Errorf("cgroup path of %q is %q, want %q", declared, got, want)
		}
	}
}

// TestSettings has a value for every file that is written.
func TestSettings(t *testing.T) {
	var r Resources
	if err := json.Unmarshal([]byte(`{"memory": {"limit": 100, "reservation": 50, "swap": 150, "swappiness": 3, "disableOOMKiller": true},
	  "cpu": {"shares": 1024, "quota": 5000, "period": 10000, "cpus": "0-1", "mems": "0", "realtimePeriod": 9},
	  "pids": {"limit": 7}, "hugepageLimits": [{"pageSize": "2MB", "limit": 8}], "network": {"classID": 4},
	  "blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}], "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}]}, "unified": {"memory.high": "80"}}`), &r); err != nil {
		t.Fatal(err)
	}
	text := func(list []setting) (out []string) {
		for _, s := range list {
			out = append(out, s.file+"="+s.value)
		}
		return out
	}
	want1 := []string{"memory.limit_in_bytes=100", "memory.soft_limit_in_bytes=50", "memory.memsw.limit_in_bytes=150", "memory.swappiness=3", "memory.oom_control=1",
		"cpu.shares=1024", "cpu.cfs_period_us=10000", "cpu.cfs_quota_us=5000", "cpu.rt_period_us=9", "cpuset.cpus=0-1", "cpuset.mems=0", "pids.max=7",
		"blkio.weight=500", "blkio.weight_device=8:0 1000", "blkio.throttle.read_bps_device=8:0 9", "hugetlb.2MB.limit_in_bytes=8", "net_cls.classid=4"}
	want2 := []string{"memory.max=100", "memory.low=50", "memory.swap.max=50", "cpu.weight=39", "cpu.max=5000 10000", "cpuset.cpus=0-1", "cpuset.mems=0",
		"pids.max=7", "io.weight=4950", "io.weight=8:0 10000", "io.max=8:0 rbps=9", "hugetlb.2MB.max=8", "memory.high=80"}
	if got := text(r.v1()); !slices.Equal(got, want1) {
		t.Errorf("version 1: %q", got)
	}
	if got := text(r.v2()); !slices.Equal(got, want2) {
		t.Errorf("version 2: %q", got)
	}
}

// runDevice interprets a device program.
func runDevice(t *testing.T, p []bpfInsn, kind, access, major, minor uint32) bool {
	t.Helper()
	ctx := map[int16]uint32{0: access<<16 | kind, 4: major, 8: minor}
	var r [10]uint32
	for pc := 0; pc < len(p); pc++ {
		in := p[pc]
		dst, src := in.regs&15, in.regs>>4
		jump := false
		switch in.code {
		case bpfLoad32:
			r[dst] = ctx[in.off]
		case bpfMov32:
			r[dst] = r[src]
		case bpfMovImm:
			r[dst] = uint32(in.imm)
		case bpfAndImm:
			r[dst] &= uint32(in.imm)
		case bpfShrImm:
			r[dst] >>= uint32(in.imm)
		case bpfJeqImm:
			jump = r[dst] == uint32(in.imm)
		case bpfJneImm:
			jump = r[dst] != uint32(in.imm)
		case bpfJneReg:
			jump = r[dst] != r[src]
		case bpfExit:
			return r[0] == 1
		}
		if jump {
			pc += int(in.off)
		}
	}
	t.Fatal("ran off the end")
	return false
}

func TestDeviceRules(t *testing.T) {
	n := func(i int64) *int64 { return &i }
	rules := append([]DeviceRule{{Access: "rwm"}, {Allow: true, Type: "b", Major: n(8), Access: "r"},
		{Allow: true, Type: "c", Major: n(10), Minor: n(3)}, {Type: "c", Major: n(10), Minor: n(3), Access: "m"}}, baseRules()...)
	p := deviceProgram(rules)
	const block, char, mknod, read, write = 1, 2, 1, 2, 4
	for _, row := range []struct {
		kind, access, major, minor uint32
		want                       bool
	}{
		{char, read | write, 1, 3, true}, {char, read, 1, 1, false}, {char, mknod, 77, 7, true}, {char, mknod | read, 77, 7, false},
		{block, read, 8, 5, true}, {block, write, 8, 5, false}, {block, read | write, 8, 5, false}, {char, read, 8, 5, false},
		{char, write, 10, 3, true}, {char, write, 10, 4, false}, {char, read, 136, 9, true},
	} {
		if got := runDevice(t, p, row.kind, row.access, row.major, row.minor); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
	for want, r := range map[string]DeviceRule{"a": {}, "c 1:* rw": {Type: "c", Major: n(1), Access: "rw"}, "b *:2 rwm": {Type: "b", Major: n(-1), Minor: n(2)}} {
		if r.String() != want {
			t.Errorf("%q, want %q", r.String(), want)
		}
	}
}
