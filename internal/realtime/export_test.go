package realtime

// What the simulation needs to know of a declaration's meaning.

func Due(t *Task) Time { return t.due() }
