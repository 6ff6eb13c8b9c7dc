package uki

import (
	"fmt"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// Command returns the kernel command line of a configuration, as it stands in
// the system's image.
func Command(m *system.Manifest, sys digest.Digest, configuration string) (string, error) {
	all, err := profiles(m, sys)
	if err != nil {
		return "", err
	}
	for _, p := range all {
		if p.ID == configuration {
			return p.Command, nil
		}
	}
	return "", fmt.Errorf("the system has no configuration %q", configuration)
}
