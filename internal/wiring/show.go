package wiring

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// String returns the program for people: for each network what is done, in
// whose namespace, and by which request; then the rules.
func (p *Program) String() string {
	var b strings.Builder
	for _, s := range p.Settings {
		fmt.Fprintf(&b, "machine: %s = %s\n", s.Path, s.Value)
	}
	for _, s := range p.Spaces {
		fmt.Fprintf(&b, "namespace of %s\n", s.Container)
		for _, v := range s.Settings {
			fmt.Fprintf(&b, "      %s = %s\n", v.Path, v.Value)
		}
	}
	for _, n := range p.Networks {
		fmt.Fprintf(&b, "network %s%s\n", n.Name, n.Device)
		for i, s := range n.Steps {
			fmt.Fprintf(&b, "%4d  %s\n", i, s)
		}
		for i, s := range n.Undo {
			fmt.Fprintf(&b, "%4d  undo: %s\n", i, s)
		}
	}
	if len(p.Rules) > 0 {
		fmt.Fprintf(&b, "rules of table %s, %d bytes in one transaction\n", Table, len(p.Rules))
		for _, line := range ruleLines(p.Rules) {
			fmt.Fprintf(&b, "      %s\n", line)
		}
	}
	return b.String()
}

// String says which device is needed, after the network's name.
func (d Device) String() string {
	var parts []string
	for _, p := range [][2]string{{"interface", d.Interface}, {"driver", d.Driver}, {"mac", d.MAC}, {"path", d.Path}, {"name", d.Name}} {
		if p[1] != "" {
			parts = append(parts, p[0]+" "+p[1])
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ", with the device of " + strings.Join(parts, ", ")
}

// requests are names of rtnetlink requests: rtnetlink(7).
var requests = map[uint16]string{
	unix.RTM_NEWLINK: "newlink", unix.RTM_DELLINK: "dellink", unix.RTM_SETLINK: "setlink",
	unix.RTM_NEWADDR: "newaddr", unix.RTM_NEWROUTE: "newroute",
}

// String says what a step does, where, and by which request.
func (s Step) String() string {
	where, what := "machine", "request"
	if s.Space != "" {
		where = s.Space
	}
	if len(s.Message) >= unix.SizeofNlMsghdr {
		kind := binary.LittleEndian.Uint16(s.Message[4:])
		if what = requests[kind]; what == "" {
			what = fmt.Sprint("request ", kind)
		}
	}
	text := fmt.Sprintf("%s: %s  # %s, %d bytes", where, s.Label, what, len(s.Message))
	for _, h := range s.Holes {
		text += fmt.Sprintf(", byte %d is the %s", h.At, h.Kind)
		if h.Space != "" {
			text += " of " + h.Space
		}
	}
	return text
}

const (
	nfgenmsg = 4      // size of struct nfgenmsg: linux/netfilter/nfnetlink.h
	typeMask = 0x3fff // NLA_TYPE_MASK of linux/netlink.h
)

// ruleLines says what the messages of a transaction make: linux/netfilter/nf_tables.h.
func ruleLines(b []byte) (out []string) {
	for len(b) >= unix.SizeofNlMsghdr+nfgenmsg {
		size := int(binary.LittleEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr+nfgenmsg || size > len(b) {
			return append(out, "what is no message")
		}
		kind, at := binary.LittleEndian.Uint16(b[4:]), attributes(b[unix.SizeofNlMsghdr+nfgenmsg:size])
		if kind>>8 == unix.NFNL_SUBSYS_NFTABLES {
			switch kind & 0xff {
			case unix.NFT_MSG_DELTABLE:
				out = append(out, "remove table "+at.text(unix.NFTA_TABLE_NAME))
			case unix.NFT_MSG_NEWTABLE:
				out = append(out, "table "+at.text(unix.NFTA_TABLE_NAME))
			case unix.NFT_MSG_NEWCHAIN:
				out = append(out, "chain "+at.text(unix.NFTA_CHAIN_NAME))
			case unix.NFT_MSG_NEWRULE:
				out = append(out, "rule in "+at.text(unix.NFTA_RULE_CHAIN)+": "+expressions(at[unix.NFTA_RULE_EXPRESSIONS]))
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return out
}

// netlinkAttributes are values by type; a list's later ones are not kept.
type netlinkAttributes map[uint16][]byte

func (a netlinkAttributes) text(kind uint16) string {
	return strings.TrimRight(string(a[kind]), "\x00")
}

func attributes(b []byte) netlinkAttributes {
	out := netlinkAttributes{}
	each(b, func(kind uint16, value []byte) {
		if out[kind] == nil {
			out[kind] = value
		}
	})
	return out
}

func each(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= unix.NLA_HDRLEN {
		size := int(binary.LittleEndian.Uint16(b))
		if size < unix.NLA_HDRLEN || size > len(b) {
			return
		}
		f(binary.LittleEndian.Uint16(b[2:])&typeMask, b[unix.NLA_HDRLEN:size])
		b = b[min(len(b), (size+3)&^3):]
	}
}

// expressions names those of a rule, with what they compare with.
func expressions(list []byte) string {
	var out []string
	each(list, func(_ uint16, element []byte) {
		e := attributes(element)
		name := e.text(unix.NFTA_EXPR_NAME)
		if name == "cmp" {
			value := attributes(attributes(e[unix.NFTA_EXPR_DATA])[unix.NFTA_CMP_DATA])[unix.NFTA_DATA_VALUE]
			name = "= " + comparison(value)
		}
		out = append(out, name)
	})
	return strings.Join(out, " ")
}

// comparison shows text as text, and numbers in network order.
func comparison(v []byte) string {
	text := strings.TrimRight(string(v), "\x00")
	printable := len(text) > 1
	for _, c := range text {
		printable = printable && c > ' ' && c < 0x7f
	}
	if printable {
		return text
	}
	return fmt.Sprintf("%#x", v)
}
