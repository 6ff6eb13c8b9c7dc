package layer_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	. "github.com/instar-os/instar/internal/source/oci/ocitest"
)

// TestUmoci unpacks every world with umoci as well.
func TestUmoci(t *testing.T) {
	if _, err := exec.LookPath("umoci"); err != nil || os.Getuid() != 0 {
		t.Skip("needs umoci and root, which make owners and attributes real")
	}
	for name, w := range worlds {
		t.Run(name, func(t *testing.T) {
			var archives [][]byte
			for _, items := range w.layers {
				archives = append(archives, Tar(t, items...))
			}
			dir := t.TempDir()
			Layout(t, filepath.Join(dir, "layout"), Image{Tag: "x", Layers: archives, Compression: "gzip"})
			out, err := exec.Command("umoci", "unpack", "--image", filepath.Join(dir, "layout")+":x", filepath.Join(dir, "bundle")).CombinedOutput()
			got := string(out)
			if err == nil {
				got = dumpFiles(t, filepath.Join(dir, "bundle/rootfs"))
			}
			if got != w.want {
				t.Errorf("umoci gives\n%swe want\n%s", got, w.want)
			}
		})
	}
}

// dumpFiles lists a directory as dump lists a tree.
func dumpFiles(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(p, &st); err != nil {
			return err
		}
		mode := st.Mode & 0o7777
		if name == "." && mode == 0o755 {
			return nil
		}
		b.WriteString(name)
		linked := ""
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFREG:
			if linked = first[st.Ino]; linked != "" {
				fmt.Fprintf(&b, " = %s\n", linked)
				return nil
			}
			first[st.Ino] = name
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", text)
		case syscall.S_IFDIR:
			b.WriteString("/")
		case syscall.S_IFLNK:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", target)
			mode = 0o755
		case syscall.S_IFIFO:
			b.WriteString(" fifo")
		}
		if mode != 0o755 && mode != 0o644 {
			fmt.Fprintf(&b, " %04o", mode)
		}
		if st.Uid+st.Gid != 0 {
			fmt.Fprintf(&b, " %d:%d", st.Uid, st.Gid)
		}
		for _, k := range attributes(t, p) {
			v := make([]byte, 64<<10)
			n, err := unix.Lgetxattr(p, k, v)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %s=%q", k, v[:n])
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func attributes(t *testing.T, p string) []string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00")
	names = slices.DeleteFunc(names, func(s string) bool { return s == "" })
	slices.Sort(names)
	return names
}
