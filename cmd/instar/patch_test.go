package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestPatchesAreBesideTheDefinition(t *testing.T) {
	dir := t.TempDir()
	a := &app{file: filepath.Join(dir, "instar.yaml")}
	for patch, want := range map[string]string{
		"rt.yaml": "rt.yaml", "./a/../rt.yaml": "rt.yaml", filepath.Join(dir, "boards", "b.yaml"): "boards/b.yaml",
	} {
		if got, err := a.within(patch); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", patch, got, err, want)
		}
	}
	for _, patch := range []string{"../rt.yaml", filepath.Join(filepath.Dir(dir), "rt.yaml")} {
		if got, err := a.within(patch); err == nil || !strings.Contains(err.Error(), "put it there") {
			t.Errorf("%s: %q, %v; want a refusal with a remedy", patch, got, err)
		}
	}
}
