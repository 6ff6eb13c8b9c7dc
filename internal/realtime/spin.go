package realtime

// Spinning bounds waits for resources that tasks of several processors lock (the
// multiprocessor stack resource policy: Gai, Lipari, Di Natale 2001): who waits
// for one, or holds it, is not preempted, and waits are served in the order of
// their arrival. Resources of one processor are under immediate ceilings. A job
// enters each of its sections once.
const Spinning Protocol = "spin"

// prepared returns the set with what its processors share worked out.
func (s *Set) prepared() *Set {
	if s.Protocol != Spinning {
		return s
	}
	with := *s
	with.shared = s.spread()
	return &with
}

// spread returns for each resource that several processors lock the longest
// section on each of them.
func (s *Set) spread() map[string]map[int]Time {
	all := map[string]map[int]Time{}
	for i := range s.Tasks {
		t := &s.Tasks[i]
		for _, c := range t.Sections {
			if all[c.Resource] == nil {
				all[c.Resource] = map[int]Time{}
			}
			all[c.Resource][t.CPU] = max(all[c.Resource][t.CPU], c.Length)
		}
	}
	for r, by := range all {
		if len(by) < 2 {
			delete(all, r)
		}
	}
	return all
}

// spin is the longest wait for a resource from a processor: one section of each
// other one.
func (s *Set) spin(resource string, cpu int) Time {
	var sum Time
	for other, length := range s.shared[resource] {
		if other != cpu {
			sum = add(sum, length)
		}
	}
	return sum
}

// spins is what a job waits in all: once for each of its sections.
func (s *Set) spins(t *Task) Time {
	var sum Time
	for _, c := range t.Sections {
		sum = add(sum, s.spin(c.Resource, t.CPU))
	}
	return sum
}

// stuck is the longest time without preemption that a task's sections of shared
// resources make.
func (s *Set) stuck(t *Task) Time {
	var most Time
	for _, c := range t.Sections {
		if s.shared[c.Resource] != nil {
			most = max(most, add(c.Length, s.spin(c.Resource, t.CPU)))
		}
	}
	return most
}
