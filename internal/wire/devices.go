package wire

// The states of a device.
const (
	DevicePresent  = "present"
	DeviceMissing  = "missing"
	DeviceConflict = "conflict" // containers claim it together, and none has it
)

// DeviceStatus is a device that a container owns.
type DeviceStatus struct {
	Name      string `json:"name"`
	Container string `json:"container"`
	Path      string `json:"path"`           // of the node in the container
	Kind      string `json:"kind,omitempty"` // char, block, tty, gpio, usb
	State     string `json:"state"`
	Required  bool   `json:"required,omitempty"`
	Detail    string `json:"detail,omitempty"` // the kernel's name and number, or what is looked for
}
