package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// stashLimit is how much stash writes at most, in bytes.
const stashLimit = 4 << 20

// stash writes a file until nothing more can be written.
func stash(args []string) error {
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	written := 0
	for written < stashLimit && err == nil {
		var n int
		n, err = f.Write(block)
		written += n
	}
	if err == nil {
		err = f.Sync()
	}
	fmt.Printf("stashed %d KiB: %v\n", written>>10, err)
	return nil
}

// own opens its device, and fails to make a node of any other.
func own(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Println("opened", args[0])
	return nil
}

// forge makes nodes of a device that is not its own, whose number sysfs tells,
// and of one that every container has.
func forge(args []string) error {
	b, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var major, minor int
	if _, err := fmt.Sscanf(strings.TrimSpace(string(b)), "%d:%d", &major, &minor); err != nil {
		return err
	}
	if err := syscall.Mknod("/tmp/null", syscall.S_IFCHR|0o600, 1<<8|3); err != nil {
		return fmt.Errorf("the capability is not there: %w", err)
	}
	err = syscall.Mknod("/tmp/forged", syscall.S_IFCHR|0o600, major<<8|minor)
	fmt.Printf("forging %d:%d: %v\n", major, minor, err)
	if !errors.Is(err, syscall.EPERM) {
		return errors.New("a node of another's device was made")
	}
	return nil
}
