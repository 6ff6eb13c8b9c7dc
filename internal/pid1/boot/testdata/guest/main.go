// Command guest is what the containers of the tests run.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	switch mode := os.Args[1]; mode {
	case "serve":
		serve(os.Args[2])
	case "once":
		host, _ := os.Hostname()
		resolv, _ := os.ReadFile("/etc/resolv.conf")
		fmt.Printf("once on %s with %q\n", host, strings.TrimSpace(string(resolv)))
	case "count":
		// Counts its starts in a file that lasts.
		b, _ := os.ReadFile("/data/count")
		if err := os.WriteFile("/data/count", append(b, 'x'), 0o644); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Printf("start %d\n", len(b)+1)
		wait()
	case "crash":
		fmt.Fprintln(os.Stderr, "crashing")
		os.Exit(3)
	case "orphans":
		// Children that outlive their parent become the container's.
		for range 5 {
			if err := exec.Command("/bin/guest", "parent").Run(); err != nil {
				fmt.Println(err)
			}
		}
		wait()
	case "parent":
		c := exec.Command("/bin/guest", "nap")
		if err := c.Start(); err != nil {
			fmt.Println(err)
		}
	case "reopen":
		f, err := os.OpenFile("/dev/stdout", os.O_WRONLY, 0)
		fmt.Fprintln(f, "by its name", err)
		time.Sleep(time.Hour)
	case "nap":
		time.Sleep(50 * time.Millisecond)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Hour)
	case "check":
		if _, err := os.Stat("/tmp/ready"); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "talk":
		talk()
	case "panic":
		panic("as asked")
	}
}

func wait() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
	fmt.Println("bye")
}

func serve(address string) {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	go func() {
		time.Sleep(100 * time.Millisecond)
		if err := os.WriteFile("/tmp/ready", nil, 0o644); err != nil {
			fmt.Println(err)
		}
		fmt.Println(http.ListenAndServe(address, nil))
		os.Exit(1)
	}()
	fmt.Println("serving")
	wait()
}
