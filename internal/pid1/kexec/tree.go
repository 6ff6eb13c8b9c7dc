package kexec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A flattened device tree: Devicetree Specification 0.4, chapter 5. Numbers are
// big-endian.
const (
	treeMagic   = 0xd00dfeed
	treeVersion = 17
	treeHeader  = 40
	beginNode   = 1
	endNode     = 2
	property    = 3
	nop         = 4
	endTree     = 9
	maxDepth    = 64
)

// chosen returns a device tree whose /chosen has a command line, an initrd and
// fresh randomness. Everything else stays, above all where the firmware's
// tables are.
func chosen(tree []byte, command string, initrd, end uint64, seed [8]byte) ([]byte, error) {
	out, err := rewrite(tree, []value{
		{"bootargs", append([]byte(command), 0)},
		{"linux,initrd-start", binary.BigEndian.AppendUint64(nil, initrd)},
		{"linux,initrd-end", binary.BigEndian.AppendUint64(nil, end)},
		{"kaslr-seed", seed[:]},
	})
	if err != nil {
		return nil, fmt.Errorf("the device tree: %w", err)
	}
	if len(out) > maxTree {
		return nil, fmt.Errorf("the device tree has %d bytes, more than %d", len(out), maxTree)
	}
	return out, nil
}

// value is a property of /chosen.
type value struct {
	name string
	data []byte
}

// gone are properties that must not be told again: randomness that was used.
var gone = map[string]bool{"rng-seed": true}

func rewrite(tree []byte, set []value) ([]byte, error) {
	be := binary.BigEndian
	if len(tree) < treeHeader || be.Uint32(tree) != treeMagic {
		return nil, errors.New("no magic")
	}
	total, structAt, stringsAt, reserveAt := be.Uint32(tree[4:]), be.Uint32(tree[8:]), be.Uint32(tree[12:]), be.Uint32(tree[16:])
	stringsSize, structSize := be.Uint32(tree[32:]), be.Uint32(tree[36:])
	if uint64(total) > uint64(len(tree)) || be.Uint32(tree[20:]) < treeVersion || be.Uint32(tree[24:]) > treeVersion ||
		!within(structAt, structSize, total) || !within(stringsAt, stringsSize, total) || reserveAt > total {
		return nil, errors.New("its header makes no sense")
	}
	reserved, err := reservations(tree[reserveAt:total])
	if err != nil {
		return nil, err
	}
	names := bytes.Clone(tree[stringsAt : stringsAt+stringsSize])
	r := rewriter{in: tree[structAt : structAt+structSize], names: names, set: set}
	if err := r.copy(); err != nil {
		return nil, err
	}
	return assemble(tree, reserved, r.out, r.names), nil
}

func within(at, size, total uint32) bool { return uint64(at)+uint64(size) <= uint64(total) }

// reservations returns the list of memory that is not to be used, with its end.
func reservations(b []byte) ([]byte, error) {
	for n := 0; n+16 <= len(b); n += 16 {
		if binary.BigEndian.Uint64(b[n:]) == 0 && binary.BigEndian.Uint64(b[n+8:]) == 0 {
			return b[:n+16], nil
		}
	}
	return nil, errors.New("its reservations have no end")
}

func assemble(tree, reserved, structure, names []byte) []byte {
	be := binary.BigEndian
	out := bytes.Clone(tree[:treeHeader])
	place := func(field int, b []byte) {
		for len(out)%8 != 0 {
			out = append(out, 0)
		}
		be.PutUint32(out[field:], uint32(len(out)))
		out = append(out, b...)
	}
	place(16, reserved)
	place(8, structure)
	place(12, names)
	be.PutUint32(out[32:], uint32(len(names)))
	be.PutUint32(out[36:], uint32(len(structure)))
	be.PutUint32(out[4:], uint32(len(out)))
	return out
}

// rewriter copies a structure block and changes /chosen.
type rewriter struct {
	in, out []byte
	names   []byte
	set     []value
	depth   int
	inside  bool // of /chosen
	done    bool
}

var errCutOff = errors.New("it is cut off")

func (r *rewriter) copy() error {
	for {
		if len(r.in) < 4 {
			return errCutOff
		}
		token := binary.BigEndian.Uint32(r.in)
		n, err := 4, error(nil)
		switch token {
		case beginNode:
			n, err = r.begin()
		case endNode:
			err = r.end()
		case property:
			n, err = r.property()
		case nop:
		case endTree:
			if r.depth != 0 || !r.done {
				return errors.New("its nodes do not end")
			}
			r.out = append(r.out, r.in[:4]...)
			return nil
		default:
			return fmt.Errorf("token %d", token)
		}
		if err != nil {
			return err
		}
		r.in = r.in[n:]
	}
}

// begin copies the begin of a node.
func (r *rewriter) begin() (int, error) {
	end := bytes.IndexByte(r.in[4:], 0)
	if end < 0 || r.depth >= maxDepth {
		return 0, errCutOff
	}
	n := 4 + (end+1+3)&^3
	if n > len(r.in) {
		return 0, errCutOff
	}
	if r.depth++; r.depth == 2 && string(r.in[4:4+end]) == "chosen" {
		r.inside = true
	}
	r.out = append(r.out, r.in[:n]...)
	if r.depth == 2 && r.inside && !r.done { // properties stand before nodes
		for _, v := range r.set {
			r.add(v)
		}
		r.done = true
	}
	return n, nil
}

// end copies the end of a node; a root without /chosen gets one.
func (r *rewriter) end() error {
	if r.depth == 0 {
		return errors.New("a node ends that has not begun")
	}
	if r.depth == 1 && !r.done {
		r.out = binary.BigEndian.AppendUint32(r.out, beginNode)
		r.out = append(r.out, "chosen\x00\x00"...)
		for _, v := range r.set {
			r.add(v)
		}
		r.out = binary.BigEndian.AppendUint32(r.out, endNode)
		r.done = true
	}
	if r.depth == 2 {
		r.inside = false
	}
	r.depth--
	r.out = binary.BigEndian.AppendUint32(r.out, endNode)
	return nil
}

// property copies a property, unless /chosen has another in its place.
func (r *rewriter) property() (int, error) {
	if len(r.in) < 12 || r.depth == 0 {
		return 0, errCutOff
	}
	size, at := binary.BigEndian.Uint32(r.in[4:]), binary.BigEndian.Uint32(r.in[8:])
	n := 12 + (uint64(size)+3)&^3
	if n > uint64(len(r.in)) || uint64(at) >= uint64(len(r.names)) {
		return 0, errCutOff
	}
	name, _, ok := bytes.Cut(r.names[at:], []byte{0})
	if !ok {
		return 0, errCutOff
	}
	if r.inside && r.depth == 2 && (gone[string(name)] || r.sets(string(name))) {
		return int(n), nil
	}
	r.out = append(r.out, r.in[:n]...)
	return int(n), nil
}

func (r *rewriter) sets(name string) bool {
	for _, v := range r.set {
		if v.name == name {
			return true
		}
	}
	return false
}

// add writes a property whose name stands behind the other names.
func (r *rewriter) add(v value) {
	be := binary.BigEndian
	r.out = be.AppendUint32(r.out, property)
	r.out = be.AppendUint32(r.out, uint32(len(v.data)))
	r.out = be.AppendUint32(r.out, uint32(len(r.names)))
	r.names = append(append(r.names, v.name...), 0)
	r.out = append(r.out, v.data...)
	for len(r.out)%4 != 0 {
		r.out = append(r.out, 0)
	}
}
