package effects

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// pamProfile is one file of /usr/share/pam-configs.
type pamProfile struct {
	name     string
	priority int
	fields   map[string][]string // lines by field, "" for the value on the field's own line
}

// pamCommon makes /etc/pam.d/common-* from the templates of libpam-runtime and
// the profiles that are on by default, as pam-auth-update does.
//
// Source: pam-auth-update(8) and its specification in Debian's wiki and Ubuntu's
// PAMConfigFrameworkSpec.
func pamCommon(w *world) error {
	if !w.has("usr/share/pam/common-auth") {
		return nil
	}
	w.owner = "PAM profiles"
	var profiles []pamProfile
	for _, name := range w.children("usr/share/pam-configs") {
		text, err := w.read("usr/share/pam-configs/" + name)
		if err != nil {
			return err
		}
		if p := parsePAM(name, string(text)); slices.Equal(p.fields["Default"], []string{"yes"}) {
			profiles = append(profiles, p)
		}
	}
	slices.SortFunc(profiles, func(a, b pamProfile) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), strings.Compare(a.name, b.name))
	})
	for _, kind := range []string{"auth", "account", "password", "session", "session-noninteractive"} {
		template, err := w.read("usr/share/pam/common-" + kind)
		if err != nil || w.has("etc/pam.d/common-"+kind) {
			continue
		}
		if err := w.write("etc/pam.d/common-"+kind, []byte(fillPAM(string(template), kind, profiles)), 0o644); err != nil {
			return err
		}
	}
	w.report.done("pam.d/common-* from %d profiles", len(profiles))
	return nil
}

func parsePAM(name, text string) pamProfile {
	p := pamProfile{name: name, fields: map[string][]string{}}
	last := ""
	for line := range strings.SplitSeq(text, "\n") {
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		if line[0] != ' ' && line[0] != '\t' {
			k, v, _ := strings.Cut(line, ":")
			if last = k; strings.TrimSpace(v) == "" {
				continue
			}
			line = v
		}
		p.fields[last] = append(p.fields[last], strings.TrimSpace(line))
	}
	p.priority, _ = strconv.Atoi(strings.Join(p.fields["Priority"], ""))
	return p
}

// fillPAM puts the modules of the profiles in place of $auth_primary and
// $auth_additional of a template. Without a primary module, one that permits
// stands there, or the fallback below it would deny everything.
func fillPAM(template, kind string, profiles []pamProfile) string {
	base, nonint := strings.CutSuffix(kind, "-noninteractive")
	field := strings.ToUpper(base[:1]) + base[1:]
	blocks := map[string][]string{}
	for _, p := range profiles {
		if nonint && slices.Equal(p.fields["Session-Interactive-Only"], []string{"yes"}) {
			continue
		}
		where := strings.ToLower(strings.Join(p.fields[field+"-Type"], ""))
		lines := p.fields[field]
		if first := p.fields[field+"-Initial"]; len(blocks[where]) == 0 && len(first) > 0 {
			lines = first
		}
		blocks[where] = append(blocks[where], lines...)
	}
	if len(blocks["primary"]) == 0 {
		blocks["primary"] = []string{"[default=1]\t\t\tpam_permit.so"}
	}
	var out []string
	for line := range strings.SplitSeq(template, "\n") {
		where := ""
		if strings.HasPrefix(line, "$") {
			where = line[strings.LastIndexByte(line, '_')+1:]
		}
		if where == "" {
			out = append(out, line)
			continue
		}
		for i, l := range blocks[where] {
			out = append(out, base+"\t"+strings.ReplaceAll(l, "=end", fmt.Sprintf("=%d", len(blocks[where])-i)))
		}
	}
	return strings.Join(out, "\n")
}
