package launch

// Node is a character device that every container has in its /dev.
type Node struct {
	Name         string // below /dev
	Major, Minor uint32
}

// Nodes returns the device nodes that every container has.
func Nodes() []Node {
	var out []Node
	for _, d := range devices {
		out = append(out, Node{d.name, d.major, d.minor})
	}
	return out
}
