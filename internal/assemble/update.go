package assemble

import (
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
)

func update(def *config.Definition) *system.Update {
	if len(def.Update.Keys) == 0 {
		return nil
	}
	return &system.Update{Keys: def.Update.Keys}
}
