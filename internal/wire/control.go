// Package wire holds what crosses a socket between the parts of instar: the
// supervisor's control protocol.
//
// One JSON object a line, in both directions. A Request carries an ID that its
// Response repeats, so that a transport without connections (a virtio serial
// port) serves as well as a Unix socket.
package wire

import (
	"encoding/json"
	"time"
)

// Limits of the protocol, in bytes a line. Whoever receives a longer line
// drops it and answers with an error.
const (
	MaxRequest  = 64 << 10
	MaxResponse = 4 << 20
)

// The methods of the control protocol.
const (
	MethodStatus   = "status"   // no parameters; Result is a Status
	MethodLogs     = "logs"     // LogsRequest; Result is a LogsReply
	MethodStart    = "start"    // NameRequest
	MethodStop     = "stop"     // NameRequest; answers when the container has ended
	MethodRestart  = "restart"  // NameRequest
	MethodPowerOff = "poweroff" // stops all containers, then the machine (or ends `instar run`)
	MethodReboot   = "reboot"
)

// Request asks the supervisor for something.
type Request struct {
	ID     string          `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
}

// Response answers a Request. Error is empty on success.
type Response struct {
	ID     string          `json:"id"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// NameRequest names a container.
type NameRequest struct {
	Container string `json:"container"`
}

// State is where a container is in its life.
type State string

// The states of a container.
const (
	Waiting   State = "waiting"  // for containers it comes after
	Starting  State = "starting" // runs, not yet healthy
	Healthy   State = "healthy"
	Unhealthy State = "unhealthy"
	Backoff   State = "backoff" // ended, will be started again
	Stopping  State = "stopping"
	Paused    State = "paused" // its processes stand still
	Stopped   State = "stopped"
	Done      State = "done"   // a one-shot container that succeeded
	Failed    State = "failed" // ended and will not be started again
)

// Status is the state of the machine.
type Status struct {
	Machine       string            `json:"machine"`
	System        string            `json:"system"` // digest
	Configuration string            `json:"configuration"`
	Kernel        string            `json:"kernel"`
	Contained     bool              `json:"contained"`      // runs as containers on another Linux
	Host          string            `json:"host,omitempty"` // state of the init that runs the machine, as systemctl is-system-running; "": instar-init does
	Started       time.Time         `json:"started"`
	Ready         time.Duration     `json:"ready"` // kernel start to init's main, nanoseconds; 0 when contained
	Uptime        time.Duration     `json:"uptime"`
	Healthy       bool              `json:"healthy"`          // every container is healthy or done, every interface that is not optional up
	Switch        *SwitchStatus     `json:"switch,omitempty"` // the last live switch
	Trial         *TrialStatus      `json:"trial,omitempty"`  // how the boot of a device stands
	Interfaces    []InterfaceStatus `json:"interfaces"`
	Networks      []NetworkStatus   `json:"networks,omitempty"` // of the configuration
	Containers    []ContainerStatus `json:"containers"`
	Devices       []DeviceStatus    `json:"devices,omitempty"`
	Warnings      []string          `json:"warnings,omitempty"` // what could not be enforced, and why
}

// InterfaceStatus is one network interface.
type InterfaceStatus struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"` // CIDR
	State     string   `json:"state"`     // up, down, missing, configuring
	Detail    string   `json:"detail,omitempty"`
}

// ContainerStatus is one container.
type ContainerStatus struct {
	Name        string        `json:"name"`
	State       State         `json:"state"`
	PID         int           `json:"pid,omitempty"`
	Since       time.Time     `json:"since"`
	Restarts    int           `json:"restarts"`
	ExitCode    *int          `json:"exitCode,omitempty"`    // of the last end; 128+n for signal n
	Detail      string        `json:"detail,omitempty"`      // last health failure or start error
	Memory      int64         `json:"memory,omitempty"`      // bytes, when the cgroup tells
	OOMKills    int64         `json:"oomKills,omitempty"`    // processes killed for want of memory, since the machine's start
	LogsDropped int64         `json:"logsDropped,omitempty"` // lines over the container's rate, since the machine's start
	StartTime   time.Duration `json:"startTime,omitempty"`   // from decision to exec, nanoseconds
	Stdin       bool          `json:"stdin,omitempty"`       // it reads what who attaches writes
	TTY         bool          `json:"tty,omitempty"`         // its streams are a terminal
}

// LogsRequest asks for log lines after a cursor.
type LogsRequest struct {
	Container string    `json:"container"`      // "" for all; "init" for the supervisor's own
	After     uint64    `json:"after"`          // sequence number of the last line already seen; 0 from the oldest kept
	Tail      int       `json:"tail"`           // at most the last so many; 0 for no limit
	Since     time.Time `json:"since,omitzero"` // nothing older
}

// LogLine is one line of output.
type LogLine struct {
	Seq       uint64    `json:"seq"`
	Time      time.Time `json:"time"`
	Container string    `json:"container"`
	Stream    string    `json:"stream"` // stdout, stderr, init
	Text      string    `json:"text"`
}

// LogsReply holds lines in order of Seq. More says that the reply was cut at
// its size limit and a further request will bring more.
type LogsReply struct {
	Lines []LogLine `json:"lines"`
	More  bool      `json:"more,omitempty"`
}
