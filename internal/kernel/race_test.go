//go:build race

package kernel

// raceEnabled leaves out what takes minutes with the race detector and has one
// goroutine; scripts/test runs it without.
const raceEnabled = true
