package config

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Device is a device of the machine that a container owns.
type Device struct {
	Name      string      `yaml:"name,required" is:"name" doc:"Name of the device, for messages." example:"gps"`
	Container string      `yaml:"container,required" is:"name" doc:"Container that owns it: no other one of the configuration can use it." example:"sampler"`
	Match     DeviceMatch `yaml:"match,required" doc:"Which device it is, by stable attributes." example:"{subsystem: tty, vendor: \"1546\", product: 01a7}"`
	To        string      `yaml:"to,required" is:"absolute" doc:"Path of its node in the container, below /dev." example:"/dev/ttyGPS"`
	Access    string      `yaml:"access" doc:"What the container may do with it: read, write, make nodes of it." enum:"r,rw,rwm" default:"rw"`
	Required  bool        `yaml:"required" doc:"The container does not start without it."`
}

// DeviceMatch selects a device that has a node; all attributes that are given
// must hold.
type DeviceMatch struct {
	Subsystem  string            `yaml:"subsystem" is:"module" doc:"Subsystem of the kernel: tty, block, gpio, usb, misc, input, …" example:"tty"`
	Driver     string            `yaml:"driver" is:"module" doc:"Kernel driver of the device, or of the nearest one that it hangs on." example:"cdc_acm"`
	Vendor     string            `yaml:"vendor" is:"text" doc:"Vendor of the nearest USB, PCI, virtio or SCSI device." example:"\"1546\""`
	Product    string            `yaml:"product" is:"text" doc:"Product of the same device." example:"01a7"`
	Serial     string            `yaml:"serial" is:"text" doc:"Serial number of the nearest device that has one."`
	Path       string            `yaml:"path" is:"text" doc:"End of the path in sysfs of the device, or of one that it hangs on: its place, as a port." example:"1-1.2:1.0"`
	Name       string            `yaml:"name" is:"glob" doc:"Kernel name, as a shell pattern. It is stable only where nothing can be plugged in." example:"gpiochip0"`
	Attributes map[string]string `yaml:"attributes" keys:"attribute" doc:"Files of the device's directory in sysfs, with their content." example:"{name: org.example.port}"`
}

// Empty reports whether no attribute is given.
func (m DeviceMatch) Empty() bool {
	return m.Subsystem == "" && m.Driver == "" && m.Vendor == "" && m.Product == "" && m.Serial == "" && m.Path == "" && m.Name == "" && len(m.Attributes) == 0
}

// Disjoint reports whether no device can match both: an attribute that a device
// has once has two values. Paths tell places apart when they are written in the
// same form: one port is not another.
func (m DeviceMatch) Disjoint(o DeviceMatch) bool {
	for _, pair := range [][2]string{{m.Subsystem, o.Subsystem}, {m.Driver, o.Driver}, {plainID(m.Vendor), plainID(o.Vendor)},
		{plainID(m.Product), plainID(o.Product)}, {m.Serial, o.Serial}} {
		if pair[0] != "" && pair[1] != "" && pair[0] != pair[1] {
			return true
		}
	}
	for k, v := range m.Attributes {
		if w, ok := o.Attributes[k]; ok && v != w {
			return true
		}
	}
	if plainName(m.Name) && plainName(o.Name) && m.Name != o.Name {
		return true
	}
	return m.Path != o.Path && m.Path != "" && o.Path != "" && shape(m.Path) == shape(o.Path)
}

// plainName reports whether a pattern is a plain name.
func plainName(s string) bool { return s != "" && !strings.ContainsAny(s, `*?[\`) }

// plainID writes an identifier as sysfs of any bus does, without 0x.
func plainID(s string) string { return strings.TrimPrefix(strings.ToLower(s), "0x") }

// shape is a path with every hexadecimal digit made the same.
func shape(p string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("0123456789abcdef", r) {
			return '0'
		}
		return r
	}, strings.Trim(p, "/"))
}

// ownNodes are names below /dev that every container has.
var ownNodes = []string{"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm", "mqueue"}

// devices checks the devices of a configuration.
func (c *checker) devices(configuration string, cfg Configuration) {
	at := join("configurations", configuration) + ".devices"
	for i, d := range cfg.Devices {
		c.device(index(at, i), d, cfg)
		for j, o := range cfg.Devices[:i] {
			switch {
			case d.Name != "" && d.Name == o.Name:
				c.wrong(index(at, i)+".name", fmt.Sprintf("there are two devices %q", d.Name), "give each a name of its own")
			case d.Container == o.Container && d.To != "" && d.To == o.To:
				c.wrong(index(at, i)+".to", fmt.Sprintf("device %s is there already", o.Name), "choose a path of its own")
			case d.Container != o.Container && !c.isBad(index(at, j)+".match") && !d.Match.Disjoint(o.Match):
				c.wrong(index(at, i)+".match", fmt.Sprintf("a device could match this and %s of container %s; a device has one owner", o.Name, o.Container),
					"tell them apart by an attribute that both give: serial, path, product, vendor")
			}
		}
	}
}

func (c *checker) device(at string, d Device, cfg Configuration) {
	if d.Container != "" && !slices.Contains(cfg.Containers, d.Container) {
		c.wrong(at+".container", fmt.Sprintf("the configuration has no container %q", d.Container), oneOf(d.Container, cfg.Containers))
	}
	switch {
	case d.Match.Empty() && !c.within(at+".match"):
		c.wrong(at+".match", "selects nothing", "give one of subsystem, driver, vendor, product, serial, path, name, attributes")
	case d.Match.Subsystem == "net":
		c.wrong(at+".match.subsystem", "a network device has no node", "declare it under network")
	}
	name, below := strings.CutPrefix(d.To, "/dev/")
	first, _, _ := strings.Cut(name, "/")
	switch {
	case d.To == "":
	case !below || path.Clean(d.To) != d.To:
		c.wrong(at+".to", d.To+" is not below /dev", "device nodes are below /dev, as /dev/ttyGPS")
	case slices.Contains(ownNodes, first):
		c.wrong(at+".to", "every container has a /dev/"+first+" of its own", "choose another name")
	}
}
