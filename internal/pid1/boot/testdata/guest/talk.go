package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// talk answers lines, USR1 and changes of the terminal's size.
func talk() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGWINCH)
	go func() {
		for s := range signals {
			if s == syscall.SIGUSR1 {
				fmt.Println("usr1")
				continue
			}
			if w, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
				fmt.Println("size", w.Row, w.Col)
			}
		}
	}()
	name, err := os.Readlink("/proc/self/fd/0")
	foreground, ioctl := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	fmt.Println("talking on", name, err, ioctl == nil && foreground == os.Getpid())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println("got", lines.Text())
		fmt.Fprintln(os.Stderr, "aside")
	}
	fmt.Println("end of input")
	os.Exit(6)
}
