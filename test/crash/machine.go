package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/instar-os/instar/internal/crashtest/blocks"
	"github.com/instar-os/instar/internal/crashtest/nbd"
	"github.com/instar-os/instar/internal/vm"
)

// Boot runs a machine whose disk is served by d until use returns, and takes
// its power away then. Nothing of it is left when Boot returns.
func Boot(ctx context.Context, o vm.Options, d nbd.Disk, use func(context.Context, *vm.VM) error) error {
	dir, err := os.MkdirTemp("", "instar-crash-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "disk"))
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- nbd.Serve(l, d) }()
	o.DiskSocket, o.Dir = filepath.Join(dir, "disk"), dir
	v, err := vm.Start(ctx, o)
	if err == nil {
		err = errors.Join(use(ctx, v), v.Close())
	}
	return errors.Join(err, l.Close(), <-served)
}

// Scratch is a disk over a state that forgets what is written to it.
func Scratch(s *blocks.State) (*blocks.Log, error) { return blocks.New(s, s.Size(), "") }

// baseDisk is the disk of a machine before anything was recorded.
type baseDisk struct {
	*os.File
	size int64
}

// open opens a raw disk image; more bytes of zeros are at its end.
func open(path string, more int64) (*baseDisk, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &baseDisk{f, info.Size() + more}, nil
}

// ReadAt implements io.ReaderAt.
func (d *baseDisk) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.File.ReadAt(p, off)
	if errors.Is(err, io.EOF) && off+int64(len(p)) <= d.size {
		clear(p[n:])
		return len(p), nil
	}
	return n, err
}

func (d *baseDisk) log() (*blocks.Log, error) {
	l, err := blocks.New(d, d.size, "")
	if err != nil {
		return nil, fmt.Errorf("disk of %d bytes: %w", d.size, err)
	}
	return l, nil
}
