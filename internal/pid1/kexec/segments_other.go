//go:build !arm64

package kexec

import (
	"errors"
	"os"
)

// loadSegments is for arm64.
func loadSegments(kernel, initrd *os.File, command string) error {
	return errors.New("this kernel has no kexec_file_load")
}
