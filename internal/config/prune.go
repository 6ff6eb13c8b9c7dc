package config

// keeps reports keep where nothing is left out.
func (c *checker) keeps(path string) {
	if c.has(join(path, "keep")) && !c.has(join(path, "prune")) && !c.has(join(path, "recorded")) {
		c.wrong(join(path, "keep"), "stands without prune", "keep only takes back what prune removes")
	}
}

// locatedRules notes where what is left out and kept stands.
func locatedRules(def *Definition, places map[string]place) {
	lines := func(path string, n int) []string {
		var out []string
		for i := range n {
			out = append(out, places[index(path, i)].key.Short())
		}
		return out
	}
	def.PruneAt, def.KeepAt = lines("prune", len(def.Prune)), lines("keep", len(def.Keep))
	for name, t := range def.Trees {
		at := join("trees", name)
		t.PruneAt, t.KeepAt = lines(at+".prune", len(t.Prune)), lines(at+".keep", len(t.Keep))
		def.Trees[name] = t
	}
	for name, ct := range def.Containers {
		at := join("containers", name)
		ct.PruneAt, ct.KeepAt = lines(at+".prune", len(ct.Prune)), lines(at+".keep", len(ct.Keep))
		ct.RecordedAt = places[at+".recorded"].key.Short()
		def.Containers[name] = ct
	}
}
