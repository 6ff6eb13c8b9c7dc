// Command probe is what the tests run in containers: it tells what it sees.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Report is what probe sees of itself and its container.
type Report struct {
	PID, PPID, UID, GID int
	Groups              []int
	Status              map[string]string // /proc/self/status
	Hostname, Dir       string
	Env                 []string
	Interfaces          map[string]bool   // up or not
	Mounts              map[string]string // mount point: options and type
	Limits              map[int][2]uint64
	OOM                 string
	Cgroup              string
	Processes           []string
	FDs                 []string
	Files               map[string]string // content, or the error
	Umask               int
	Devices             []string          // what is in /dev
	Owners              map[string]string // of the files asked for
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("no command"))
	}
	args := os.Args[2:]
	for i := 0; os.Getpid() == 2 && read("/proc/1/comm") != "init\n" && i < 1000; i++ {
		time.Sleep(time.Millisecond) // the first process executes its program after us
	}
	switch os.Args[1] {
	case "report":
		must(json.NewEncoder(os.Stdout).Encode(report(args)))
	case "stay": // reports, and stays to be looked at
		must(json.NewEncoder(os.Stdout).Encode(report(args)))
		time.Sleep(time.Hour)
	case "exit":
		n, err := strconv.Atoi(args[0])
		must(err)
		os.Exit(n)
	case "write":
		must(os.WriteFile(args[0], []byte(args[1]), 0o644))
	case "print":
		b, err := os.ReadFile(args[0])
		must(err)
		os.Stdout.Write(b)
		os.Stderr.WriteString("to stderr")
	case "sleep":
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "term":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("ready")
		<-c
		os.Exit(42)
	case "orphans": // makes processes whose parents end before them
		n, err := strconv.Atoi(args[0])
		must(err)
		for range n {
			must(exec.Command("/bin/probe", "parent").Run())
		}
		for range 500 {
			procs, err := filepath.Glob("/proc/[0-9]*")
			must(err)
			if len(procs) <= 2 {
				fmt.Println("reaped")
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		fail(fmt.Errorf("orphans are left"))
	case "parent":
		must(exec.Command("/bin/probe", "exit", "0").Start())
	case "heed": // says which signals come
		c := make(chan os.Signal, 64)
		signal.Notify(c)
		fmt.Println("ready")
		for sig := range c {
			if sig == syscall.SIGTERM {
				return
			}
			if sig != syscall.SIGURG { // the Go runtime's own
				fmt.Println(int(sig.(syscall.Signal)))
			}
		}
	case "die":
		signal.Reset()
		must(syscall.Kill(os.Getpid(), syscall.SIGKILL))
		time.Sleep(time.Hour)
	case "eat":
		n, err := strconv.Atoi(args[0])
		must(err)
		b := make([]byte, n)
		for i := 0; i < n; i += 4096 {
			b[i] = 1
		}
	case "listen":
		l, err := net.Listen("tcp", args[0])
		must(err)
		must(l.Close())
	case "mknod": // of a character device
		major, err := strconv.Atoi(args[1])
		must(err)
		minor, err := strconv.Atoi(args[2])
		must(err)
		must(syscall.Mknod(args[0], syscall.S_IFCHR|0o600, major<<8|minor))
	case "open": // for reading and writing
		f, err := os.OpenFile(args[0], os.O_RDWR, 0)
		must(err)
		must(f.Close())
	case "mount":
		must(syscall.Mount("none", "/tmp", "tmpfs", 0, ""))
	case "calls":
		must(json.NewEncoder(os.Stdout).Encode(calls()))
	}
}

func must(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// calls tries system calls that a container should not have, and some it should.
func calls() map[string]int {
	try := func(nr uintptr, a, b, c uintptr) int {
		_, _, errno := syscall.Syscall(nr, a, b, c)
		return int(errno)
	}
	return map[string]int{
		"unshare user": try(syscall.SYS_UNSHARE, syscall.CLONE_NEWUSER, 0, 0),
		"AF_ALG":       try(syscall.SYS_SOCKET, 38, syscall.SOCK_DGRAM, 0),
		"AF_UNIX":      try(syscall.SYS_SOCKET, syscall.AF_UNIX, syscall.SOCK_DGRAM, 0),
		"clone3":       try(435, 0, 0, 0),
		"mount":        try(syscall.SYS_MOUNT, 0, 0, 0),
		"future":       try(599, 0, 0, 0),
		"personality":  try(syscall.SYS_PERSONALITY, 0xffffffff, 0, 0),
		"keyctl":       try(syscall.SYS_KEYCTL, 0, 0, 0),
	}
}

func report(files []string) Report {
	r := Report{PID: os.Getpid(), PPID: os.Getppid(), UID: os.Getuid(), GID: os.Getgid(), Env: os.Environ(),
		Status: map[string]string{}, Interfaces: map[string]bool{}, Mounts: map[string]string{},
		Limits: map[int][2]uint64{}, Files: map[string]string{}}
	var limit syscall.Rlimit
	for i := range 16 {
		if syscall.Getrlimit(i, &limit) == nil {
			r.Limits[i] = [2]uint64{limit.Cur, limit.Max}
		}
	}
	r.Groups, _ = os.Getgroups()
	r.Hostname, _ = os.Hostname()
	r.Dir, _ = os.Getwd()
	r.Umask = syscall.Umask(0)
	for _, line := range strings.Split(read("/proc/self/status"), "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok {
			r.Status[k] = strings.TrimSpace(v)
		}
	}
	list, _ := net.Interfaces()
	for _, i := range list {
		r.Interfaces[i.Name] = i.Flags&net.FlagUp != 0
	}
	for _, line := range strings.Split(read("/proc/self/mountinfo"), "\n") {
		if f := strings.Fields(line); len(f) > 8 {
			i := 6
			for f[i] != "-" {
				i++
			}
			r.Mounts[f[4]] = f[5] + " " + f[i+1] + " " + f[i+3]
		}
	}
	r.OOM = strings.TrimSpace(read("/proc/self/oom_score_adj"))
	r.Cgroup = strings.TrimSpace(read("/proc/self/cgroup"))
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		if _, err := strconv.Atoi(p.Name()); err == nil {
			r.Processes = append(r.Processes, p.Name())
		}
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		target, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil {
			r.FDs = append(r.FDs, fd.Name()+" "+target)
		}
	}
	r.Owners = map[string]string{}
	for _, f := range files {
		r.Files[f] = read(f)
		var st syscall.Stat_t
		if syscall.Stat(f, &st) == nil {
			r.Owners[f] = fmt.Sprint(st.Uid, ":", st.Gid)
		}
	}
	devices, _ := os.ReadDir("/dev")
	for _, d := range devices {
		r.Devices = append(r.Devices, d.Name())
	}
	return r
}

func read(path string) string {
	if i, err := os.Stat(path); err == nil && i.IsDir() {
		list, err := os.ReadDir(path)
		return fmt.Sprint(len(list), " entries ", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
