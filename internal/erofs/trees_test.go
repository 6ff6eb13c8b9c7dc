package erofs

import (
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/digest"
)

const epoch = 1700000000

func dir(children ...Child) *Node {
	return &Node{Mode: TypeDir | 0o755, MTime: epoch, Children: children}
}

func inline(s string) *Node {
	n := &Node{Mode: TypeFile | 0o644, MTime: epoch, Size: int64(len(s))}
	if s != "" {
		n.Data = []byte(s)
	}
	return n
}

func object(size int64, seed string) *Node {
	return &Node{Mode: TypeFile | 0o644, MTime: epoch, Size: size, Digest: digest.Of([]byte(seed))}
}

func symlink(target string) *Node {
	return &Node{Mode: TypeSymlink | 0o777, MTime: epoch, Target: target}
}

func special(mode, rdev uint32) *Node { return &Node{Mode: mode, MTime: epoch, Rdev: rdev} }

func (n *Node) with(f func(*Node)) *Node { f(n); return n }

// crowd is a directory of n objects with names of the given length.
func crowd(n, length int) *Node {
	d := dir()
	for i := range n {
		name := fmt.Sprintf("%05d", i)
		d.Children = append(d.Children, Child{name + strings.Repeat("n", length-len(name)), object(int64(100+i), name)})
	}
	return d
}

func xattrs(kv ...string) func(*Node) {
	return func(n *Node) {
		n.Xattrs = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			n.Xattrs[kv[i]] = kv[i+1]
		}
	}
}

// manyXattrs gives a node n attributes that another node may share.
func manyXattrs(n int) func(*Node) {
	return func(node *Node) {
		node.Xattrs = map[string]string{}
		for i := range n {
			node.Xattrs[fmt.Sprintf("user.a%03d", i)] = fmt.Sprint(i)
		}
	}
}

// trees are the images whose digests mkcomposefs gave; testdata/digests.txt.
func trees() map[string]*Node {
	linked := object(5000, "linked")
	small := inline("small and linked")
	out := map[string]*Node{
		"empty": dir(),
		"small": dir(
			Child{"0", inline("")}, Child{"1", inline("x")},
			Child{"64", inline(strings.Repeat("y", 64))}, Child{"65", object(65, "65")},
			Child{"tiny-object", object(1, "1")}),
		"inline": dir(
			Child{"2047", inline(strings.Repeat("a", 2047))}, Child{"2048", inline(strings.Repeat("b", 2048))},
			Child{"2049", inline(strings.Repeat("c", 2049))}, Child{"4096", inline(strings.Repeat("d", 4096))}),
		"names": dir(
			Child{strings.Repeat("n", 255), inline("long")}, Child{"!", inline("before the dots")},
			Child{"-", inline("-")}, Child{"...", dir()}, Child{".hidden", inline("h")},
			Child{"a b\tc\nd\\e=f", inline("odd")}, Child{"\xff\xfe", inline("bytes")}, Child{"é", inline("accent")}),
		"one-block":   dir(Child{"d", crowd(60, 40)}),
		"many-blocks": dir(Child{"d", crowd(3000, 12)}, Child{"long", crowd(300, 255)}),
		"half-block":  dir(Child{"under", crowd(78, 14)}, Child{"over", crowd(79, 14)}),
		"xattrs": dir(
			Child{"own", object(100, "own").with(xattrs("user.one", "1", "security.capability", "\x01\x00\x00\x02"))},
			Child{"shared-1", object(100, "s1").with(xattrs("user.same", "value"))},
			Child{"shared-2", object(100, "s2").with(xattrs("user.same", "value", "user.empty", ""))},
			Child{"acl", dir().with(xattrs("system.posix_acl_access", "\x02\x00\x00\x00", "system.posix_acl_default", "\x02"))},
			Child{"other", symlink("t").with(xattrs("trusted.x", "y", "strange.prefix", "z", "lustre.lov", "l"))},
			Child{"same-object", object(100, "s2")}),
		"overlay-xattrs": dir(
			Child{"dir", dir(Child{"f", object(99, "f")}).with(xattrs("trusted.overlay.opaque", "y", "user.overlay.opaque", "y"))},
			Child{"file", object(99, "g").with(xattrs("trusted.overlay.metacopy", "", "trusted.overlay.redirect", "/evil"))},
			Child{"nested", inline("n").with(xattrs("trusted.overlay.overlay.redirect", "/deep"))},
		).with(xattrs("trusted.overlay.opaque", "x")),
		"selinux": dir(Child{"a", inline("a").with(xattrs("security.selinux", "system_u:object_r:etc_t:s0\x00"))}).
			with(xattrs("security.selinux", "system_u:object_r:root_t:s0\x00")),
		"shared-limit": dir(Child{"a", inline("a").with(manyXattrs(140))}, Child{"b", inline("b").with(manyXattrs(140))}),
		"hard-links": dir(
			Child{"a", dir(Child{"deep", linked}, Child{"s", small})},
			Child{"b", linked}, Child{"c", linked}, Child{"s", small}),
		"devices": dir(
			Child{"null", special(TypeChar|0o666, Rdev(1, 3))}, Child{"sda", special(TypeBlock|0o660, Rdev(8, 0))},
			Child{"big", special(TypeChar|0o600, Rdev(511, 70000))},
			Child{"fifo", special(TypeFifo|0o644, 0)}, Child{"sock", special(TypeSocket|0o755, 0)}),
		"whiteouts": dir(
			Child{"d", dir(Child{"gone", special(TypeChar|0o644, 0)}, Child{"stays", inline("x")})},
			Child{"gone", special(TypeChar|0o600, 0)}, Child{"ab", special(TypeChar|0o600, 0)}),
		"object-names": dir(Child{"00", inline("not a whiteout")}, Child{"ff", dir(Child{"x", object(100, "x")})}, Child{"AB", dir()}),
		"symlinks": dir(
			Child{"short", symlink("x")}, Child{"long", symlink(strings.Repeat("l", 4095))},
			Child{"middle", symlink(strings.Repeat("m", 3000))}, Child{"middle-2", symlink(strings.Repeat("m", 3000))},
			Child{"edge", symlink(strings.Repeat("e", 4064))}, Child{"edge-1", symlink(strings.Repeat("e", 4063))},
			Child{"labelled", symlink(strings.Repeat("e", 4000)).with(xattrs("user.x", strings.Repeat("v", 100)))}),
		"sizes": dir(
			Child{"4096", object(4096, "a")}, Child{"4097", object(4097, "b")}, Child{"4G", object(1<<32, "c")},
			Child{"4G-1", object(1<<32-1, "d")}, Child{"5G", object(5<<30, "e")}, Child{"8T", object(1<<43, "f")}),
		"owners": dir(
			Child{"setuid", object(70000, "su").with(func(n *Node) { n.Mode |= 0o4000 })},
			Child{"sticky", dir().with(func(n *Node) { n.Mode |= 0o1777; n.GID = 65535 })},
			Child{"high", object(70, "h").with(func(n *Node) { n.UID = 65536 })},
			Child{"max", object(70, "i").with(func(n *Node) { n.UID, n.GID = 1<<32-2, 1<<32-2 })}),
		"times": dir(
			Child{"old", inline("o").with(func(n *Node) { n.MTime = -1 })}, Child{"zero", inline("z").with(func(n *Node) { n.MTime = 0 })},
			Child{"new", object(100, "n").with(func(n *Node) { n.MTime = 1 << 33 })},
			Child{"equal", inline("e").with(func(n *Node) { n.MTime = -1 })}),
	}
	out["packages"] = packages()
	return out
}

