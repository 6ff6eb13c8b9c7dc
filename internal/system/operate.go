package system

// LogLimits bound a container's output; zero means the supervisor's default.
type LogLimits struct {
	Size int64 `json:"size,omitempty"` // bytes kept in memory
	Rate int64 `json:"rate,omitempty"` // bytes a second
}
