package assemble

import (
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
)

// dataOf resolves the data of a container that runs as a user.
func dataOf(d config.Data, user account) system.Data {
	out := system.Data{
		Path: d.Path, Version: d.Version, Mode: uint32(d.Mode), UID: user.UID, GID: user.GID, Shared: d.Scope == "machine",
		Size:      int64(d.Size),
		Snapshots: system.Snapshots{Keep: d.Snapshots.Keep, Budget: int64(d.Snapshots.Budget)},
	}
	if d.OnOlder == "restore" {
		out.OnOlder = system.RestoreOlder
	}
	return out
}
