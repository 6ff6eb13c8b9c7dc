// Package nft writes nftables rule sets as the netlink messages that the
// kernel takes: one batch, applied whole or not at all.
//
// It has the expressions that a machine's networks need. Registers and keys
// are the kernel's; a Rule is built from the functions of match.go, which are
// named after what nft(8) prints.
//
// Sources: linux/netfilter/nf_tables.h, nfnetlink.h and the Debian nftables
// package, whose listing of an applied batch the tests compare.
package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Table is a table of the inet family, for IPv4 and IPv6.
type Table struct {
	Name   string
	Chains []Chain
}

// Chain is a base chain with its rules in order.
type Chain struct {
	Name     string
	Type     string // filter, nat
	Hook     Hook
	Priority int32
	Drop     bool // the policy; else accept
	Rules    []Rule
}

// Hook is where a chain sees packets.
type Hook uint32

// The hooks of the inet family.
const (
	Prerouting  Hook = unix.NF_INET_PRE_ROUTING
	Input       Hook = unix.NF_INET_LOCAL_IN
	Forward     Hook = unix.NF_INET_FORWARD
	Output      Hook = unix.NF_INET_LOCAL_OUT
	Postrouting Hook = unix.NF_INET_POST_ROUTING
)

// Priorities of chains, by nft(8)'s names.
const (
	DstNAT int32 = -100
	Filter int32 = 0
	SrcNAT int32 = 100
)

// Rule is a list of expressions: what does not match ends it, the last one
// says what happens.
type Rule []Expr

// Expr is an encoded expression, an element of NFTA_RULE_EXPRESSIONS.
type Expr []byte

// Batch encodes a transaction that makes the table be exactly this, whatever
// of that name was there before. Numbers in headers are little-endian, as all
// machines of instar are.
func (t Table) Batch() []byte {
	name := attr(nil, unix.NFTA_TABLE_NAME, text(t.Name))
	b := &batch{}
	b.edge(unix.NFNL_MSG_BATCH_BEGIN)
	// The first NEWTABLE is for DELTABLE to find one.
	b.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, name)
	b.message(unix.NFT_MSG_DELTABLE, 0, name)
	b.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, name)
	for _, c := range t.Chains {
		b.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, t.chain(c))
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			b.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, t.rule(c, r))
		}
	}
	b.edge(unix.NFNL_MSG_BATCH_END)
	return b.out
}

// Remove encodes a transaction after which there is no table of that name.
func Remove(name string) []byte {
	table := attr(nil, unix.NFTA_TABLE_NAME, text(name))
	b := &batch{}
	b.edge(unix.NFNL_MSG_BATCH_BEGIN)
	b.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, table)
	b.message(unix.NFT_MSG_DELTABLE, 0, table)
	b.edge(unix.NFNL_MSG_BATCH_END)
	return b.out
}

func (t Table) chain(c Chain) []byte {
	hook := attr(nil, unix.NFTA_HOOK_HOOKNUM, be32(uint32(c.Hook)))
	hook = attr(hook, unix.NFTA_HOOK_PRIORITY, be32(uint32(c.Priority)))
	policy := uint32(accept)
	if c.Drop {
		policy = drop
	}
	out := attr(nil, unix.NFTA_CHAIN_TABLE, text(t.Name))
	out = attr(out, unix.NFTA_CHAIN_NAME, text(c.Name))
	out = attr(out, unix.NFTA_CHAIN_HOOK|unix.NLA_F_NESTED, hook)
	out = attr(out, unix.NFTA_CHAIN_POLICY, be32(policy))
	return attr(out, unix.NFTA_CHAIN_TYPE, text(c.Type))
}

func (t Table) rule(c Chain, r Rule) []byte {
	var list []byte
	for _, e := range r {
		list = attr(list, unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, e)
	}
	out := attr(nil, unix.NFTA_RULE_TABLE, text(t.Name))
	out = attr(out, unix.NFTA_RULE_CHAIN, text(c.Name))
	return attr(out, unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, list)
}

// A batch is messages with rising sequence numbers from 0.
type batch struct {
	out []byte
	seq uint32
}

// edge begins or ends a transaction of nftables.
func (b *batch) edge(kind uint16) {
	b.add(kind, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
}

// message adds a message about the inet family. Only failures are answered.
func (b *batch) message(kind, flags uint16, attrs []byte) {
	b.add(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags, unix.NFPROTO_INET, 0, attrs)
}

// add appends struct nlmsghdr, struct nfgenmsg and attributes.
func (b *batch) add(kind, flags uint16, family byte, resource uint16, attrs []byte) {
	const header = unix.NLMSG_HDRLEN + 4
	b.out = binary.LittleEndian.AppendUint32(b.out, uint32(header+len(attrs)))
	b.out = binary.LittleEndian.AppendUint16(b.out, kind)
	b.out = binary.LittleEndian.AppendUint16(b.out, flags|unix.NLM_F_REQUEST)
	b.out = binary.LittleEndian.AppendUint32(b.out, b.seq)
	b.out = binary.LittleEndian.AppendUint32(b.out, 0)
	b.out = append(b.out, family, unix.NFNETLINK_V0)
	b.out = binary.BigEndian.AppendUint16(b.out, resource)
	b.out = append(b.out, attrs...)
	b.seq++
}

// attr appends struct nlattr with its value, padded to 4 bytes.
func attr(b []byte, kind uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.LittleEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

func text(s string) []byte    { return append([]byte(s), 0) }
func be32(v uint32) []byte    { return binary.BigEndian.AppendUint32(nil, v) }
func be16(v uint16) []byte    { return binary.BigEndian.AppendUint16(nil, v) }
func le32(v uint32) []byte    { return binary.LittleEndian.AppendUint32(nil, v) }
func isIPv6(addr []byte) bool { return len(addr) == 16 }
