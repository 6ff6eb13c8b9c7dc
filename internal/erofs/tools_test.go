package erofs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestErofsUtils has the tools of EROFS' authors read every image.
func TestErofsUtils(t *testing.T) {
	for _, tool := range []string{"fsck.erofs", "dump.erofs"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool, " is not installed (Debian package erofs-utils)")
		}
	}
	image := filepath.Join(t.TempDir(), "image")
	for name, root := range trees() {
		b, err := Append(nil, root)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(image, b, 0o644); err != nil {
			t.Fatal(err)
		}
		// --extract without a directory reads every file's data as well.
		if out, err := exec.Command("fsck.erofs", "--extract", image).CombinedOutput(); err != nil {
			t.Errorf("%s: fsck.erofs: %v: %s", name, err, out)
		}
		out, err := exec.Command("dump.erofs", "-s", "-S", image).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "0xE0F5E1E2") {
			t.Errorf("%s: dump.erofs: %v: %s", name, err, out)
		}
	}
}

// TestComposefsInfo has composefs itself list the objects of an image and
// write the dump that the image was made of.
func TestComposefsInfo(t *testing.T) {
	o := newOracle(t)
	image := filepath.Join(t.TempDir(), "image")
	for name, root := range trees() {
		b, err := Append(nil, root)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(image, b, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := o.command("composefs-info", "dump", image).Output()
		if err != nil {
			t.Errorf("%s: composefs-info dump: %v", name, err)
		}
		if got, want := strings.Count(string(out), "\n"), strings.Count(dump(root), "\n"); got != want {
			t.Errorf("%s: composefs-info lists %d entries, want %d:\n%s", name, got, want, out)
		}
		if out, err = o.command("composefs-info", "objects", image).Output(); err != nil {
			t.Errorf("%s: composefs-info objects: %v", name, err)
		}
		objects := map[string]bool{}
		var walk func(*Node)
		walk = func(n *Node) {
			if n.isObject() {
				objects[n.Digest.Path()] = true
			}
			for _, c := range n.Children {
				walk(c.Node)
			}
		}
		walk(root)
		for line := range strings.Lines(string(out)) {
			if !objects[strings.TrimSpace(line)] {
				t.Errorf("%s: composefs-info names object %q, which is not in the tree", name, line)
			}
			delete(objects, strings.TrimSpace(line))
		}
		if len(objects) > 0 {
			t.Errorf("%s: composefs-info does not name %v", name, objects)
		}
	}
}
