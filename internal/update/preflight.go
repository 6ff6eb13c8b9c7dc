package update

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/system"
)

// headProblems finds what the head alone shows.
func (r *receiver) headProblems() []Problem {
	var all []Problem
	if _, ok := r.baseDigest(); !ok && !r.u.Complete() {
		var names []string
		for _, b := range r.u.Bases {
			names = append(names, b.Short())
		}
		all = append(all, Problem{NoBase, fmt.Sprintf("it begins at system %s, and this machine has %s", strings.Join(names, " or "), r.env.runningName()), true})
	}
	return append(all, r.env.unfit(&r.u.Head)...)
}

// unfit finds why a system is none for a machine that runs another.
func (env *Env) unfit(h *delta.Head) []Problem {
	if env.Running.IsZero() {
		return nil
	}
	var all []Problem
	if h.Target == env.Running {
		all = append(all, Problem{Same, fmt.Sprintf("system %s runs already", h.Target.Short()), false})
	}
	m, err := env.Store.System(env.Running)
	if err != nil {
		return append(all, Problem{NoBase, fmt.Sprintf("what runs cannot be read: %v", err), true})
	}
	if h.Machine != m.Machine || h.Arch != m.Arch {
		all = append(all, Problem{ForAnother, fmt.Sprintf("it is for %s on %s, this is %s on %s", h.Machine, h.Arch, m.Machine, m.Arch), true})
	}
	if h.Epoch < m.Epoch {
		all = append(all, Problem{Older, fmt.Sprintf("its inputs are from %s, those of what runs from %s", day(h.Epoch), day(m.Epoch)), false})
	}
	return all
}

func (env *Env) runningName() string {
	if env.Running.IsZero() {
		return "none of them"
	}
	return "system " + env.Running.Short()
}

// problems finds what the manifest and the device's state show.
func (r *receiver) problems() []Problem {
	var all []Problem
	if p := r.space(); p != nil {
		all = append(all, *p)
	}
	for _, o := range bootParts(r.manifest) {
		if !r.hasPart(o) {
			all = append(all, Problem{NoPart, fmt.Sprintf("boot part %s is neither in it nor in a slot", o.Digest.Short()), true})
		}
	}
	if r.env.Preflight != nil {
		all = append(all, r.env.Preflight(r.manifest, r.u.Target)...)
	}
	return all
}

// hasPart reports whether a boot part is in the update or in a slot.
func (r *receiver) hasPart(o system.Object) bool {
	comes := func(o system.Object) bool {
		return slices.ContainsFunc(r.u.Entries, func(e delta.Entry) bool { return e.Kind == delta.Part && e.Digest == o.Digest })
	}
	if k := r.manifest.Kernel; comes(o) || slices.Contains(k.Parts(), o) && comes(k.Image) {
		return true
	}
	return r.env.Part == nil || r.inSlot(r.manifest, o)
}

// Costs on the store's file system beside contents, in bytes.
const (
	block      = 4096
	perContent = 512     // inode, directory entry
	overhead   = 1 << 20 // directories, journal
)

// onDisk is what a content takes at most.
func onDisk(size int64) int64 { return (size+block-1)/block*block + perContent }

// space compares what will be written with what is free.
func (r *receiver) space() *Problem {
	need, free, err := r.room()
	return r.env.spaceProblem(need, free, err)
}

func (env *Env) spaceProblem(need, free int64, err error) *Problem {
	if err != nil {
		return &Problem{NoSpace, fmt.Sprintf("the free space cannot be known: %v", err), true}
	}
	if env.Free != nil && need > free {
		return &Problem{NoSpace, fmt.Sprintf("it needs %d bytes in the store, %d are free; instar gc may free some", need, free), true}
	}
	return nil
}

// room returns how many bytes will be written to the store at most, and how
// many are free. The spool holds the largest stream, and a piece before and
// behind it.
func (r *receiver) room() (need, free int64, err error) {
	need = overhead + r.scratch(r.manifest)
	var spool int64
	for _, s := range r.u.Streams {
		if r.there(s) {
			continue
		}
		spool = max(spool, s.Stored+2*r.u.PieceSize)
		for _, e := range r.u.Contents(s) {
			need += onDisk(e.Size)
		}
	}
	if info, err := os.Stat(r.dir + "/" + spoolFile); err == nil {
		spool -= min(spool, info.Size())
	}
	if r.env.Free != nil {
		free, err = r.env.Free()
	}
	return need + spool, free, err
}
