package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// LoadModules loads every file of a directory in order of name and returns
// their names. A module that is loaded or built in already is no error. It
// stops at the first that fails.
func LoadModules(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing kernel modules: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	for i, name := range names {
		if err := LoadModule(filepath.Join(dir, name)); err != nil {
			return names[:i], err
		}
	}
	return names, nil
}

// LoadModule loads one uncompressed module.
func LoadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("loading kernel module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("loading kernel module %s: %w", path, err)
	}
	return nil
}
