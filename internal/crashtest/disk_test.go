package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/instar-os/instar/internal/crashtest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/pid1/data"
)

const mib = 1 << 20

func diskScenarios() []*crashtest.Scenario {
	return []*crashtest.Scenario{firstBoot(), growth(), repairTable()}
}

var (
	dataContent  = text("template", 40<<10)
	dataTemplate = data.Template{Size: int64(len(dataContent)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(dataContent)), nil
	}}
)

// flashed is a disk with an image of 4 MiB in front of old bytes.
func flashed(size int64) []byte {
	g := &disk.GPT{Disk: disk.SeedGUID([]byte("disk"), "test"), Size: 4 * mib}
	for _, name := range []string{"instar-slot-a", "instar-store"} {
		if _, err := g.Add(disk.Partition{Type: disk.TypeLinux, GUID: disk.SeedGUID([]byte(name), "p"), Name: name}, mib); err != nil {
			panic(err)
		}
	}
	b := memory(bytes.Repeat([]byte{0x5a}, int(size)))
	if err := g.Write(b); err != nil {
		panic(err)
	}
	return b
}

type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

// table reads a disk's table as the firmware and init do: the partitions that
// were there are there.
func table(d *crashtest.Disk, size int64) (*disk.GPT, error) {
	g, err := disk.ReadGPT(d, size)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range g.Partitions {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); !strings.HasPrefix(got, "instar-slot-a instar-store") {
		return nil, fmt.Errorf("the table has %s", got)
	}
	return g, nil
}

func withData(d *crashtest.Disk, g *disk.GPT) (disk.Partition, error) {
	p, ok := g.Find(data.Name)
	if !ok {
		return p, nil
	}
	got := make([]byte, len(dataContent))
	if _, err := d.ReadAt(got, p.Offset()); err != nil {
		return p, err
	}
	if !bytes.Equal(got, dataContent) {
		return p, errors.New("the data partition is in the table and its file system is not there whole")
	}
	return p, nil
}

func ensureData(size int64) func(e *crashtest.Env) error {
	return func(e *crashtest.Env) error {
		if _, err := data.Ensure(e.Disk("sda"), size, dataTemplate); err != nil {
			return err
		}
		e.Ack("new")
		return nil
	}
}

func firstBoot() *crashtest.Scenario {
	const size = 6 * mib
	return &crashtest.Scenario{
		Name:  "data: the partition at the first boot",
		Setup: func(e *crashtest.Env) error { e.AddDisk("sda", flashed(size)); return nil },
		Run:   ensureData(size),
		Check: func(s *crashtest.State) (string, error) {
			d := s.Disk("sda")
			g, err := table(d, size)
			if err != nil {
				return "", err
			}
			p, err := withData(d, g)
			if err != nil {
				return "", err
			}
			if p.Name == "" {
				return acknowledged(s, "old")
			}
			return acknowledged(s, "new")
		},
	}
}

func growth() *crashtest.Scenario {
	const was, is = 6 * mib, 8 * mib
	return &crashtest.Scenario{
		Name: "data: the partition grows with the disk",
		Setup: func(e *crashtest.Env) error {
			d := e.AddDisk("sda", flashed(was))
			if _, err := data.Ensure(d, was, dataTemplate); err != nil {
				return err
			}
			larger := make([]byte, is)
			if _, err := d.ReadAt(larger[:was], 0); err != nil {
				return err
			}
			e.AddDisk("sda", larger)
			return nil
		},
		Run: ensureData(is),
		Check: func(s *crashtest.State) (string, error) {
			d := s.Disk("sda")
			g, err := table(d, is)
			if err != nil {
				return "", err
			}
			p, err := withData(d, g)
			switch {
			case err != nil:
				return "", err
			case p.Size() == is-4*mib:
				return acknowledged(s, "new")
			case p.Size() == was-4*mib:
				return acknowledged(s, "old")
			}
			return "", fmt.Errorf("the data partition has %d bytes", p.Size())
		},
	}
}

// repairTable restores a primary table from the backup.
func repairTable() *crashtest.Scenario {
	const size = 6 * mib
	return &crashtest.Scenario{
		Name: "data: a damaged table is repaired",
		Setup: func(e *crashtest.Env) error {
			d := e.AddDisk("sda", flashed(size))
			if _, err := data.Ensure(d, size, dataTemplate); err != nil {
				return err
			}
			_, err := d.WriteAt(make([]byte, 512), 512)
			return err
		},
		Run: func(e *crashtest.Env) error {
			data.Repair(e.Disk("sda"), size)
			if _, err := disk.ReadGPT(e.Disk("sda"), size); err != nil {
				return err
			}
			if data.Repair(e.Disk("sda"), size) {
				return errors.New("it was not repaired")
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			g, err := table(s.Disk("sda"), size)
			if err != nil {
				return "", err
			}
			if p, err := withData(s.Disk("sda"), g); err != nil || p.Name == "" {
				return "", fmt.Errorf("the data partition %q: %w", p.Name, err)
			}
			if g.Recovered {
				return acknowledged(s, "old")
			}
			return acknowledged(s, "new")
		},
	}
}
