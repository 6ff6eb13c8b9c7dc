package erofs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/therootcompany/xz"

	"github.com/instar-os/instar/internal/digest"
)

// oraclePackages are composefs and what it needs to run without being
// installed: its own loader and libraries.
var oraclePackages = []string{"composefs", "libcomposefs1", "libc6", "libssl3t64", "libzstd1", "zlib1g"}

// oracle is an unpacked composefs of Debian sid.
type oracle struct{ root string }

// newOracle returns mkcomposefs out of the cache, downloading it at the first
// use. Without it the recorded digests in testdata stand in.
func newOracle(t testing.TB) *oracle {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("mkcomposefs: the oracle is a program for amd64")
	}
	cache := os.Getenv("INSTAR_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Skip("mkcomposefs: no cache directory: ", err)
		}
		cache = filepath.Join(user, "instar")
	}
	o := &oracle{filepath.Join(cache, "oracle", "composefs-sid")}
	if _, err := os.Stat(o.root); err == nil {
		return o
	}
	if err := o.fetch(); err != nil {
		t.Skip("mkcomposefs: ", err)
	}
	return o
}

// fetch unpacks the packages beside o.root and renames the result into place.
func (o *oracle) fetch() error {
	base, err := debianArchive()
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 2 * time.Minute}
	index, err := get(client, base+"/dists/sid/main/binary-amd64/Packages.xz")
	if err != nil {
		return err
	}
	r, err := xz.NewReader(bytes.NewReader(index), 0)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.root), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(o.root), ".composefs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for stanza := range strings.SplitSeq(string(text), "\n\n") {
		field := func(name string) string {
			_, v, _ := strings.Cut("\n"+stanza, "\n"+name+": ")
			v, _, _ = strings.Cut(v, "\n")
			return v
		}
		if !slices.Contains(oraclePackages, field("Package")) {
			continue
		}
		deb, err := get(client, base+"/"+field("Filename"))
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(deb); hex.EncodeToString(sum[:]) != field("SHA256") {
			return fmt.Errorf("%s: wrong SHA-256", path.Base(field("Filename")))
		}
		if err := os.WriteFile(tmp+".deb", deb, 0o644); err != nil {
			return err
		}
		out, err := exec.Command("dpkg-deb", "-x", tmp+".deb", tmp).CombinedOutput()
		if err = errors.Join(err, os.Remove(tmp+".deb")); err != nil {
			return fmt.Errorf("dpkg-deb: %w: %s", err, out)
		}
	}
	return os.Rename(tmp, o.root)
}

// debianArchive returns the archive's address from apt's configuration.
func debianArchive() (string, error) {
	for _, name := range []string{"/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"} {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if m := regexp.MustCompile(`(?m)^(?:URIs:|deb(?: \[.*\])?) *(http\S+/debian)/?(?:\s|$)`).FindSubmatch(text); m != nil {
			return string(m[1]), nil
		}
	}
	return "", errors.New("apt's configuration names no Debian archive")
}

func get(client *http.Client, url string) ([]byte, error) {
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// command runs one of the oracle's programs through its own loader.
func (o *oracle) command(program string, args ...string) *exec.Cmd {
	lib := filepath.Join(o.root, "usr/lib/x86_64-linux-gnu")
	full := append([]string{"--library-path", lib, filepath.Join(o.root, "usr/bin", program)}, args...)
	return exec.Command(filepath.Join(lib, "ld-linux-x86-64.so.2"), full...)
}

// fataler is what testing.T and rapid.T share.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// image returns what mkcomposefs makes of the tree.
func (o *oracle) image(t fataler, dir string, root *Node) []byte {
	t.Helper()
	in, out := filepath.Join(dir, "dump"), filepath.Join(dir, "image")
	if err := os.WriteFile(in, []byte(dump(root)), 0o644); err != nil {
		t.Fatal(err)
	}
	if msg, err := o.command("mkcomposefs", "--from-file", in, out).CombinedOutput(); err != nil {
		t.Fatalf("mkcomposefs: %v: %s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dump writes the tree as composefs-dump(5). The first name of a file in
// breadth-first order is the one that carries the inode.
func dump(root *Node) string {
	type place struct {
		path string
		node *Node
	}
	var b strings.Builder
	first, links := map[*Node]string{}, map[*Node]int{}
	queue := []place{{"/", root}}
	for i := 0; i < len(queue); i++ {
		p := queue[i]
		if links[p.node]++; links[p.node] == 1 {
			first[p.node] = p.path
		}
		children := slices.Clone(p.node.Children)
		slices.SortFunc(children, func(a, b Child) int { return strings.Compare(a.Name, b.Name) })
		for _, c := range children {
			queue = append(queue, place{path.Join(p.path, c.Name), c.Node})
		}
	}
	for _, p := range queue {
		target := first[p.node]
		if target == p.path {
			target = ""
		}
		b.WriteString(dumpLine(p.path, p.node, links[p.node], target))
	}
	return b.String()
}

func dumpLine(name string, n *Node, links int, target string) string {
	mode, payload, content, sum, size := fmt.Sprintf("%o", n.Mode), "-", "-", "-", n.Size
	switch {
	case target != "":
		mode, payload = "@"+mode, escape(target)
	case n.Type() == TypeSymlink:
		payload, size = escape(n.Target), int64(len(n.Target))
	case len(n.Data) > 0:
		content = escape(string(n.Data))
	case n.isObject():
		payload, sum = n.Digest.Path(), n.Digest.String()
	}
	line := fmt.Sprintf("%s %d %s %d %d %d %d %d.0 %s %s %s", escape(name), size, mode, links,
		n.UID, n.GID, n.Rdev, n.MTime, payload, content, sum)
	var keys []string
	for k := range n.Xattrs {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		line += " " + escape(k) + "=" + escapeAll(n.Xattrs[k])
	}
	return line + "\n"
}

func escape(s string) string {
	if s == "-" {
		return `\x2d`
	}
	return escapeAll(s)
}

func escapeAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '=' {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// firstDifference describes where two images part.
func firstDifference(a, b []byte) string {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			lo, hi := max(i-16, 0), min(i+32, n)
			return fmt.Sprintf("at %#x of %d and %d:\n% x\n% x", i, len(a), len(b), a[lo:hi], b[lo:hi])
		}
	}
	return fmt.Sprintf("lengths %d and %d", len(a), len(b))
}

func imageDigest(b []byte) string { return digest.Of(b).String() }
