package boot

import (
	"fmt"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/record"
)

// loader is how systemd-boot is told what to boot: by variables of the
// firmware that stand above the slot's loader.conf.
type loader struct {
	system                 digest.Digest
	selected, lasts, next1 linux.EFIText
}

func newLoader(dir string, system digest.Digest) *loader {
	name := func(n string) linux.EFIText { return linux.EFIText{Dir: dir, Name: n, Vendor: linux.EFILoader} }
	return &loader{system, name("LoaderEntrySelected"), name("LoaderEntryDefault"), name("LoaderEntryOneShot")}
}

// entry is the loader's name of a configuration: the profile of the system's
// unified kernel image, as in the slot's loader.conf.
func (l *loader) entry(configuration string) string {
	return "instar-" + l.system.Short() + ".efi@" + configuration
}

// set chooses what the next boot runs: once, or from then on.
func (l *loader) set(configuration string, once bool) error {
	if once {
		return l.next1.Set(l.entry(configuration))
	}
	if err := l.lasts.Set(l.entry(configuration)); err != nil {
		return err
	}
	return l.next1.Delete()
}

// next returns what the next boot runs, "" for the system's default.
func (l *loader) next() (configuration string, once bool, err error) {
	for _, v := range []linux.EFIText{l.next1, l.lasts} {
		text, err := v.Get()
		if err != nil {
			return "", false, err
		}
		if name, ok := strings.CutPrefix(text, l.entry("")); ok {
			return name, v.Name == l.next1.Name, nil
		}
	}
	return "", false, nil
}

// present says whether the machine was booted by a loader that listens.
func (l *loader) present() error {
	text, err := l.selected.Get()
	if err == nil && text == "" {
		err = fmt.Errorf("it was not started by systemd-boot: there is no UEFI variable %s", l.selected.Name)
	}
	return err
}

// listening is the loader that has started this machine and reads what it is
// told; nil when there is none.
func (m *machine) listening() *loader {
	if l := m.switcher.loader; l != nil && l.present() == nil {
		return l
	}
	return nil
}

// awaited says which system on trial the next boot is for; "" for none.
func (m *machine) awaited() string {
	s := &m.standing
	if s.book == nil {
		return ""
	}
	if t := s.book.Record().Trial; t != nil && !t.Same && t.Phase == record.Armed {
		return t.System.Short()
	}
	return ""
}
