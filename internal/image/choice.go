package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/slot"
)

// writeChoice writes what tells the firmware of a board to start from the first
// slot: U-Boot's environments, both alike but for which is the newer one, or a
// Raspberry Pi's autoboot.txt. UEFI firmware has it in the table.
func (p *Plan) writeChoice(w io.WriterAt) error {
	first := 0
	for i, q := range p.Table.Partitions {
		if q.Name == slot.Name(0) {
			first = i + 1
		}
	}
	if part, ok := p.Table.Find(slot.SelectName); ok {
		return p.writeSelect(w, part, first)
	}
	part, ok := p.Table.Find(slot.EnvironmentName)
	if !ok {
		return nil
	}
	place := slot.PlaceOf(part)
	for i, at := range place.Offsets {
		b, err := slot.EncodeEnvironment(slot.UBootVariables(p.Manifest.Boot.Environment.Device, first), byte(1-i), place.Size)
		if err != nil {
			return fmt.Errorf("U-Boot's environment: %w", err)
		}
		if _, err := w.WriteAt(b, at); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) writeSelect(w io.WriterAt, part disk.Partition, first int) error {
	b := slot.Autoboot(first, first)
	id := disk.SeedGUID(p.seed(), slot.SelectName+" volume")
	v := &disk.FAT{
		Size: part.Size(), Label: "SELECT", ID: binary.LittleEndian.Uint32(id[:]), Time: p.Manifest.Epoch,
		Files: []disk.FATFile{{Path: slot.AutobootPath, Size: int64(len(b)), Data: bytes.NewReader(b)}},
	}
	if err := v.Write(io.NewOffsetWriter(w, part.Offset())); err != nil {
		return fmt.Errorf("partition %s: %w", part.Name, err)
	}
	return nil
}
