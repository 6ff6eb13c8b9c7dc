// Package examples_test keeps the example machines in order.
package examples_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/config"
)

// patches are files that are laid over a machine of their directory.
var patches = map[string]string{"greenhouse/rt.yaml": "instar.yaml"}

// Every definition is accepted, and names no file that is missing.
func TestDefinitions(t *testing.T) {
	names, err := filepath.Glob("*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range names {
		if filepath.Base(name) == "common.yaml" {
			continue // a part of others
		}
		seen++
		t.Run(name, func(t *testing.T) {
			machine, over := filepath.Base(name), []string(nil)
			if under, ok := patches[name]; ok {
				machine, over = under, []string{machine}
			}
			file, err := config.Read(os.DirFS(filepath.Dir(name)), machine, over...)
			if err != nil {
				t.Fatal(err)
			}
			checkPaths(t, filepath.Dir(name), file)
		})
	}
	if seen < 4 {
		t.Errorf("%d definitions, want those of three examples", seen)
	}
}

// checkPaths looks for what trees are made of. Programs are built by `make
// examples` from the folder of their name.
func checkPaths(t *testing.T, dir string, file *config.File) {
	t.Helper()
	for name, tree := range file.Definition.Trees {
		for arch, p := range tree.Path {
			if strings.HasPrefix(p, "bin/") {
				if want := filepath.Join("bin", arch, filepath.Base(p)); p != want {
					t.Errorf("tree %s: path %s for %s, want %s", name, p, arch, want)
				}
				p = filepath.Join("cmd", filepath.Base(p), "main.go")
			}
			if _, err := os.Stat(filepath.Join(dir, p)); err != nil {
				t.Errorf("tree %s: %v", name, err)
			}
		}
	}
}
