package slot

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
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

	// Once lets the loader start Good unless a variable of the firmware says New,
	// which the loader deletes before it starts anything: OneShot. Without it the
	// loader counts the tries by itself.
	Once bool

	Good Image // zero: none
}

// OneShot is what the variable LoaderEntryOneShot says for one start of the
// system that is on trial in a slot. It is a pattern, because the names of
// entries have their counter in some releases of the loader and not in others.
func OneShot(sys digest.Digest) string { return start + sys.Short() + "*.conf" }

// Files returns the files of the slot.
//
// On trial, the loader's list has two entries that are sorted by keys of ours:
// New, then Good; it takes the first, and puts last what has no tries left. No
// pattern chooses, because whether a name that is matched has the counter in it
// differs between releases of the loader. With Once, Good is named as the
// default, and a variable stands above it. A confirmed slot names its entry.
func (c Contents) Files() ([]disk.FATFile, error) {
	loader, ok := uki.LoaderPaths[c.Arch]
	switch {
	case !ok:
		return nil, fmt.Errorf("no UEFI boot path is known for architecture %q", c.Arch)
	case c.New.System.IsZero() || c.New.UKI == nil || c.Loader == nil:
		return nil, errors.New("boot slot: it has no system or no loader")
	case c.Tries < 0 || c.Tries > MaxTries:
		return nil, fmt.Errorf("boot slot: %d tries; at most %d can be counted", c.Tries, MaxTries)
	case c.Tries > 0 && c.Good.UKI == nil:
		return nil, errors.New("boot slot: a system on trial without one to come back to")
	case c.Tries > 0:
		return c.trial(loader)
	}
	e := Entry{System: c.New.System.Short()}
	files := []disk.FATFile{file(loader, c.Loader), file(uki.Dir+"/"+e.Name(), c.New.UKI)}
	if c.Good.UKI != nil {
		good := Entry{System: c.Good.System.Short(), Good: true}
		files = append(files, file(uki.Dir+"/"+good.Name(), c.Good.UKI))
	}
	e.Profile = c.Configuration
	return append(files, file("loader/loader.conf", strings.NewReader("default "+e.Name()+"\n"+loaderConf))), nil
}

// trialDir is where images lie that the loader must not list by itself.
const trialDir = "EFI/instar"

func (c Contents) trial(loader string) ([]disk.FATFile, error) {
	profile, err := profileOf(c.New.UKI, c.Configuration)
	if err != nil {
		return nil, fmt.Errorf("boot slot: system %s: %w", c.New.System.Short(), err)
	}
	conf := loaderConf
	if c.Once {
		good := Entry{System: c.Good.System.Short(), Good: true}
		conf = "default " + strings.TrimSuffix(good.Name(), ".efi") + ".conf\n" + conf
	}
	files := []disk.FATFile{file(loader, c.Loader), file("loader/loader.conf", strings.NewReader(conf))}
	for _, x := range []struct {
		image   Image
		entry   Entry
		key     string
		profile int
	}{
		{c.New, Entry{System: c.New.System.Short(), Counted: true, Tries: c.Tries}, "1", profile},
		{c.Good, Entry{System: c.Good.System.Short(), Good: true}, "2", 0},
	} {
		plain := x.entry
		plain.Counted = false
		at := trialDir + "/" + plain.Name()
		conf := "title " + plain.Name() + "\nsort-key " + x.key + "\nlinux /" + at + "\n"
		if x.profile > 0 {
			conf += "options @" + strconv.Itoa(x.profile) + "\n"
		}
		name := "loader/entries/" + strings.TrimSuffix(x.entry.Name(), ".efi") + ".conf"
		files = append(files, file(at, x.image.UKI), file(name, strings.NewReader(conf)))
	}
	return files, nil
}

// Limits of what is read of an image to find a profile, in bytes.
const (
	maxHead    = 64 << 10
	maxProfile = 4096
)

// profileOf returns the number of a profile in an image by its ID; of "" it is
// the first one, 0.
func profileOf(image pe.Content, id string) (int, error) {
	if id == "" {
		return 0, nil
	}
	head := make([]byte, min(image.Size(), maxHead))
	if _, err := io.ReadFull(io.NewSectionReader(image, 0, image.Size()), head); err != nil {
		return 0, err
	}
	m, err := pe.ParseHead(head, image.Size())
	if err != nil {
		return 0, err
	}
	n := 0
	for _, s := range m.Sections {
		if s.Name != ".profile" {
			continue
		}
		b := make([]byte, min(s.RawSize, s.VirtualSize, maxProfile))
		if _, err := io.ReadFull(io.NewSectionReader(image, int64(s.RawOffset), int64(len(b))), b); err != nil {
			return 0, err
		}
		if slices.Contains(strings.Split(string(b), "\n"), "ID="+id) {
			return n, nil
		}
		n++
	}
	return 0, fmt.Errorf("it has no profile %q", id)
}

// loaderConf is the rest of loader.conf(5): no menu, no editor, nothing found by
// itself.
const loaderConf = "timeout 0\neditor no\nauto-entries no\nauto-firmware no\n"

func file(name string, data pe.Content) disk.FATFile {
	return disk.FATFile{Path: name, Size: data.Size(), Data: data}
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
// system. Names of the loader may lack the counter.
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
		if rest, ok = strings.CutSuffix(rest, ".conf"); !ok {
			return Entry{}, false
		}
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
		dir, name := path.Split(f.Path)
		if e, ok := ParseEntry(name); ok && e.System == sys.Short() && (dir == uki.Dir+"/" || dir == trialDir+"/") {
			return f, true
		}
	}
	return disk.FATFile{}, false
}

// Way says how the loader of a slot comes to a system when nobody tells it.
type Way int

// The ways, the best last.
const (
	Never    Way = iota // it does not
	InTheEnd            // when another one has no tries left
	Always
)

// maxConf is the largest loader.conf in bytes that is read.
const maxConf = 4096

// Leads returns the way of the loader to a system among the files of a slot.
func Leads(files []disk.FATFile, sys digest.Digest) Way {
	way := Never
	for _, f := range files {
		if e, ok := ParseEntry(path.Base(f.Path)); ok && e.Good && e.System == sys.Short() && path.Dir(f.Path) == "loader/entries" {
			way = max(way, InTheEnd)
		}
		if f.Path != "loader/loader.conf" || f.Size > maxConf {
			continue
		}
		b, err := io.ReadAll(io.NewSectionReader(f.Data, 0, f.Size))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			name, ok := strings.CutPrefix(strings.TrimSpace(line), "default ")
			if !ok {
				continue
			}
			if e, ok := ParseEntry(name); ok && e.System == sys.Short() {
				return Always
			}
			return Never
		}
	}
	return way
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
