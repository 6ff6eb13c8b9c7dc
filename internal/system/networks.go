package system

// Networks are the networks of a configuration.
type Networks struct {
	Program Object    `json:"program"` // what makes them, compiled: wiring.Decode
	List    []Network `json:"list"`    // in order of name; for plans and status
}

// NetworkType says what a network is made of.
type NetworkType string

// The types of networks.
const (
	PointToPoint NetworkType = "point-to-point" // a cable between two ends
	Bridge       NetworkType = "bridge"         // every member reaches every other
	Macvlan      NetworkType = "macvlan"        // members on the network of a machine's interface
	Move         NetworkType = "move"           // a device of the machine, handed to its only member
)

// Network is one network, everything resolved.
type Network struct {
	Name       string      `json:"name"` // also of the interface at the machine's end, where there is one
	Type       NetworkType `json:"type"`
	Members    []Member    `json:"members"`              // in order of container
	Gateway    []string    `json:"gateway,omitempty"`    // the machine's addresses on it, CIDR
	MAC        string      `json:"mac,omitempty"`        // of the machine's end
	Masquerade bool        `json:"masquerade,omitempty"` // members reach what the machine's interfaces reach
	Published  []Published `json:"published,omitempty"`
	Over       string      `json:"over,omitempty"`    // the machine's interface; for Macvlan
	Match      Match       `json:"match,omitzero"`    // the device; for Move
	Routers    []string    `json:"routers,omitempty"` // default gateways out there; for Macvlan and Move
	MTU        int         `json:"mtu,omitempty"`     // 0: the kernel's
}

// Member is a container's interface on a network.
type Member struct {
	Container string   `json:"container"`
	Interface string   `json:"interface"` // its name in the container
	MAC       string   `json:"mac,omitempty"`
	Addresses []string `json:"addresses"` // CIDR
}

// Joined is an interface of a container on one of its configuration's networks.
type Joined struct {
	Network   string   `json:"network"`
	Name      string   `json:"name"` // in the container
	MAC       string   `json:"mac,omitempty"`
	Addresses []string `json:"addresses"`
}

// Published is a port of a member that is reachable at the machine.
type Published struct {
	Container   string `json:"container"`
	Port        uint16 `json:"port"`
	MachinePort uint16 `json:"machinePort"`
	On          string `json:"on,omitempty"` // the machine's interface; "": all that are declared
	Protocol    string `json:"protocol"`     // tcp, udp
}

// Host is a name that a container knows.
type Host struct {
	Address string   `json:"address"`
	Names   []string `json:"names"`
}
