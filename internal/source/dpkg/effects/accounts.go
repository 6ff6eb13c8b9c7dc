package effects

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/lock"
)

// Numbers that Debian leaves for accounts that packages create on the machine
// (Debian policy, 9.2.2).
const (
	firstSystem = 100
	lastSystem  = 999
	nogroup     = 65534
)

// account is a user or group that packages ask for.
type account struct {
	name    string
	user    bool
	id      int64  // fixed number, or -1
	group   string // of a user: its primary group; "" for one of the same name
	gid     int64  // of a user: fixed number of the primary group, or -1
	comment string
	home    string
	shell   string
	mkHome  bool
	owner   string // who asks
}

// member says that a user belongs to a group besides its own.
type member struct{ user, group string }

// getent is decided by the accounts of the tree.
func (m *machine) getent(c *call) truth {
	args := c.operands()
	if len(args) < 2 || m.world == nil {
		return later
	}
	ok := false
	switch args[0] {
	case "passwd":
		_, ok = m.world.accounts.uid(args[1])
	case "group":
		_, ok = m.world.accounts.gid(args[1])
	}
	return boolTruth(ok)
}

// valued are the options of adduser and shadow's tools that take a value.
var valued = map[string]string{
	"--home": "home", "--shell": "shell", "--ingroup": "group", "--gid": "gid", "--uid": "uid", "--gecos": "comment", "--comment": "comment",
	"-d": "home", "-s": "shell", "-g": "gid", "-u": "uid", "-c": "comment", "-G": "groups", "--home-dir": "home", "--groups": "groups",
	"--firstuid": "", "--lastuid": "", "--conf": "", "-K": "", "--key": "",
}

// account is adduser, addgroup, useradd or groupadd. With a tree the account is
// there already: all are made before scripts are followed.
func (m *machine) account(c *call) truth {
	if !c.allKnown() {
		return m.unclaimed(c)
	}
	opts, flags, names := map[string]string{}, map[string]bool{}, []string(nil)
	for i := 1; i < len(c.words); i++ {
		s := c.words[i].s
		name, v, joined := strings.Cut(s, "=")
		switch key, takes := valued[name]; {
		case takes && joined:
			opts[key] = v
		case takes:
			i++
			opts[key] = c.arg(i)
		case strings.HasPrefix(s, "-"):
			flags[s] = true
		default:
			names = append(names, s)
		}
	}
	if len(names) == 0 || len(names) > 2 || !validName(names[0]) {
		return m.unclaimed(c)
	}
	if m.wants == nil {
		return yes
	}
	if len(names) == 2 {
		m.wants.members = append(m.wants.members, member{names[0], names[1]})
		return yes
	}
	m.wants.add(request(c.name(), names[0], opts, flags, m.pkg.String()))
	for g := range strings.SplitSeq(opts["groups"], ",") {
		if g != "" {
			m.wants.members = append(m.wants.members, member{names[0], g})
		}
	}
	return yes
}

func request(tool, name string, opts map[string]string, flags map[string]bool, owner string) account {
	a := account{name: name, id: -1, gid: -1, owner: owner}
	if tool == "addgroup" || tool == "groupadd" || tool == "adduser" && flags["--group"] && !flags["--system"] {
		a.id = number(opts["gid"])
		return a
	}
	a.user, a.id, a.comment = true, number(opts["uid"]), opts["comment"]
	a.home, a.shell = cmp.Or(opts["home"], "/nonexistent"), cmp.Or(opts["shell"], "/usr/sbin/nologin")
	a.mkHome = tool == "adduser" && !flags["--no-create-home"] && a.home != "/nonexistent" || flags["-m"] || flags["--create-home"]
	switch {
	case opts["group"] != "":
		a.group = opts["group"]
	case opts["gid"] != "":
		if a.gid = number(opts["gid"]); a.gid < 0 {
			a.group = opts["gid"]
		}
	case tool == "adduser" && !flags["--group"] || flags["-N"] || flags["--no-user-group"]:
		a.gid = nogroup
	}
	return a
}

func number(s string) int64 {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return int64(n)
	}
	return -1
}

// validName accepts what fits a line of /etc/passwd.
func validName(s string) bool {
	if s == "" || len(s) > 32 || s[0] == '-' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !(r == '_' || r == '-' || r == '.' || r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z')
	}) < 0
}

// wants is what packages ask for.
type wants struct {
	accounts     []account
	members      []member
	alternatives []alternative
	units        []unitWant
}

// add keeps the first request of a name and kind.
func (w *wants) add(a account) {
	if a.user && a.group == "" && a.gid < 0 {
		w.add(account{name: a.name, id: -1, gid: -1, owner: a.owner})
	}
	for i, o := range w.accounts {
		if o.name == a.name && o.user == a.user {
			if o.id < 0 {
				w.accounts[i].id = a.id
			}
			return
		}
	}
	w.accounts = append(w.accounts, a)
}

// allocate gives numbers to the accounts that have none: those that have holds,
// then the first number that no user and no group has, in the order of names.
// have grows and is returned.
func allocate(all []account, static *accounts, have lock.Users) (lock.Users, error) {
	have = lock.Users{UIDs: orEmpty(maps.Clone(have.UIDs)), GIDs: orEmpty(maps.Clone(have.GIDs))}
	taken := map[uint32]bool{}
	for _, m := range []map[string]uint32{have.UIDs, have.GIDs} {
		for _, n := range m {
			taken[n] = true
		}
	}
	for _, a := range all {
		if a.id >= 0 {
			taken[uint32(a.id)] = true
		}
	}
	for _, u := range static.users {
		taken[u.uid] = true
	}
	for _, g := range static.groups {
		taken[g.gid] = true
	}
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b account) int { return strings.Compare(a.name, b.name) })
	for _, a := range sorted {
		if err := number1(a, static, have, taken); err != nil {
			return have, err
		}
	}
	return have, nil
}

func orEmpty(m map[string]uint32) map[string]uint32 {
	if m == nil {
		return map[string]uint32{}
	}
	return m
}

// number1 fixes the number of one account.
func number1(a account, static *accounts, have lock.Users, taken map[uint32]bool) error {
	mine, other := have.GIDs, have.UIDs
	_, there := static.gid(a.name)
	if a.user {
		mine, other = other, mine
		_, there = static.uid(a.name)
	}
	if _, ok := mine[a.name]; ok || there || a.id >= 0 {
		return nil
	}
	if n, ok := other[a.name]; ok { // user and group of a name share their number
		mine[a.name] = n
		return nil
	}
	for n := uint32(firstSystem); n <= lastSystem; n++ {
		if !taken[n] {
			mine[a.name], taken[n] = n, true
			return nil
		}
	}
	return fmt.Errorf("no number from %d to %d is left for %s, which %s asks for", firstSystem, lastSystem, a.name, a.owner)
}
