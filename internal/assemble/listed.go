package assemble

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/kernel"
)

// withListed returns the definition with the modules of its listing among those
// that it adds.
func (b *Builder) withListed(def *config.Definition) (*config.Definition, error) {
	file := def.Kernel.Modules.Listed
	if file == "" {
		return def, nil
	}
	text, err := os.ReadFile(filepath.Join(b.Dir, filepath.FromSlash(file)))
	if err != nil {
		return nil, fmt.Errorf("kernel.modules.listed: %w", err)
	}
	names, err := kernel.ParseListing(text)
	if err != nil {
		return nil, fmt.Errorf("kernel.modules.listed: %s: %w", file, err)
	}
	out := *def
	out.Kernel.Modules.Add = append(slices.Clone(def.Kernel.Modules.Add), names...)
	return &out, nil
}
