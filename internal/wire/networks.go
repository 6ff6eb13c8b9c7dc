package wire

// NetworkStatus is one network of the configuration that runs.
type NetworkStatus struct {
	Name      string          `json:"name"`
	Type      string          `json:"type"`
	State     string          `json:"state"` // up, down
	Detail    string          `json:"detail,omitempty"`
	Gateway   []string        `json:"gateway,omitempty"` // the machine's addresses, CIDR
	Members   []NetworkMember `json:"members"`
	Published []NetworkPort   `json:"published,omitempty"`
}

// NetworkMember is a container on a network.
type NetworkMember struct {
	Container string   `json:"container"`
	Interface string   `json:"interface"` // in the container
	MAC       string   `json:"mac,omitempty"`
	Addresses []string `json:"addresses"`
}

// NetworkPort is a published port.
type NetworkPort struct {
	MachinePort uint16 `json:"machinePort"`
	Protocol    string `json:"protocol"`
	On          string `json:"on,omitempty"` // "": all interfaces of the machine
	Container   string `json:"container"`
	Port        uint16 `json:"port"`
}
