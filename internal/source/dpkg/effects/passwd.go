package effects

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/tree"
)

// accounts is the content of /etc/passwd and /etc/group, in their order.
type accounts struct {
	users  []passwd
	groups []group
}

type passwd struct {
	name                 string
	uid, gid             uint32
	comment, home, shell string
}

type group struct {
	name    string
	gid     uint32
	members []string
}

func (a *accounts) uid(name string) (uint32, bool) {
	for _, u := range a.users {
		if u.name == name {
			return u.uid, true
		}
	}
	return numeric(name)
}

func (a *accounts) gid(name string) (uint32, bool) {
	for _, g := range a.groups {
		if g.name == name {
			return g.gid, true
		}
	}
	return numeric(name)
}

func numeric(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// The master files of package base-passwd, and the accounts that stand where it
// is not among the packages.
const (
	passwdMaster  = "usr/share/base-passwd/passwd.master"
	groupMaster   = "usr/share/base-passwd/group.master"
	passwdMinimal = "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	groupMinimal  = "root:*:0:\nshadow:*:42:\nnogroup:*:65534:\n"
)

// baseAccounts reads the accounts that every tree starts from.
func baseAccounts(read func(p string) ([]byte, error)) *accounts {
	users, err := read(passwdMaster)
	if err != nil {
		users = []byte(passwdMinimal)
	}
	groups, err := read(groupMaster)
	if err != nil {
		groups = []byte(groupMinimal)
	}
	return parseAccounts(string(users), string(groups))
}

// parseAccounts reads passwd(5) and group(5); lines that are neither are left out.
func parseAccounts(users, groups string) *accounts {
	a := &accounts{}
	for line := range strings.SplitSeq(users, "\n") {
		f := strings.Split(line, ":")
		if len(f) != 7 {
			continue
		}
		uid, ok1 := numeric(f[2])
		gid, ok2 := numeric(f[3])
		if ok1 && ok2 && validName(f[0]) {
			a.users = append(a.users, passwd{f[0], uid, gid, f[4], f[5], f[6]})
		}
	}
	for line := range strings.SplitSeq(groups, "\n") {
		f := strings.Split(line, ":")
		if len(f) != 4 {
			continue
		}
		if gid, ok := numeric(f[2]); ok && validName(f[0]) {
			a.groups = append(a.groups, group{f[0], gid, strings.FieldsFunc(f[3], func(r rune) bool { return r == ',' })})
		}
	}
	return a
}

// create adds what packages ask for, with the numbers of the lock.
func (a *accounts) create(w *wants, users lock.Users) error {
	slices.SortStableFunc(w.accounts, func(x, y account) int { return strings.Compare(x.name, y.name) })
	for _, r := range w.accounts {
		if _, ok := a.gid(r.name); r.user || ok {
			continue
		}
		gid, ok := chosen(r, users.GIDs)
		if !ok {
			return fmt.Errorf("group %s of %s has no number in the lock", r.name, r.owner)
		}
		a.groups = append(a.groups, group{name: r.name, gid: gid})
	}
	for _, r := range w.accounts {
		if _, ok := a.uid(r.name); !r.user || ok {
			continue
		}
		uid, ok := chosen(r, users.UIDs)
		if !ok {
			return fmt.Errorf("user %s of %s has no number in the lock", r.name, r.owner)
		}
		gid := uint32(r.gid)
		if r.gid < 0 {
			name := r.group
			if name == "" {
				name = r.name
			}
			if gid, ok = a.gid(name); !ok {
				return fmt.Errorf("user %s of %s: there is no group %s", r.name, r.owner, name)
			}
		}
		a.users = append(a.users, passwd{r.name, uid, gid, r.comment, r.home, r.shell})
	}
	return a.join(w.members)
}

func chosen(r account, numbers map[string]uint32) (uint32, bool) {
	if r.id >= 0 {
		return uint32(r.id), true
	}
	n, ok := numbers[r.name]
	return n, ok
}

func (a *accounts) join(members []member) error {
	for _, m := range members {
		i := slices.IndexFunc(a.groups, func(g group) bool { return g.name == m.group })
		if i < 0 {
			return fmt.Errorf("user %s: there is no group %s", m.user, m.group)
		}
		if !slices.Contains(a.groups[i].members, m.user) {
			a.groups[i].members = append(a.groups[i].members, m.user)
			slices.Sort(a.groups[i].members)
		}
	}
	return nil
}

// write makes passwd, group and their shadow files; every password is locked.
func (a *accounts) write(w *world) error {
	var users, shadow, groups, gshadow strings.Builder
	day := w.epoch / 86400
	for _, u := range a.users {
		fmt.Fprintf(&users, "%s:x:%d:%d:%s:%s:%s\n", u.name, u.uid, u.gid, clean(u.comment), clean(u.home), clean(u.shell))
		fmt.Fprintf(&shadow, "%s:*:%d:0:99999:7:::\n", u.name, day)
	}
	for _, g := range a.groups {
		members := strings.Join(g.members, ",")
		fmt.Fprintf(&groups, "%s:x:%d:%s\n", g.name, g.gid, members)
		fmt.Fprintf(&gshadow, "%s:*::%s\n", g.name, members)
	}
	shadowGroup, _ := a.gid("shadow")
	for _, f := range []struct {
		name, content string
		mode          uint16
		gid           uint32
	}{
		{"etc/passwd", users.String(), 0o644, 0}, {"etc/group", groups.String(), 0o644, 0},
		{"etc/shadow", shadow.String(), 0o640, shadowGroup}, {"etc/gshadow", gshadow.String(), 0o640, shadowGroup},
		{"etc/subuid", "", 0o644, 0}, {"etc/subgid", "", 0o644, 0},
	} {
		if err := w.write(f.name, []byte(f.content), f.mode); err != nil {
			return err
		}
		if err := w.change(f.name, func(e *tree.Entry) { e.GID = f.gid }); err != nil {
			return err
		}
	}
	return nil
}

// clean removes what would end a field or line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ':' || r < ' ' {
			return -1
		}
		return r
	}, s)
}

// homes makes the home directories that adduser would make.
func (a *accounts) homes(w *world, all []account) error {
	for _, r := range all {
		if !r.mkHome || w.has(r.home) {
			continue
		}
		if err := w.mkdir(r.home, 0o755); err != nil {
			return err
		}
		if err := w.chown(r.home, r.name); err != nil {
			return err
		}
	}
	return nil
}
