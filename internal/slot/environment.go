package slot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/disk"
)

// EnvironmentPlace is where U-Boot keeps its two environments on the disk, as
// fw_env.config(5) says it: CONFIG_ENV_OFFSET, CONFIG_ENV_OFFSET_REDUND and
// CONFIG_ENV_SIZE of the board's U-Boot.
type EnvironmentPlace struct {
	Offsets [2]int64 // bytes on the disk
	Size    int      // bytes of each
}

// EnvironmentName is the name of the partition that holds both environments,
// one half each. It may lie before the first slot.
const EnvironmentName = "instar-environment"

// EnvironmentPartition is the partition of two environments of size bytes each
// at an offset on the disk, all multiples of a sector.
func EnvironmentPartition(offset, size int64, guid disk.GUID) disk.Partition {
	first := uint64(offset) / disk.SectorSize
	return disk.Partition{Type: disk.TypeEnvironment, GUID: guid, Name: EnvironmentName,
		First: first, Last: first + 2*uint64(size)/disk.SectorSize - 1}
}

// PlaceOf returns where the environments are in their partition.
func PlaceOf(p disk.Partition) EnvironmentPlace {
	half := p.Size() / 2
	return EnvironmentPlace{Offsets: [2]int64{p.Offset(), p.Offset() + half}, Size: int(half)}
}

// A redundant environment begins with the CRC-32 of its data and a flag, which
// is one higher in the newer copy, and 0 after 255 (U-Boot: env/env.c).
const envHeader = 5

// maxEnvironment is the largest environment in bytes.
const maxEnvironment = 1 << 20

// environment is U-Boot's variables, read from the newer copy.
type environment struct {
	vars map[string]string
	flag byte
	next int // the copy that is written next
}

// EncodeEnvironment returns the bytes of one copy.
func EncodeEnvironment(vars map[string]string, flag byte, size int) ([]byte, error) {
	if size < envHeader+2 || size > maxEnvironment {
		return nil, fmt.Errorf("an environment of %d bytes", size)
	}
	b := make([]byte, envHeader, size)
	b[4] = flag
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(vars[name], "\x00") {
			return nil, fmt.Errorf("variable %q cannot stand in an environment", name)
		}
		b = append(b, name+"="+vars[name]+"\x00"...)
	}
	if len(b)+1 > size {
		return nil, fmt.Errorf("the environment needs %d bytes and has %d", len(b)+1, size)
	}
	b = append(b, make([]byte, size-len(b))...)
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[envHeader:]))
	return b, nil
}

// DecodeEnvironment reads one copy.
func DecodeEnvironment(b []byte) (vars map[string]string, flag byte, err error) {
	if len(b) < envHeader+2 || len(b) > maxEnvironment {
		return nil, 0, fmt.Errorf("an environment of %d bytes", len(b))
	}
	if crc32.ChecksumIEEE(b[envHeader:]) != binary.LittleEndian.Uint32(b) {
		return nil, 0, errors.New("wrong checksum")
	}
	vars = map[string]string{}
	for data := b[envHeader:]; len(data) > 0 && data[0] != 0; {
		line, rest, ok := bytes.Cut(data, []byte{0})
		if !ok {
			return nil, 0, errors.New("a variable without end")
		}
		if name, value, ok := strings.Cut(string(line), "="); ok && name != "" {
			vars[name] = value
		}
		data = rest
	}
	return vars, b[4], nil
}

// readEnvironment takes the newer of the copies that are whole.
func (u UBoot) readEnvironment() (*environment, error) {
	var all [2]*environment
	var errs [2]error
	for i, at := range u.Place.Offsets {
		b := make([]byte, u.Place.Size)
		if _, err := u.Device.ReadAt(b, at); err != nil {
			return nil, fmt.Errorf("reading U-Boot's environment: %w", err)
		}
		vars, flag, err := DecodeEnvironment(b)
		if errs[i] = err; err == nil {
			all[i] = &environment{vars, flag, 1 - i}
		}
	}
	switch a, b := all[0], all[1]; {
	case a == nil && b == nil:
		return nil, fmt.Errorf("reading U-Boot's environment: %w; second copy: %w", errs[0], errs[1])
	case b == nil || a != nil && int8(a.flag-b.flag) >= 0:
		return a, nil
	default:
		return b, nil
	}
}

// change edits variables; an empty value removes one. Either all or none of it
// is found after a cut: the older copy is written, synced and read back.
func (u UBoot) change(changes map[string]string) error {
	e, err := u.readEnvironment()
	if err != nil {
		return err
	}
	for name, value := range changes {
		if e.vars[name] = value; value == "" {
			delete(e.vars, name)
		}
	}
	b, err := EncodeEnvironment(e.vars, e.flag+1, u.Place.Size)
	if err != nil {
		return err
	}
	at := u.Place.Offsets[e.next]
	if _, err := u.Device.WriteAt(b, at); err != nil {
		return fmt.Errorf("writing U-Boot's environment: %w", err)
	}
	if err := u.Device.Sync(); err != nil {
		return fmt.Errorf("syncing U-Boot's environment: %w", err)
	}
	if _, err := (reader{u.Device}).WriteAt(b, at); err != nil {
		return fmt.Errorf("reading U-Boot's environment back: %w", err)
	}
	return nil
}

var _ Method = UBoot{}

// stageUnless stages a slot unless it is in force.
func (d Disk) stageUnless(now, n int, files []disk.FATFile) error {
	g, slots, err := d.read()
	if err != nil {
		return err
	}
	if err := within(n, slots); err != nil {
		return err
	}
	if n == now {
		return errors.New("firmware boots from it")
	}
	return d.stage(g, slots, n, files)
}

// startable checks that a slot is whole and returns the number of its partition.
func (d Disk) startable(n int) (int, error) {
	g, slots, err := d.read()
	if err != nil {
		return 0, err
	}
	if err := within(n, slots); err != nil {
		return 0, err
	}
	return slots[n] + 1, d.staged(g.Partitions[slots[n]])
}

// slotOf returns the slot of a partition's number.
func (d Disk) slotOf(partition string) (int, error) {
	_, slots, err := d.read()
	if err != nil {
		return 0, err
	}
	for n, i := range slots {
		if fmt.Sprint(i+1) == partition {
			return n, nil
		}
	}
	return 0, fmt.Errorf("partition %q is no boot slot", partition)
}
