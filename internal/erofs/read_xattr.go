package erofs

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// attributes reads the attribute area of an inode and returns what it holds
// and where it ends.
func (p *parser) attributes(at int64, icount int) (map[string]string, int64, error) {
	if icount == 0 {
		return nil, at, nil
	}
	area, err := p.take(at, int64(xattrHeaderSize+(icount-1)*xattrEntrySize))
	if err != nil {
		return nil, 0, err
	}
	at += int64(len(area))
	shared := int(area[4])
	rest := area[xattrHeaderSize:]
	if shared*xattrEntrySize > len(rest) {
		return nil, 0, errCut
	}
	set := map[string]string{}
	for i := range shared {
		kv, err := p.sharedXattr(binary.LittleEndian.Uint32(rest[i*xattrEntrySize:]))
		if err != nil {
			return nil, 0, err
		}
		set[kv[0]] = kv[1]
	}
	for rest = rest[shared*xattrEntrySize:]; len(rest) > 0; {
		key, value, n, err := parseXattr(rest)
		if err != nil {
			return nil, 0, err
		}
		set[key] = value
		rest = rest[n:]
	}
	return set, at, nil
}

// sharedXattr returns the attribute that an inode names by number, reading
// each one once.
func (p *parser) sharedXattr(id uint32) ([2]string, error) {
	if kv, ok := p.shared[id]; ok {
		return kv, nil
	}
	at := p.xattrs + int64(id)*xattrEntrySize
	if at >= int64(len(p.b)) {
		return [2]string{}, errCut
	}
	key, value, n, err := parseXattr(p.b[at:])
	if err != nil {
		return [2]string{}, err
	}
	if _, err := p.take(at, int64(n)); err != nil {
		return [2]string{}, err
	}
	p.shared[id] = [2]string{key, value}
	return p.shared[id], nil
}

// parseXattr reads the entry at the start of b and returns its length too.
func parseXattr(b []byte) (key, value string, n int, err error) {
	if len(b) < xattrEntrySize {
		return "", "", 0, errCut
	}
	name, size := int(b[0]), int(binary.LittleEndian.Uint16(b[2:]))
	n = roundUp(xattrEntrySize+name+size, xattrEntrySize)
	if n > len(b) {
		return "", "", 0, errCut
	}
	key = string(b[xattrEntrySize : xattrEntrySize+name])
	value = string(b[xattrEntrySize+name : xattrEntrySize+name+size])
	if b[1] == 0 {
		return key, value, n, nil
	}
	for _, p := range xattrPrefixes {
		if p.index == b[1] {
			return p.prefix + key, value, n, nil
		}
	}
	return "", "", 0, fmt.Errorf("extended attribute with unknown prefix %d", b[1])
}

// isMarked reports whether a node has all attributes of a disguise.
func isMarked(n *Node, marks map[string]string) bool {
	for k, v := range marks {
		if got, ok := n.Xattrs[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func unmark(n *Node, marks map[string]string) {
	for k := range marks {
		delete(n.Xattrs, k)
	}
}

// unescape gives a node's attributes the names they had in the tree.
func unescape(n *Node) error {
	plain := make(map[string]string, len(n.Xattrs))
	for k, v := range n.Xattrs {
		if rest, ok := strings.CutPrefix(k, escapePrefix); ok {
			k = overlayPrefix + rest
		} else if strings.HasPrefix(k, overlayPrefix) {
			return fmt.Errorf("the attribute %s stands where overlayfs would obey it", k)
		}
		plain[k] = v
	}
	n.Xattrs = nil
	if len(plain) > 0 {
		n.Xattrs = plain
	}
	return nil
}

// isObjectDir reports whether name is that of a directory of the object store.
func isObjectDir(name string) bool {
	return len(name) == 2 && strings.Trim(name, "0123456789abcdef") == ""
}
