//go:build tools

// Package validation pins the programs that opencontainers validates runtimes with.
package validation

import (
	_ "github.com/opencontainers/runtime-tools/validation/util"
)
