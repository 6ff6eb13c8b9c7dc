package container

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/system"
)

// Disk is the number of a disk of the machine.
type Disk struct{ Major, Minor uint32 }

// String writes it as cgroups and sysfs do.
func (d Disk) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// Disks knows the machine's disks.
type Disks interface {
	// Find returns the disks that match, or the disk of the data partition
	// without a match. That there is none is an error.
	Find(*system.DeviceMatch) ([]Disk, error)
	// Weigh makes weights count at the disk of the data partition. It may be
	// called again.
	Weigh() error
}

// errNoDisks says why limits of disks do not hold.
var errNoDisks = errors.New("the disks of this machine are not known")

// limitDisks sets the container's share of disks. What cannot be enforced is a
// warning.
func (r *Runtime) limitDisks(g *cgroup, l system.Limits) (warnings []string) {
	if l.IOWeight == 0 && len(l.Disks) == 0 {
		return nil
	}
	fail := func(what string, err error) {
		warnings = append(warnings, fmt.Sprintf("%s is not enforced: %v", what, err))
	}
	if g == nil {
		fail("its share of disks", errNoCgroup)
		return warnings
	}
	parent := cmp.Or(g.parent, r.Cgroup)
	have, err := controllers(parent)
	if err == nil {
		err = have.enable(parent, "io")
	}
	if err != nil {
		fail("its share of disks", err)
		return warnings
	}
	if l.IOWeight > 0 {
		if err := r.weigh(g, l.IOWeight); err != nil {
			fail(fmt.Sprintf("io.weight %d", l.IOWeight), err)
		}
	}
	for _, d := range l.Disks {
		if err := r.throttle(g, d); err != nil {
			fail("io.max"+rates(d), err)
		}
	}
	return warnings
}

func (r *Runtime) weigh(g *cgroup, weight int64) error {
	if r.Disks == nil {
		return errNoDisks
	}
	err := put(g.fd, "io.weight", strconv.FormatInt(weight, 10))
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("the kernel has no weights of disks (CONFIG_BLK_CGROUP_IOCOST)")
	}
	if err != nil {
		return err
	}
	return r.Disks.Weigh()
}

func (r *Runtime) throttle(g *cgroup, l system.DiskLimit) error {
	if r.Disks == nil {
		return errNoDisks
	}
	disks, err := r.Disks.Find(l.Disk)
	if err != nil {
		return err
	}
	for _, d := range disks {
		err := put(g.fd, "io.max", d.String()+rates(l))
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("the kernel has no limits of disks (CONFIG_BLK_DEV_THROTTLING)")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rates are the keys of io.max: Documentation/admin-guide/cgroup-v2.rst. All are
// written, for a later limit takes the place of an earlier one.
func rates(l system.DiskLimit) string {
	var b strings.Builder
	for _, r := range []struct {
		key string
		n   int64
	}{{"rbps", l.Read}, {"wbps", l.Write}, {"riops", l.ReadOps}, {"wiops", l.WriteOps}} {
		value := "max"
		if r.n > 0 {
			value = strconv.FormatInt(r.n, 10)
		}
		fmt.Fprintf(&b, " %s=%s", r.key, value)
	}
	return b.String()
}

// DiskUse is what a sandbox does with one disk, and what it may: bytes and
// operations, limits a second; 0 is no limit.
type DiskUse struct {
	Disk                                   Disk
	Read, Written, Reads, Writes           int64
	MaxRead, MaxWrite, MaxReads, MaxWrites int64
}

// Disks returns the use of every disk that was used or is limited, in order of
// io.stat and io.max; nothing where the machine does not count it.
func (s *Sandbox) Disks() []DiskUse {
	if s.cgroup == nil {
		return nil
	}
	var out []DiskUse
	of := func(d Disk) *DiskUse {
		for i := range out {
			if out[i].Disk == d {
				return &out[i]
			}
		}
		out = append(out, DiskUse{Disk: d})
		return &out[len(out)-1]
	}
	s.cgroup.disks("io.stat", func(d Disk, key string, n int64) {
		u := of(d)
		switch key {
		case "rbytes":
			u.Read = n
		case "wbytes":
			u.Written = n
		case "rios":
			u.Reads = n
		case "wios":
			u.Writes = n
		}
	})
	s.cgroup.disks("io.max", func(d Disk, key string, n int64) {
		u := of(d)
		switch key {
		case "rbps":
			u.MaxRead = n
		case "wbps":
			u.MaxWrite = n
		case "riops":
			u.MaxReads = n
		case "wiops":
			u.MaxWrites = n
		}
	})
	return out
}

// disks reads a nested keyed file, calling f for each key with a number.
func (g *cgroup) disks(file string, f func(d Disk, key string, n int64)) {
	text, err := get(g.fd, file)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var d Disk
		if n, err := fmt.Sscanf(words[0], "%d:%d", &d.Major, &d.Minor); n != 2 || err != nil {
			continue
		}
		for _, w := range words[1:] {
			key, value, _ := strings.Cut(w, "=")
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				f(d, key, n)
			}
		}
	}
}
