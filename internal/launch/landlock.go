package launch

import (
	"encoding/binary"
	"fmt"
	"path"
	"syscall"

	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// Rights of Landlock's version 5 (Linux 6.10): linux/landlock.h and
// Documentation/userspace-api/landlock.rst. Older kernels refuse the rule set.
const (
	accessRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	accessFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV // what a file that is no directory can have
	accessAll = 1<<16 - 1
)

// landlock leaves the process, and those that it makes, no files but those below
// some paths. It comes where the numbers of the standard streams are free for a
// moment: a rule holds the number of its path's descriptor in memory, so that has
// to be known, and is 0. Paths are looked up as the container's user, who has to
// find them.
func (b *builder) landlock(l *system.Landlock) {
	if l == nil {
		return
	}
	b.do("forbidding new privileges", Prctl, imm(unix.PR_SET_NO_NEW_PRIVS), imm(1))
	rules := b.slot(b.do("making a rule set for files", LandlockCreateRuleset, b.bytes(words(accessAll, 0)), imm(16), imm(0)))
	for _, list := range []struct {
		what   string
		paths  []string
		access uint64
	}{{"reading", l.Read, accessRead}, {"writing", l.Write, accessAll}} {
		for _, p := range list.paths {
			b.beneath(rules, list.what+" below "+p, p, list.access)
		}
	}
	b.do("restricting it to these files", LandlockRestrictSelf, rules, imm(0))
}

// beneath adds the rule of a path: the rights of directories, which a file
// refuses, and those of files.
func (b *builder) beneath(rules Arg, what, p string, access uint64) {
	const number = 0 // of the path's descriptor
	fd := b.slot(b.do("opening "+p, Openat, imm(atCWD), b.str(p), imm(unix.O_PATH|unix.O_CLOEXEC)))
	b.do("setting descriptor 0 to "+p, Dup3, fd, imm(number), imm(0))
	for _, rights := range []uint64{access, access & accessFile} {
		attr := binary.LittleEndian.AppendUint32(words(rights), number) // struct landlock_path_beneath_attr, packed
		b.do("allowing "+what, LandlockAddRule, rules, imm(unix.LANDLOCK_RULE_PATH_BENEATH), b.bytes(attr), imm(0)).Tolerate = syscall.EINVAL
	}
}

// checkLandlock holds that the paths are paths.
func checkLandlock(c *system.Container) error {
	if c.Landlock == nil {
		return nil
	}
	for _, p := range append(append([]string{}, c.Landlock.Read...), c.Landlock.Write...) {
		if !path.IsAbs(p) || path.Clean(p) != p {
			return fmt.Errorf("landlock: %q is no absolute path in its shortest form", p)
		}
	}
	return nil
}
