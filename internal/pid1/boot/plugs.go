package boot

import (
	"context"
	"os"

	"github.com/instar-os/instar/internal/pid1/devices"
)

// watchDevices looks for the devices of the configuration's containers and
// follows them as they come and go.
func (m *machine) watchDevices() error {
	root, err := os.OpenRoot("/sys")
	if err != nil {
		return err
	}
	m.devices = &devices.Watcher{Sysfs: root.FS(), Log: m.log.Printf}
	m.devices.Use(m.configuration)
	watcher := m.devices
	m.serving(func(ctx context.Context) error {
		defer root.Close()
		return watcher.Run(ctx)
	}, "the devices")
	return nil
}
