package assemble

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/tree"
)

// maxAccounts is the largest /etc/passwd or /etc/group that is read, in bytes.
const maxAccounts = 4 << 20

// objects is what reading a tree's files needs of a store.
type objects interface {
	Bytes(d digest.Digest, limit int64) ([]byte, error)
}

// An account is a line of /etc/passwd.
type account struct {
	Name string
	UID  uint32
	GID  uint32
	Home string
}

type group struct {
	gid     uint32
	members []string
}

// accounts are a container's own users and groups.
type accounts struct {
	users map[string]account
	names map[string]group
}

func readAccounts(st objects, root *tree.Tree) (accounts, error) {
	a := accounts{map[string]account{}, map[string]group{}}
	passwd, err := readFile(st, root, "etc/passwd", maxAccounts)
	if err != nil {
		return a, err
	}
	for line := range strings.Lines(string(passwd)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 7 {
			continue
		}
		uid, okU := number(f[2])
		gid, okG := number(f[3])
		if okU && okG {
			a.users[f[0]] = account{f[0], uid, gid, f[5]}
		}
	}
	groups, err := readFile(st, root, "etc/group", maxAccounts)
	if err != nil {
		return a, err
	}
	for line := range strings.Lines(string(groups)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 4 {
			continue
		}
		if gid, ok := number(f[2]); ok {
			a.names[f[0]] = group{gid, strings.FieldsFunc(f[3], func(r rune) bool { return r == ',' })}
		}
	}
	return a, nil
}

// readFile returns the content of the file at p in the tree with symlinks
// followed, nil when there is none.
func readFile(st objects, root *tree.Tree, p string, limit int64) ([]byte, error) {
	e, ok := root.Stat(p)
	if !ok || e.Kind != tree.File || e.Size == 0 {
		return nil, nil
	}
	b, err := st.Bytes(e.Digest, limit)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", p, err)
	}
	return b, nil
}

// user resolves NAME, UID or UID:GID.
func (a accounts) user(spec string) (account, error) {
	first, second, both := strings.Cut(spec, ":")
	uid, numeric := number(first)
	if !numeric {
		u, ok := a.users[spec]
		if !ok {
			return account{}, fmt.Errorf("/etc/passwd of its trees has no %q; it has %s", spec, strings.Join(slices.Sorted(maps.Keys(a.users)), ", "))
		}
		return u, nil
	}
	u := account{Name: first, UID: uid, GID: uid, Home: "/"}
	for _, name := range slices.Sorted(maps.Keys(a.users)) {
		if known := a.users[name]; known.UID == uid {
			u = known
			break
		}
	}
	if uid == 0 && u.Name == "0" {
		u.Name, u.Home = "root", "/root"
	}
	if both {
		gid, ok := number(second)
		if !ok {
			return account{}, fmt.Errorf("%q: %q is not a group number", spec, second)
		}
		u.GID = gid
	}
	return u, nil
}

// groups resolves the declared supplementary groups; nil means those that
// /etc/group lists the user in.
func (a accounts) groups(u account, declared []string) ([]uint32, error) {
	var out []uint32
	if declared == nil {
		for _, g := range a.names {
			if slices.Contains(g.members, u.Name) {
				out = append(out, g.gid)
			}
		}
	}
	for _, name := range declared {
		gid, ok := number(name)
		if g, known := a.names[name]; !ok && known {
			gid, ok = g.gid, true
		}
		if !ok {
			return nil, fmt.Errorf("/etc/group of its trees has no %q", name)
		}
		out = append(out, gid)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
