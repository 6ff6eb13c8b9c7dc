// Command init is the first process of the machine that the tests of package vm
// start: it greets, repeats what the console says, answers the control port,
// and powers the machine off when asked.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	for dir, fstype := range map[string]string{"/sys": "sysfs", "/dev": "devtmpfs", "/proc": "proc"} {
		os.Mkdir(dir, 0o755)
		if err := unix.Mount(fstype, dir, fstype, 0, ""); err != nil {
			fmt.Println("mount", dir, err)
		}
	}
	args, _ := os.ReadFile("/proc/cmdline")
	fmt.Printf("hello from init: %s", args)
	if strings.Contains(string(args), "test.reboot") {
		unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}
	go echo()
	serve()
}

// echo repeats lines of the console.
func echo() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Printf("echo <%s>\n", in.Text())
	}
}

// serve answers requests on the control port: poweroff ends the machine, all
// others get a status that is healthy from the second time on.
func serve() {
	port, err := openPort()
	if err != nil {
		fmt.Println("control port:", err)
		select {}
	}
	fmt.Println("control port is open")
	in := bufio.NewScanner(port)
	asked := 0
	for in.Scan() {
		if in.Text() == "" {
			continue
		}
		var r struct{ ID, Method string }
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			fmt.Println("bad request:", err)
			continue
		}
		switch r.Method {
		case "status":
			asked++
			fmt.Fprintf(port, `{"id":%q,"result":{"machine":"test","healthy":%v,"containers":[{"name":"a","state":"starting"}]}}`+"\n", r.ID, asked > 1)
		case "poweroff":
			fmt.Fprintf(port, `{"id":%q}`+"\n", r.ID)
			unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		case "silence":
		default:
			fmt.Fprintf(port, `{"id":%q,"error":"no method %s"}`+"\n", r.ID, r.Method)
		}
	}
	select {}
}

// openPort finds the port by its name in sysfs.
func openPort() (*os.File, error) {
	names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
	for _, n := range names {
		if b, _ := os.ReadFile(n); strings.TrimSpace(string(b)) == "org.instar.control" {
			return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(n)), os.O_RDWR, 0)
		}
	}
	return nil, fmt.Errorf("none of %d ports has its name", len(names))
}
