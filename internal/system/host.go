package system

// Userland is a root file system with an init of its own, which runs the machine;
// the containers of its configuration are units of it.
type Userland struct {
	Image Object `json:"image"`           // EROFS image in the store's images directory
	Init  string `json:"init"`            // path in the image
	Kept  bool   `json:"kept,omitempty"`  // writes to the root go to the data partition, not to memory
	Agent string `json:"agent,omitempty"` // address of instar-agent; "": it does not run
}

// Where instar's own programs are in a host's image.
const (
	HostInit  = "usr/lib/instar/instar-init"
	HostAgent = "usr/lib/instar/instar-agent"
)
