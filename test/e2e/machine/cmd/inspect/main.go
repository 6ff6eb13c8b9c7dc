// Command inspect is the only program of the inspected machine.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: inspect report|serve|count|stumble|alone|touch|watch|meter|gauge|reach|stash|own|forge|stand|devour|repeat|terminal|plugs|ok"))
	}
	acts := map[string]func([]string) error{
		"report": report, "serve": serve, "count": count, "stumble": stumble,
		"alone": alone, "touch": touch, "watch": watch, "meter": meter, "gauge": gauge, "reach": reach, "stash": stash, "own": own, "forge": forge, "ok": func([]string) error { return nil },
		"stand": stand, "devour": devour, "repeat": repeat, "terminal": terminal, "converse": converse, "plugs": plugs,
		"nap": func([]string) error { time.Sleep(200 * time.Millisecond); return nil },
	}
	act, ok := acts[os.Args[1]]
	if !ok {
		fail(fmt.Errorf("no act %q", os.Args[1]))
	}
	if err := act(os.Args[2:]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "inspect:", err)
	os.Exit(1)
}

// Seen is what report prints.
type Seen struct {
	PID        int               `json:"pid"`
	UID        int               `json:"uid"`
	GID        int               `json:"gid"`
	Groups     []int             `json:"groups"`
	Dir        string            `json:"dir"`
	Env        map[string]string `json:"env"`
	Hostname   string            `json:"hostname"`
	Status     map[string]string `json:"status"` // of /proc/self/status
	Interfaces []string          `json:"interfaces"`
	NoFile     uint64            `json:"nofile"`
	RootWrite  string            `json:"rootWrite"` // the error of writing to /
	TmpWrite   string            `json:"tmpWrite"`
	Kcore      int               `json:"kcore"` // bytes that can be read of /proc/kcore
	Devices    []string          `json:"devices"`
	Mounts     []string          `json:"mounts"` // mount points
	Cgroup     string            `json:"cgroup"`
	UIDMap     string            `json:"uidMap"` // of /proc/self/uid_map
	Mknod      string            `json:"mknod"`
	Mount      string            `json:"mount"`
}

func report([]string) error {
	s := Seen{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(), Env: map[string]string{}, Status: map[string]string{}}
	s.Groups, _ = os.Getgroups()
	s.Dir, _ = os.Getwd()
	s.Hostname, _ = os.Hostname()
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		s.Env[k] = v
	}
	lines("/proc/self/status", func(l string) {
		k, v, _ := strings.Cut(l, ":")
		s.Status[k] = strings.TrimSpace(v)
	})
	lines("/proc/self/mountinfo", func(l string) {
		if f := strings.Fields(l); len(f) > 4 {
			s.Mounts = append(s.Mounts, f[4])
		}
	})
	lines("/proc/self/uid_map", func(l string) { s.UIDMap = strings.Join(strings.Fields(l), " ") })
	lines("/proc/self/cgroup", func(l string) { s.Cgroup = l })
	ifs, _ := net.Interfaces()
	for _, i := range ifs {
		s.Interfaces = append(s.Interfaces, i.Name)
	}
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) == nil {
		s.NoFile = lim.Max
	}
	s.RootWrite = text(os.WriteFile("/new", nil, 0o600))
	s.TmpWrite = text(os.WriteFile("/tmp/new", nil, 0o600))
	kcore, _ := os.ReadFile("/proc/kcore")
	s.Kcore = len(kcore)
	names, _ := os.ReadDir("/dev")
	for _, n := range names {
		s.Devices = append(s.Devices, n.Name())
	}
	s.Mknod = text(syscall.Mknod("/tmp/null", syscall.S_IFCHR|0o666, 1<<8|3))
	s.Mount = text(syscall.Mount("none", "/tmp", "tmpfs", 0, ""))
	return json.NewEncoder(os.Stdout).Encode(s)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func lines(path string, do func(string)) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		do(s.Text())
	}
}

func serve(args []string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	go func() {
		<-stop
		fmt.Println("asked to stop")
		l.Close()
	}()
	err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
		fmt.Fprintf(w, "inspected on %s", release)
	}))
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// add adds one to the number in a file and returns it.
func add(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	n++
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, n); err != nil {
		return 0, err
	}
	return n, f.Sync()
}

func count(args []string) error {
	n, err := add(args[0])
	if err != nil {
		return err
	}
	fmt.Println("start", n)
	return nil
}

// stumble fails the given number of times after each boot, then stands.
func stumble(args []string) error {
	falls, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	n, err := add(args[0])
	if err != nil {
		return err
	}
	if n%(falls+1) != 0 {
		return fmt.Errorf("fall %d", n)
	}
	if err := touch([]string{"/run/standing"}); err != nil {
		return err
	}
	fmt.Println("standing")
	return forever()
}

func touch(args []string) error { return os.WriteFile(args[0], nil, 0o600) }

// alone succeeds when nobody answers at an address that another container has.
func alone(args []string) error {
	if _, err := os.Stat("/run/prepared"); err != nil {
		return fmt.Errorf("prepare did not run in this sandbox: %w", err)
	}
	c, err := net.DialTimeout("tcp", args[0], 2*time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("%s answers in a container without network", args[0])
	}
	fmt.Println("alone:", err)
	return nil
}

func watch([]string) error {
	c, err := net.Dial("unix", "/run/instar/control.sock")
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, `{"id":"1","method":"status"}`); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	fmt.Println("supervisor says", len(answer), "bytes")
	return forever()
}

func forever() error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	return nil
}
