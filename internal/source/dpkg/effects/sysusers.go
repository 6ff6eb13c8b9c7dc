package effects

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// parseSysusers reads a sysusers.d file into requests.
//
// Source of the format: sysusers.d(5). Ranges (r) are left out: numbers come
// from the lock.
func parseSysusers(text, owner string, w *wants) error {
	for i, line := range strings.Split(text, "\n") {
		f, err := splitFields(line)
		if err == nil && len(f) > 0 {
			err = sysuser(f, owner, w)
		}
		if err != nil {
			return fmt.Errorf("sysusers.d line %d: %w", i+1, err)
		}
	}
	return nil
}

func sysuser(f []string, owner string, w *wants) error {
	for len(f) < 6 {
		f = append(f, "-")
	}
	for i := range f {
		if f[i] == "-" {
			f[i] = ""
		}
	}
	name := f[1]
	if f[0] != "r" && !validName(name) {
		return fmt.Errorf("name %q", name)
	}
	switch strings.TrimSuffix(f[0], "!") {
	case "u":
		a := account{name: name, user: true, id: -1, gid: -1, comment: f[3], owner: owner,
			home: cmp.Or(f[4], "/"), shell: cmp.Or(f[5], "/usr/sbin/nologin")}
		uid, grp, split := strings.Cut(f[2], ":")
		a.id = number(uid)
		if split {
			if a.gid = number(grp); a.gid < 0 {
				a.group = grp
			}
		} else if a.id >= 0 {
			w.add(account{name: name, id: a.id, gid: -1, owner: owner})
		}
		w.add(a)
	case "g":
		w.add(account{name: name, id: number(f[2]), gid: -1, owner: owner})
	case "m":
		if !validName(f[2]) {
			return fmt.Errorf("group %q", f[2])
		}
		w.add(account{name: f[2], id: -1, gid: -1, owner: owner})
		w.members = append(w.members, member{name, f[2]})
	case "r":
	default:
		return fmt.Errorf("type %q", f[0])
	}
	return nil
}

// splitFields cuts a line of sysusers.d or tmpfiles.d: blanks, quotes, C escapes
// of a backslash; a comment has no fields.
func splitFields(line string) ([]string, error) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return nil, nil
	}
	var fields []string
	var cur strings.Builder
	quote, in := byte(0), false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && i+1 < len(line):
			i++
			in = true
			cur.WriteByte(line[i])
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, in = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if in {
				fields = append(fields, cur.String())
			}
			cur.Reset()
			in = false
		default:
			in = true
			cur.WriteByte(c)
		}
	}
	if quote != 0 {
		return nil, errors.New("a quotation is not closed")
	}
	if in {
		fields = append(fields, cur.String())
	}
	return fields, nil
}
