package slot

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/pe"
	"github.com/instar-os/instar/internal/uki"
)

// MaxTries is the most tries that a slot counts.
const MaxTries = 9

// Image is a unified kernel image and the system that it starts.
type Image struct {
	System digest.Digest
	UKI    pe.Content
}

// Contents is what a slot for UEFI firmware holds: a loader, a system, and the
// last good system to come back to.
type Contents struct {
	Arch   string     // GOARCH
	Loader pe.Content // systemd-boot
	New    Image

	// Configuration is the profile that is booted, "" for the first one of the
	// image, which is the system's default.
	Configuration string

	// Tries says how often the loader starts New before it starts Good instead;
	// 0: always, New is confirmed.
	Tries int

	Good Image // zero: none
}

// Files returns the files of the slot. The loader picks New while its counter
// is not used up, because only then its name matches what loader.conf says, and
// else the first image of the slot that has no counter: Good.
func (c Contents) Files() ([]disk.FATFile, error) {
	path, ok := uki.LoaderPaths[c.Arch]
	switch {
	case !ok:
		return nil, fmt.Errorf("no UEFI boot path is known for architecture %q", c.Arch)
	case c.New.System.IsZero() || c.New.UKI == nil || c.Loader == nil:
		return nil, errors.New("boot slot: it has no system or no loader")
	case c.Tries < 0 || c.Tries > MaxTries:
		return nil, fmt.Errorf("boot slot: %d tries; at most %d can be counted", c.Tries, MaxTries)
	case c.Tries > 0 && c.Good.UKI == nil:
		return nil, errors.New("boot slot: a system on trial without one to come back to")
	}
	e := Entry{System: c.New.System.Short(), Tries: c.Tries, Counted: c.Tries > 0}
	files := []disk.FATFile{file(path, c.Loader), file(uki.Dir+"/"+e.Name(), c.New.UKI)}
	if c.Good.UKI != nil {
		good := Entry{System: c.Good.System.Short(), Good: true}
		files = append(files, file(uki.Dir+"/"+good.Name(), c.Good.UKI))
	}
	pattern := e.Name()
	if e.Counted {
		pattern = start + e.System + "+[1-9]*.efi"
	}
	if c.Configuration != "" {
		pattern += "@" + c.Configuration
	}
	return append(files, file("loader/loader.conf", strings.NewReader(loaderConf(pattern)))), nil
}

// loaderConf is loader.conf(5): no menu, no editor, nothing found by itself.
func loaderConf(pattern string) string {
	return "default " + pattern + "\ntimeout 0\neditor no\nauto-entries no\nauto-firmware no\n"
}

func file(path string, data pe.Content) disk.FATFile {
	return disk.FATFile{Path: path, Size: data.Size(), Data: data}
}

// Entry is a name of the loader for what it boots: the file of an image in a
// slot and a profile in it.
type Entry struct {
	System  string // the first 12 digits of its digest
	Good    bool   // it is in the slot to come back to
	Counted bool   // its tries are counted:
	Tries   int    // left
	Done    int    // used up
	Profile string // configuration; "" for the system's default
}

const (
	start     = "instar-" // of a system that the slot is for
	startGood = "good-"   // of the last good system in the slot of another one
)

// Name returns the entry's name, "instar-0123456789ab+3.efi@night".
func (e Entry) Name() string {
	s := start
	if e.Good {
		s = startGood
	}
	s += e.System
	if e.Counted {
		s += "+" + strconv.Itoa(e.Tries)
		if e.Done > 0 {
			s += "-" + strconv.Itoa(e.Done)
		}
	}
	s += ".efi"
	if e.Profile != "" {
		s += "@" + e.Profile
	}
	return s
}

// ParseEntry reads a name of the loader, as of the variable
// LoaderEntrySelected, or the name of a file; false for one that is not of a
// system.
func ParseEntry(name string) (Entry, bool) {
	var e Entry
	name, e.Profile, _ = strings.Cut(name, "@")
	rest, ok := strings.CutPrefix(name, start)
	if !ok {
		if rest, ok = strings.CutPrefix(name, startGood); !ok {
			return Entry{}, false
		}
		e.Good = true
	}
	if rest, ok = strings.CutSuffix(rest, ".efi"); !ok {
		return Entry{}, false
	}
	var counter string
	if rest, counter, e.Counted = strings.Cut(rest, "+"); e.Counted {
		left, done, _ := strings.Cut(counter, "-")
		var err1, err2 error
		e.Tries, err1 = strconv.Atoi(left)
		if done != "" {
			e.Done, err2 = strconv.Atoi(done)
		}
		if err1 != nil || err2 != nil || e.Tries < 0 || e.Done < 0 {
			return Entry{}, false
		}
	}
	e.System = rest
	return e, len(rest) == 12 && strings.Trim(rest, "0123456789abcdef") == ""
}

// Find returns the image of a system among the files of a slot, whatever its
// name says of tries.
func Find(files []disk.FATFile, sys digest.Digest) (disk.FATFile, bool) {
	for _, f := range files {
		name, ok := strings.CutPrefix(f.Path, uki.Dir+"/")
		if e, isEntry := ParseEntry(name); ok && isEntry && e.System == sys.Short() {
			return f, true
		}
	}
	return disk.FATFile{}, false
}

// Loader returns the boot loader among the files of a slot.
func Loader(files []disk.FATFile) (disk.FATFile, bool) {
	for _, f := range files {
		for _, p := range uki.LoaderPaths {
			if strings.EqualFold(f.Path, p) {
				return f, true
			}
		}
	}
	return disk.FATFile{}, false
}
