package system

// OnOlder says what happens when data was written by a newer version than the
// container declares.
type OnOlder string

// The answers to data of a newer version.
const (
	RefuseOlder  OnOlder = ""        // the container does not start
	RestoreOlder OnOlder = "restore" // from the newest snapshot that it understands
)

// Snapshots says which former states of data are kept.
type Snapshots struct {
	Keep   int   `json:"keep,omitempty"`   // how many; 0 is 1
	Budget int64 `json:"budget,omitempty"` // bytes of all; 0: no limit
}
