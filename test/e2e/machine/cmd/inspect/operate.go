package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// stand says what the kernel was told about it, and waits for its end.
func stand([]string) error {
	for _, file := range []string{"/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/self/oom_score_adj"} {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		fmt.Printf("%s %s\n", file, strings.TrimSpace(string(b)))
	}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM)
	<-ends
	return nil
}

// devour uses so many MiB of memory.
func devour(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var all [][]byte
	for range n {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	fmt.Printf("%d MiB\n", len(all))
	return nil
}

// repeat answers its input with its environment's WORD before it, and ends with
// exit code 7.
func repeat([]string) error {
	fmt.Print(os.Getenv("WORD"))
	if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "repeated")
	os.Exit(7)
	return nil
}

// terminal tells the size of its terminal.
func terminal([]string) error {
	var size struct{ rows, cols, x, y uint16 }
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return errno
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0) // there is a controlling terminal
	if err != nil {
		return err
	}
	name, err := os.Readlink("/proc/self/fd/0")
	fmt.Fprintf(tty, "terminal %s\n", name)
	return err
}
