package update

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

func day(epoch int64) string { return time.Unix(epoch, 0).UTC().Format("2006-01-02 15:04") }

// file is an open file with its size.
type file struct {
	*os.File
	size int64
}

// Size implements Content.
func (f *file) Size() int64 { return f.size }

func openFile(path string) (*os.File, error) { return os.Open(path) }

func sized(f *os.File, err error) (io.ReaderAt, int64, error) {
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// Part returns a boot part of the received system, verified: it came with the
// update, or is in a slot already. The caller closes it when it is a Closer.
func (r *Received) Part(o system.Object) (Content, error) {
	var c Content
	f, err := os.Open(r.site.partPath(o.Digest))
	if err == nil {
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		c = &file{f, info.Size()}
	} else if r.site.env.Part != nil {
		c = r.site.env.Part(o)
	}
	if k := r.Manifest.Kernel; c == nil && k.Payload != nil && o == k.Image {
		return r.pack(k)
	}
	if c == nil {
		return nil, fmt.Errorf("boot part %s: no slot has it, and the update neither", o.Digest.Short())
	}
	d, _, err := digest.FromReader(io.NewSectionReader(c, 0, c.Size()))
	if err == nil && d != o.Digest {
		err = fmt.Errorf("boot part %s is damaged: its digest is %s", o.Digest.Short(), d)
	}
	if err != nil {
		if closer, ok := c.(io.Closer); ok {
			err = errors.Join(err, closer.Close())
		}
		return nil, err
	}
	return c, nil
}

// Finish removes what the update kept, once its slot is staged. That it is gone
// already is no error.
func (r *Received) Finish() error { return Clean(r.site.env) }

// Clean removes what updates that were given up have left.
func Clean(env *Env) error { return clean(env.FS, env.Store.Incoming(), "") }