// packagesList is what dpkg-deb -c says of base-files and perl-base of Debian
// trixie: a real tree with links, hard links and odd modes.
//
//go:embed testdata/packages.list
var packagesList string

// packages is the tree of packagesList. Contents are made of the paths.
func packages() *Node {
	root := dir()
	at := map[string]*Node{".": root}
	for line := range strings.Lines(packagesList) {
		f := strings.Fields(line)
		name := path.Clean(f[5])
		if name == "." {
			continue
		}
		n := at[name]
		if n == nil {
			n = &Node{MTime: epoch}
			up := at[path.Dir(name)]
			up.Children = append(up.Children, Child{path.Base(name), n})
		}
		n.Mode = modeOf(f[0])
		switch n.Size, _ = strconv.ParseInt(f[2], 10, 64); {
		case f[0][0] == 'l':
			n.Target = f[7]
		case f[0][0] == 'h':
			up := at[path.Dir(name)]
			up.Children[len(up.Children)-1].Node = at[path.Clean(f[8])]
			continue
		case n.Type() == TypeFile && n.Size > 0 && n.Size <= 64:
			n.Data = []byte(strings.Repeat("x", int(n.Size)))
		case n.Type() == TypeFile && n.Size > 0:
			n.Digest = digest.Of([]byte(name))
		}
		at[name] = n
	}
	return root
}

// modeOf reads a mode as ls shows it.
func modeOf(s string) uint32 {
	mode := map[byte]uint32{'-': TypeFile, 'h': TypeFile, 'd': TypeDir, 'l': TypeSymlink}[s[0]]
	for i := range 9 {
		if !slices.Contains([]byte("-ST"), s[i+1]) {
			mode |= 1 << (8 - i)
		}
	}
	for i, bit := range map[int]uint32{3: 0o4000, 6: 0o2000, 9: 0o1000} {
		if strings.ContainsRune("sStT", rune(s[i])) {
			mode |= bit
		}
	}
	return mode
}
