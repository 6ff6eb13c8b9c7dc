package system

// Task is a thread of a container and how it is scheduled: what is here is what
// was analysed. Times are nanoseconds.
type Task struct {
	Name     string `json:"name"`
	Thread   string `json:"thread,omitempty"` // its name, as PR_SET_NAME sets it; "": the container's first thread
	Policy   string `json:"policy"`           // deadline, fifo, rr, other
	CPU      int    `json:"cpu"`
	Priority int    `json:"priority,omitempty"` // of fifo and rr
	Runtime  int64  `json:"runtime,omitempty"`  // of deadline: what a job gets, its wcet with the kernel's overheads
	Relative int64  `json:"relative,omitempty"` // of deadline: what the kernel gets as deadline, the declared one without jitter
	Period   int64  `json:"period,omitempty"`   // or least distance of two events
	Sporadic bool   `json:"sporadic,omitempty"` // its events are not regular
	Deadline int64  `json:"deadline,omitempty"` // from its event, for the monitor
	Jitter   int64  `json:"jitter,omitempty"`   // declared, with the kernel's latency
	WCET     int64  `json:"wcet,omitempty"`     // with the kernel's overheads

	Violation *Violation `json:"violation,omitempty"` // none: it is logged
}

// Violation is what is done when a measurement contradicts the proof.
type Violation struct {
	Do    string `json:"do"` // log, restart, switch, fail
	To    string `json:"to,omitempty"`
	After int    `json:"after"` // violations until it is done
}

// RealTime is what was proven of a configuration, and what of the machine it
// rests upon.
type RealTime struct {
	Proof      Object      `json:"proof"` // JSON: the set, the report and its certificate
	Bounds     []Bound     `json:"bounds"`
	Chains     []Chain     `json:"chains,omitempty"`
	Conditions []string    `json:"conditions,omitempty"` // without which nothing is proven
	Partitions []Partition `json:"partitions,omitempty"`
	IRQs       []IRQ       `json:"irqs,omitempty"`
	House      []int       `json:"house,omitempty"` // processors of everything else; none: there is one set of processors
}

// Bound is the proven longest response time of a task.
type Bound struct {
	Task  string `json:"task"`  // CONTAINER.TASK
	Bound int64  `json:"bound"` // nanoseconds from its event to the end of the job
	Exact bool   `json:"exact,omitempty"`
}

// Chain is a path of data with its proven bound. Times are nanoseconds.
type Chain struct {
	Name     string   `json:"name"`
	Path     []string `json:"path"`               // tasks, CONTAINER.TASK
	Links    []string `json:"links,omitempty"`    // that the data goes over
	Reaction int64    `json:"reaction,omitempty"` // declared
	Age      int64    `json:"age,omitempty"`      // declared
	Bound    int64    `json:"bound"`              // proven, of both
	Source   string   `json:"source,omitempty"`   // theorem that gives the bound
}

// Partition is processors of which the kernel makes a scheduling domain of their
// own, for the containers that name it.
type Partition struct {
	Name string `json:"name"`
	CPUs []int  `json:"cpus"`
}

// IRQ says where interrupts are served. Those that match none are served by House.
type IRQ struct {
	Name     string `json:"name"` // in /proc/interrupts, a path.Match pattern
	CPUs     []int  `json:"cpus"`
	Priority int    `json:"priority,omitempty"` // of its thread; 0: the kernel's
}
