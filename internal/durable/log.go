package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Log is a file that only grows. What was written before a Sync that returned
// nil lasts; what was written after it may be lost in a crash, or be there in
// part, so that its reader needs checksums.
type Log struct {
	f     *File
	named bool // its name lasts
}

// OpenLog opens a file for appending and makes it when there is none.
//
// openat(path, O_APPEND|O_CREAT).
func (k FS) OpenLog(path string, mode fs.FileMode) (*Log, error) {
	var f *os.File
	err := k.call(Call{Op: CreateOp, Path: path}, func() (err error) {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Log{f: &File{f, k}}, nil
}

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) { return l.f.Write(b) }

// Sync makes what was written last.
//
// fsync, the first time also fsync(directory).
func (l *Log) Sync() error {
	if err := l.f.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", l.f.Name(), err)
	}
	if l.named {
		return nil
	}
	if err := l.f.k.SyncDir(filepath.Dir(l.f.Name())); err != nil {
		return err
	}
	l.named = true
	return nil
}

// Close syncs and closes the file.
func (l *Log) Close() error { return errors.Join(l.Sync(), l.f.Close()) }
