package boot

import (
	"context"
	"os"

	"github.com/instar-os/instar/internal/pid1/devices"
	"github.com/instar-os/instar/internal/system"
)

// watchDevices looks for the devices of the configuration's containers and
// follows them as they come and go.
func (m *machine) watchDevices() error {
	root, err := os.OpenRoot("/sys")
	if err != nil {
		return err
	}
	m.devices = &devices.Watcher{Sysfs: root.FS(), Log: m.log.Printf}
	m.devices.Use(m.owners())
	watcher := m.devices
	m.serving(func(ctx context.Context) error {
		defer root.Close()
		return watcher.Run(ctx)
	}, "the devices")
	return nil
}

// owners returns the configuration whose containers own the devices. A unit of a
// host follows those of all, so that each unit comes to the same owners.
func (m *machine) owners() *system.Configuration {
	if m.whole != nil {
		return m.whole
	}
	return m.configuration
}
