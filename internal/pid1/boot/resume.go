package boot

import (
	"errors"
	"os"

	"github.com/instar-os/instar/internal/linux"
	"github.com/instar-os/instar/internal/pid1/trial"
	"github.com/instar-os/instar/internal/record"
	"github.com/instar-os/instar/internal/slot"
)

// resume goes on, in the service of a host, with what the first stage has
// decided: the record says whether what runs is on trial. It may be done again,
// when the service starts again.
func (d *device) resume() error {
	parts, err := linux.Partitions(d.sysfs.FS())
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.Label == record.Partition {
			return d.resumeFrom(p)
		}
	}
	return nil
}

func (d *device) resumeFrom(p linux.Partition) error {
	s := &d.standing
	book, damaged, err := openNotebook(p)
	if err = errors.Join(err, damaged); err != nil {
		d.warn("nothing is known of a trial: %v", err)
		return nil
	}
	size, err := linux.DeviceSize(book.at.File)
	if err != nil {
		return errors.Join(err, book.at.Close())
	}
	d.later("close the record", book.at.Close)
	s.book, s.asked = book, d.configuration.Name
	s.firmware = slots{slot.Disk{Device: book.at.Disk, Size: size}, d.listening()}
	s.decided = trial.Decision{Action: trial.Run, Home: -1}
	if t := book.Record().Trial; t != nil && t.Phase == record.Running && t.On(d.system, d.configuration.Name) {
		s.decided.Action = trial.Try
	}
	return nil
}

// proven takes away what would restart a host on trial at its deadline.
func (m *machine) proven() {
	if err := os.Remove(trialFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		m.log.Printf("%v", err)
	}
}
