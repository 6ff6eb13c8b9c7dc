package durable

import (
	"io/fs"
	"os"
)

// FS is a file system as this package changes it. The zero value is the
// kernel's. Rooms that make state last have one as a field.
type FS struct {
	Hook Hook // nil: nobody
}

// Hook stands between a room and the kernel: a test's recorder, or its saboteur.
type Hook interface {
	// Call makes a system call by calling do, or does not. What it returns
	// is what the room sees. It is called from any goroutine.
	Call(c Call, do func() error) error
}

// Call is a system call that changes something or makes it last.
type Call struct {
	Op       Op
	Path, To string // To: of a rename
}

// Op is the kind of a Call.
type Op string

// The kinds of calls.
const (
	CreateOp    Op = "create"
	WriteOp     Op = "write"
	ChmodOp     Op = "chmod"
	MkdirOp     Op = "mkdir"
	RenameOp    Op = "rename"
	UnlinkOp    Op = "unlink"
	RemoveAllOp Op = "remove all"
	SyncOp      Op = "fsync"
	SyncDirOp   Op = "fsync directory"
	SyncFSOp    Op = "syncfs"
)

func (k FS) call(c Call, do func() error) error {
	if k.Hook == nil {
		return do()
	}
	return k.Hook.Call(c, do)
}

// Move renames without a sync: what stood at newpath is replaced, and either
// name may be there after a crash until both directories or the file system are
// synced.
func (k FS) Move(oldpath, newpath string) error {
	return k.call(Call{RenameOp, oldpath, newpath}, func() error { return os.Rename(oldpath, newpath) })
}

// Unlink removes a file or an empty directory without a sync.
func (k FS) Unlink(path string) error {
	return k.call(Call{Op: UnlinkOp, Path: path}, func() error { return os.Remove(path) })
}

// RemoveAll removes a tree without a sync. That nothing is there is no error.
func (k FS) RemoveAll(path string) error {
	return k.call(Call{Op: RemoveAllOp, Path: path}, func() error { return os.RemoveAll(path) })
}

// Mkdir makes a directory, without a sync. The umask takes from the mode.
func (k FS) Mkdir(path string, mode fs.FileMode) error {
	return k.call(Call{Op: MkdirOp, Path: path}, func() error { return os.Mkdir(path, mode) })
}

// Chmod sets the mode of a file or directory, without a sync.
func (k FS) Chmod(path string, mode fs.FileMode) error {
	return k.call(Call{Op: ChmodOp, Path: path}, func() error { return os.Chmod(path, mode) })
}

// File is a file that is being written.
type File struct {
	f *os.File
	k FS
}

// CreateTemp makes a file of a new name, as os.CreateTemp does. The caller
// closes it, and removes it when it is not renamed.
func (k FS) CreateTemp(dir, pattern string) (*File, error) {
	var f *os.File
	err := k.call(Call{Op: CreateOp, Path: dir}, func() (err error) {
		f, err = os.CreateTemp(dir, pattern)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &File{f, k}, nil
}

// Name returns the path that the file was made with.
func (f *File) Name() string { return f.f.Name() }

// Write implements io.Writer.
func (f *File) Write(b []byte) (n int, err error) {
	if f.k.Hook == nil {
		return f.f.Write(b)
	}
	err = f.k.call(Call{Op: WriteOp, Path: f.Name()}, func() error {
		n, err = f.f.Write(b)
		return err
	})
	return n, err
}

// Chmod sets the mode, whatever the umask.
func (f *File) Chmod(mode fs.FileMode) error {
	return f.k.call(Call{Op: ChmodOp, Path: f.Name()}, func() error { return f.f.Chmod(mode) })
}

// Sync makes the content and the mode durable, not the name.
func (f *File) Sync() error {
	return f.k.call(Call{Op: SyncOp, Path: f.Name()}, func() error { return f.f.Sync() })
}

// Close closes the file; what was written may be volatile still.
func (f *File) Close() error { return f.f.Close() }
