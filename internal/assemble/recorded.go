package assemble

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/observe"
	"github.com/instar-os/instar/internal/prune"
	"github.com/instar-os/instar/internal/recording"
	"github.com/instar-os/instar/internal/tree"
)

// recordedFile is the recording that a container names for an architecture.
func recordedFile(c config.Container, arch string) string {
	if len(c.Recorded) == 0 {
		return ""
	}
	return c.Recorded.For(arch)
}

// maxMissing is how many paths an error lists.
const maxMissing = 5

// keepRecorded leaves out of a container's root what its recording has not seen
// used and nothing that stays needs.
func (b *Builder) keepRecorded(root *tree.Tree, name string, c config.Container, arch string) (prune.Gone, error) {
	file := recordedFile(c, arch)
	text, err := os.ReadFile(filepath.Join(b.Dir, filepath.FromSlash(file)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no %s; instar record %s writes it", c.RecordedAt, file, name)
	}
	if err != nil {
		return nil, err
	}
	r, err := recording.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w; instar record %s writes it anew", c.RecordedAt, file, err, name)
	}
	entries, exact := r.For(arch)
	use := prune.Use{Keep: rules(c.Keep, c.KeepAt), Spare: declared, Rule: prune.Rule{Text: "recorded: " + file, At: c.RecordedAt}}
	for _, e := range entries {
		use.Paths = append(use.Paths, e.Path)
	}
	commands := append([][]string{c.Command}, c.Prepare...)
	if c.Health != nil {
		commands = append(commands, c.Health.Exec)
	}
	for _, command := range commands {
		if len(command) > 0 {
			use.Paths = append(use.Paths, strings.Trim(command[0], "/"))
		}
	}
	if exact && r.Tree != contentName(root) {
		b.notes = append(b.notes, fmt.Sprintf("container %s: its trees have changed since %s was recorded; instar record %s records them anew", name, file, name))
	}
	gone, missing, unused, err := prune.KeepUsed(root, use, b.files(), searchPaths(c.Env))
	if err != nil {
		return nil, err
	}
	if len(c.Prune) == 0 { // else they have been judged there
		if err := meaningless(unused, arch); err != nil {
			return nil, err
		}
	}
	if len(missing) > 0 && exact {
		return nil, gonePaths(c, file, name, missing)
	}
	return gone, nil
}

func gonePaths(c config.Container, file, name string, missing []string) error {
	shown := missing
	more := ""
	if len(missing) > maxMissing {
		shown, more = missing[:maxMissing], fmt.Sprintf(" and %d more", len(missing)-maxMissing)
	}
	return fmt.Errorf("%s: %s names /%s%s, which its trees do not have any more; instar record %s records them anew",
		c.RecordedAt, file, strings.Join(shown, ", /"), more, name)
}

// declared reports what a recording does not reduce: files that the definition itself
// brings, and store paths of Nix, which are whole or damaged.
func declared(p string, e tree.Entry) bool {
	return strings.HasPrefix(e.Owner, "tree ") || strings.HasPrefix(p, "nix/store/")
}

// contentName is the SHA-256 of what a tree's paths lead to, whatever its times
// and owners, without what a recording does not reduce.
func contentName(t *tree.Tree) string {
	h := sha256.New()
	for p, e := range t.All() {
		if declared(p, e) {
			continue
		}
		fmt.Fprintf(h, "%q %v %o %s %q\n", p, e.Kind, e.Mode, e.Digest, e.Target)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Record makes a recording of what was seen of a container's files. The Builder
// has made the container's system before, Unrecorded.
func (b *Builder) Record(def *config.Definition, arch, name string, res *Result, seen map[string]observe.Seen) (*recording.Recording, error) {
	c := def.Containers[name]
	root := tree.New()
	for _, t := range c.Trees {
		if err := root.Merge(res.Trees[t], tree.LastWins); err != nil {
			return nil, err
		}
	}
	if len(c.Prune) > 0 {
		if _, _, err := prune.Apply(root, rules(c.Prune, c.PruneAt), rules(c.Keep, c.KeepAt), prune.Everything); err != nil {
			return nil, err
		}
	}
	r := &recording.Recording{Container: name, Arch: arch, Tree: contentName(root)}
	links := prune.Links(root)
	for p, s := range seen {
		clean, err := tree.Clean(p)
		if err != nil {
			return nil, err
		}
		e, ok := root.Inode(clean)
		if !ok || clean == tree.Root {
			continue // made while it ran, or mounted there
		}
		entry := recording.Entry{Kind: recording.File, Path: prune.Alias(links, clean)}
		switch {
		case e.Kind == tree.Dir:
			entry.Kind = recording.Dir
		case s.Executed:
			entry.Kind = recording.Program
		}
		r.Entries = append(r.Entries, entry)
	}
	return r, nil
}
