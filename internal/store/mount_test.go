package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/store/storetest"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// TestMount has the kernel mount an image as a container's root is mounted, and
// compares what is seen through overlayfs with the tree.
func TestMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	s := open(t)
	want := mountedTree(t, s)
	image, err := s.PutImage(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	// The mounts are those of a thread's own namespace and end with it: a
	// locked thread that its goroutine leaves is not used again.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- compareMounted(t, s, image, want)
	}()
	switch err := <-done; {
	case errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOTBLK):
		t.Skip("EROFS mounts of files (Linux 6.12): ", err)
	case err != nil:
		t.Error(err)
	}
}

func mountedTree(t *testing.T, s *store.Store) *tree.Tree {
	tr := storetest.PutTree(t, s, map[string]string{
		"etc/empty": "", "etc/small": "small\n", "etc/64": strings.Repeat("x", 64), "etc/65": strings.Repeat("x", 65),
		"usr/bin/tool": strings.Repeat("tool", 5000), "usr/lib/twin": strings.Repeat("tool", 5000),
		"ab": strings.Repeat("a name of the object store", 9),
	})
	tool, _ := tr.Get("usr/bin/tool")
	tool.Mode, tool.UID, tool.GID, tool.MTime = 0o4711, 7, 100000, 1234567890
	tool.Xattrs = map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	for p, e := range map[string]tree.Entry{
		"usr/bin/tool":  tool,
		"usr/bin/alias": {Kind: tree.Hardlink, Target: "usr/bin/tool"},
		"bin":           {Kind: tree.Symlink, Mode: 0o777, Target: "usr/bin"},
		"long":          {Kind: tree.Symlink, Mode: 0o777, Target: strings.Repeat("l/", 2000)},
		"dev/null":      {Kind: tree.CharDevice, Mode: 0o666, Major: 1, Minor: 3},
		"pipe":          {Kind: tree.Fifo, Mode: 0o600, MTime: 5},
		"tmp":           {Kind: tree.Dir, Mode: 0o1777, Xattrs: map[string]string{"user.note": "n"}},
	} {
		if err := tr.Put(p, e); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 400 { // several blocks of directory entries
		p := "many/" + strings.Repeat("n", 40) + string(rune('a'+i%26)) + string(rune('a'+i/26))
		if err := tr.Put(p, tree.Entry{Kind: tree.Symlink, Mode: 0o777, Target: p}); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// compareMounted runs on a thread of its own. It must not call FailNow.
func compareMounted(t *testing.T, s *store.Store, image system.Object, want *tree.Tree) error {
	lower, merged := t.TempDir(), t.TempDir()
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("a mount namespace: %w", err)
	}
	if err := unix.Mount(s.ImagePath(image.Digest), lower, "erofs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mounting the image: %w", err)
	}
	data := "lowerdir=" + lower + "::" + s.ObjectsDir() + ",metacopy=on,redirect_dir=on"
	if err := unix.Mount("overlay", merged, "overlay", unix.MS_RDONLY, data); err != nil {
		return errors.Join(fmt.Errorf("mounting the overlay: %w", err), unix.Unmount(lower, unix.MNT_DETACH))
	}
	compare(t, s, merged, want)
	return errors.Join(unix.Unmount(merged, unix.MNT_DETACH), unix.Unmount(lower, unix.MNT_DETACH))
}

// compare walks a mounted tree. Nothing of the object store may be seen.
func compare(t *testing.T, s *store.Store, root string, want *tree.Tree) {
	seen := 0
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		seen++
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		e, ok := want.Inode(rel)
		if !ok {
			t.Errorf("%s is seen and is not in the tree", rel)
			return nil
		}
		compareOne(t, s, p, rel, e)
		return nil
	})
	if err != nil || seen != want.Len() {
		t.Errorf("%d entries seen, want %d: %v", seen, want.Len(), err)
	}
	a, err1 := os.Stat(filepath.Join(root, "usr/bin/tool"))
	b, err2 := os.Stat(filepath.Join(root, "usr/bin/alias"))
	if err1 != nil || err2 != nil || !os.SameFile(a, b) {
		t.Errorf("the two names of a file: %v, %v", err1, err2)
	}
}

func compareOne(t *testing.T, s *store.Store, p, rel string, e tree.Entry) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		t.Error(err)
		return
	}
	types := map[tree.Kind]uint32{tree.File: unix.S_IFREG, tree.Dir: unix.S_IFDIR, tree.Symlink: unix.S_IFLNK,
		tree.CharDevice: unix.S_IFCHR, tree.Fifo: unix.S_IFIFO}
	if st.Mode != types[e.Kind]|uint32(e.Mode) || st.Uid != e.UID || st.Gid != e.GID || st.Mtim.Sec != e.MTime {
		t.Errorf("%s: mode %o, owner %d:%d, time %d; want %+v", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, e)
	}
	switch e.Kind {
	case tree.File:
		var content []byte
		var err error
		if e.Size > 0 {
			content, err = s.Bytes(e.Digest, 1<<20)
		}
		got, err2 := os.ReadFile(p)
		if err != nil || err2 != nil || !bytes.Equal(got, content) || st.Size != e.Size {
			t.Errorf("%s: %d bytes, %v; want %d, %v", rel, len(got), err2, len(content), err)
		}
	case tree.Symlink:
		if got, err := os.Readlink(p); err != nil || got != e.Target {
			t.Errorf("%s: link to %.40q, %v; want %.40q", rel, got, err, e.Target)
		}
	case tree.CharDevice:
		if unix.Major(st.Rdev) != e.Major || unix.Minor(st.Rdev) != e.Minor {
			t.Errorf("%s: device %#x", rel, st.Rdev)
		}
	}
	got := map[string]string{}
	for k := range e.Xattrs {
		b := make([]byte, 100)
		if n, err := unix.Lgetxattr(p, k, b); err == nil {
			got[k] = string(b[:n])
		}
	}
	if !maps.Equal(got, e.Xattrs) {
		t.Errorf("%s: attributes %q, want %q", rel, got, e.Xattrs)
	}
}
