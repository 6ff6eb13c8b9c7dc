package realtime

// What the simulation needs to know of a declaration's meaning.

func Cost(s *Set, t *Task) Time { return s.cost(t) }
func Due(t *Task) Time          { return t.due() }
