package assemble

import (
	"errors"
	"fmt"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/system"
)

// own gives the containers of a configuration the devices that are declared
// for them, beside those of their CDI files, which are in the containers
// already. What two containers could claim is an error.
func own(c *system.Configuration, declared []config.Device) error {
	type claim struct {
		container string
		d         system.Device
	}
	var all []claim
	for i := range c.Containers {
		ct := &c.Containers[i]
		ct.Devices = append([]system.Device(nil), ct.Devices...) // a configuration's own
		for _, d := range declared {
			if d.Container == ct.Name {
				ct.Devices = append(ct.Devices, device(d))
			}
		}
		for _, d := range ct.Devices {
			all = append(all, claim{ct.Name, d})
		}
	}
	var errs []error
	for i, a := range all {
		for _, b := range all[:i] {
			switch {
			case a.container == b.container && a.d.To == b.d.To:
				errs = append(errs, fmt.Errorf("container %s: devices %s and %s are both at %s", a.container, b.d.Name, a.d.Name, a.d.To))
			case a.container != b.container && !config.DeviceMatch(b.d.Match).Disjoint(config.DeviceMatch(a.d.Match)):
				errs = append(errs, fmt.Errorf("one device could be both %s of container %s and %s of container %s", b.d.Name, b.container, a.d.Name, a.container))
			}
		}
	}
	return errors.Join(errs...)
}

func device(d config.Device) system.Device {
	return system.Device{Name: d.Name, Match: deviceMatch(d.Match), To: d.To, Access: d.Access, Required: d.Required}
}

func deviceMatch(of config.DeviceMatch) system.DeviceMatch {
	m := system.DeviceMatch(of)
	m.Vendor, m.Product = plainID(m.Vendor), plainID(m.Product)
	return m
}

func plainID(id string) string { return strings.TrimPrefix(strings.ToLower(id), "0x") }
