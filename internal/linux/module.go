package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// LoadModules loads every file of a directory in order of name, NNN-module.ko,
// with the parameters of its module, and returns their names. A module that is loaded or built in already is no error. It
// stops at the first that fails.
func LoadModules(dir string, parameters map[string]string) ([]string, error) {
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
		if err := LoadModule(filepath.Join(dir, name), parameters[moduleOf(name)]); err != nil {
			return names[:i], err
		}
	}
	return names, nil
}

// moduleOf returns the module of a file NNN-module.ko.
func moduleOf(file string) string {
	_, name, _ := strings.Cut(strings.TrimSuffix(file, ".ko"), "-")
	return name
}

// LoadModule loads one uncompressed module with parameters, as "a=1 b=2".
func LoadModule(path, parameters string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("loading kernel module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), parameters, 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("loading kernel module %s: %w", path, err)
	}
	return nil
}
