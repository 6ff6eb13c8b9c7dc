package system

// Device is a device node of the machine that a container owns.
type Device struct {
	Name     string      `json:"name"`
	Match    DeviceMatch `json:"match"`
	To       string      `json:"to"`                 // path of the node in the container, below /dev
	Access   string      `json:"access"`             // r, rw or rwm
	Required bool        `json:"required,omitempty"` // the container does not start without it
}

// DeviceMatch selects a device by what sysfs tells about it; all that is set
// must hold. Driver, Vendor, Product and Serial are those of the nearest device
// that has them, on the way from the node's own to the machine.
type DeviceMatch struct {
	Subsystem  string            `json:"subsystem,omitempty"`
	Driver     string            `json:"driver,omitempty"`
	Vendor     string            `json:"vendor,omitempty"`  // as "1546": lower case, without 0x
	Product    string            `json:"product,omitempty"` // as "01a7"
	Serial     string            `json:"serial,omitempty"`
	Path       string            `json:"path,omitempty"`       // end of the path of the device, or of one it hangs on
	Name       string            `json:"name,omitempty"`       // kernel name, as a path.Match pattern
	Attributes map[string]string `json:"attributes,omitempty"` // files of the device's directory
}
