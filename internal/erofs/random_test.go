package erofs

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/instar-os/instar/internal/digest"
)

// randomTree draws a tree with everything that an image can hold, kept small
// but for what crosses the borders of blocks.
func randomTree(t *rapid.T) *Node {
	g := &generator{t: t, left: rapid.IntRange(0, 60).Draw(t, "nodes")}
	root := &Node{Mode: TypeDir | 0o755, MTime: g.time()}
	g.attributes(root)
	g.fill(root, 0)
	avoidOverflow(root)
	return root
}

// avoidOverflow keeps mkcomposefs 1.0.8 from failing with ERANGE: it miscounts
// the attributes of a directory that is marked opaque and holds a whiteout.
func avoidOverflow(d *Node) {
	for _, c := range d.Children {
		if c.Node.isWhiteout() {
			delete(d.Xattrs, xattrOpaque)
		}
		avoidOverflow(c.Node)
	}
}

type generator struct {
	t     *rapid.T
	left  int
	files []*Node
}

func (g *generator) fill(d *Node, depth int) {
	n := rapid.IntRange(0, g.left).Draw(g.t, "children")
	taken := map[string]bool{}
	for range n {
		if g.left == 0 {
			return
		}
		name := g.name()
		if taken[name] {
			continue
		}
		taken[name] = true
		g.left--
		d.Children = append(d.Children, Child{name, g.node(depth)})
	}
}

func (g *generator) name() string {
	return rapid.OneOf(
		rapid.StringMatching(`[!-.0-~]{1,12}`),
		rapid.StringMatching(`[0-9a-f]{2}`),
		rapid.StringMatching(`[a-c]{200,255}`),
		rapid.Just("\xff\x80"),
	).Filter(func(s string) bool { return s != "." && s != ".." }).Draw(g.t, "name")
}

func (g *generator) time() int64 {
	return rapid.SampledFrom([]int64{epoch, epoch, epoch, epoch + 1, 0, -5, 1 << 34}).Draw(g.t, "mtime")
}

func (g *generator) node(depth int) *Node {
	kind := rapid.SampledFrom([]uint32{TypeFile, TypeFile, TypeFile, TypeDir, TypeDir, TypeSymlink,
		TypeChar, TypeBlock, TypeFifo, TypeSocket, 0}).Draw(g.t, "kind")
	if kind == 0 { // a further name of a file
		if len(g.files) > 0 {
			return rapid.SampledFrom(g.files).Draw(g.t, "link")
		}
		kind = TypeFile
	}
	n := &Node{
		Mode:  kind | rapid.Uint32Range(0, 0o7777).Draw(g.t, "mode"),
		UID:   rapid.SampledFrom([]uint32{0, 0, 0, 1000, 65535, 65536, 1<<32 - 2}).Draw(g.t, "uid"),
		GID:   rapid.SampledFrom([]uint32{0, 0, 0, 1000, 65536}).Draw(g.t, "gid"),
		MTime: g.time(),
	}
	switch kind {
	case TypeFile:
		g.file(n)
	case TypeDir:
		if depth < 6 {
			g.fill(n, depth+1)
		}
	case TypeSymlink:
		n.Target = strings.Repeat("t", rapid.SampledFrom([]int{1, 20, 500, 2040, 2048, 4000, 4031, 4032, 4033, 4064, 4095}).Draw(g.t, "target"))
	case TypeChar, TypeBlock:
		n.Rdev = Rdev(rapid.Uint32Range(0, 4095).Draw(g.t, "major"), rapid.Uint32Range(0, 1<<20-1).Draw(g.t, "minor"))
		if rapid.IntRange(0, 3).Draw(g.t, "zero") == 0 {
			n.Rdev = 0 // a whiteout, when it is a character device
		}
	}
	g.attributes(n)
	return n
}

func (g *generator) file(n *Node) {
	size := rapid.SampledFrom([]int64{0, 1, 63, 64, 65, 2048, 4096, 4097, 1 << 20, 1<<32 - 1, 1 << 32, 1 << 43}).Draw(g.t, "size")
	if n.Size = size; size > 0 {
		if size <= 64 {
			n.Data = bytes.Repeat([]byte{'d'}, int(size))
		} else {
			n.Digest = digest.Of([]byte{byte(rapid.IntRange(0, 20).Draw(g.t, "content"))})
		}
	}
	g.files = append(g.files, n)
}

func (g *generator) attributes(n *Node) {
	if rapid.IntRange(0, 3).Draw(g.t, "attributes") > 0 {
		return
	}
	key := rapid.SampledFrom([]string{"user.a", "user.b", "user." + strings.Repeat("k", 250), "security.selinux",
		"security.capability", "trusted.own", "trusted.overlay.opaque", "trusted.overlay.metacopy",
		"trusted.overlay.overlay.redirect", "system.posix_acl_access", "system.posix_acl_default", "other"})
	value := rapid.OneOf(
		rapid.SampledFrom([]string{"", "y", "\x00\xff", "label"}),
		rapid.Map(rapid.IntRange(100, 5000), func(n int) string { return strings.Repeat("v", n) }))
	n.Xattrs = rapid.MapOfN(key, value, 1, 5).Draw(g.t, "xattrs")
}

// TestRandomRoundTrip reads back what was written, and finds it unchanged by
// the order of children.
func TestRandomRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root := randomTree(t)
		b, err := Append(nil, root)
		if err != nil {
			t.Fatal(err)
		}
		back, err := read(b)
		if err != nil {
			t.Fatalf("%v\n%s", err, dump(root))
		}
		if !same(root, back, map[*Node]*Node{}) {
			t.Fatalf("read back\n%s\nwant\n%s", dump(back), dump(root))
		}
	})
}

// TestRandomOracle compares random trees' images with those of mkcomposefs.
func TestRandomOracle(t *testing.T) {
	o := newOracle(t)
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		root := randomTree(t)
		got, err := Append(nil, root)
		if err != nil {
			t.Fatal(err)
		}
		if want := o.image(t, dir, root); !bytes.Equal(got, want) {
			t.Fatalf("ours and mkcomposefs' image differ %s\n%s", firstDifference(got, want), dump(root))
		}
	})
}
