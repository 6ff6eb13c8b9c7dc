// Package xz reads .xz files. It is the wall of the module
// github.com/therootcompany/xz: no other package imports that.
//
// A file of several blocks, as multi-threaded xz writes, is decoded block by
// block in parallel: each block with its own header is a stream of its own once
// a one-record index is put behind it.
//
// Source of the format: "The .xz File Format", version 1.2.1, sections 2 and 4.
package xz

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	third "github.com/therootcompany/xz"
)

// maxDict is the largest dictionary accepted, in bytes: that of `xz -9`.
const maxDict = 64 << 20

// NewReader decodes r as one or more concatenated .xz streams. Integrity checks
// are verified; damage and truncation are errors of Read.
func NewReader(r io.Reader) (io.Reader, error) {
	z, err := third.NewReader(bufio.NewReaderSize(r, 64<<10), maxDict)
	if err != nil {
		return nil, explain(err)
	}
	return &reader{z}, nil
}

// reader gives the module's errors the shape of this package's.
type reader struct{ z *third.Reader }

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.z.Read(p)
	return n, explain(err)
}

func explain(err error) error {
	switch {
	case err == nil || err == io.EOF:
		return err
	case errors.Is(err, third.ErrBuf), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("xz: the data ends too early: %w", io.ErrUnexpectedEOF)
	case errors.Is(err, third.ErrMemlimit):
		return fmt.Errorf("xz: the dictionary is larger than %d bytes", maxDict)
	}
	return err
}
