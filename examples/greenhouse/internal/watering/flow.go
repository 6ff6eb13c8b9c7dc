package watering

// Flow regulates a valve's position so that the flow through it is what is
// wanted. A step always takes the same work and allocates nothing: it is the job
// of a task that must be in time.
type Flow struct {
	history  [64]float64 // of measured flows, a ring
	next     int
	integral float64
}

// The regulator's gains: a slow pump behind a fast valve.
const (
	proportional = 0.4
	integrating  = 0.05
)

// Step takes a measured flow and returns the valve's position, 0 to 1.
func (f *Flow) Step(want, measured float64) float64 {
	f.history[f.next] = measured
	f.next = (f.next + 1) % len(f.history)
	mean := 0.0
	for i := range f.history { // the newest count most
		age := (f.next - 1 - i + 2*len(f.history)) % len(f.history)
		mean += f.history[i] * float64(len(f.history)-age)
	}
	mean /= float64(len(f.history) * (len(f.history) + 1) / 2)
	miss := want - mean
	f.integral = min(max(f.integral+integrating*miss, 0), 1)
	return min(max(f.integral+proportional*miss, 0), 1)
}
