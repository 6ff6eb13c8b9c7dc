package assemble

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/vm"
)

// A mke2fs of the host that is too old is refused before anything is written.
func TestHostTools(t *testing.T) {
	for says, bad := range map[string]string{
		"mke2fs 1.47.2 (1-Jan-2025)": "",
		"mke2fs 1.48 (1-Jan-2026)":   "",
		"mke2fs 2.0.0":               "",
		"mke2fs 1.47.0 (5-Feb-2023)": "has mke2fs 1.47.0; 1.47.2 is needed",
		"something else":             "does not say its version",
	} {
		dir := t.TempDir()
		program := fmt.Sprintf("#!/bin/sh\necho '%s' >&2\n", says)
		if err := os.WriteFile(filepath.Join(dir, "mke2fs"), []byte(program), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":/bin:/usr/bin")
		err := checkMke2fs(t.Context(), vm.Tools{})
		if (err == nil) != (bad == "") || (err != nil && !strings.Contains(err.Error(), bad)) {
			t.Errorf("%s: %v, want %q", says, err, bad)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if err := checkMke2fs(t.Context(), vm.Tools{}); err == nil {
		t.Error("a host without mke2fs is accepted")
	}
}
