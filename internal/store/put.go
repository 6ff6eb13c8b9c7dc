package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/instar-os/instar/internal/digest"
)

// objectMode is the mode of every object, whatever its file's mode in a tree:
// executable, because tools are run from the store.
const objectMode = 0o555

// inMemory is how many bytes of an object are read before a file is made for
// it: nothing is written for objects that are there already.
const inMemory = 256 << 10

// Put stores what r holds and returns its digest and length in bytes. An
// object that is there is not written again. The new object can be read through
// this Store at once; it lasts, and others see it, after Commit.
func (s *Store) Put(r io.Reader) (digest.Digest, int64, error) {
	if s.readOnly {
		return digest.Digest{}, 0, s.errReadOnly("putting an object")
	}
	var head bytes.Buffer
	n, err := head.ReadFrom(io.LimitReader(r, inMemory))
	if err != nil {
		return digest.Digest{}, 0, fmt.Errorf("putting an object: %w", err)
	}
	if n < inMemory {
		d, err := s.PutBytes(head.Bytes())
		return d, n, err
	}
	d, n, err := s.putStream(io.MultiReader(&head, r))
	if err != nil {
		return d, n, fmt.Errorf("putting an object: %w", err)
	}
	return d, n, nil
}

// PutBytes stores b as Put does.
func (s *Store) PutBytes(b []byte) (digest.Digest, error) {
	if s.readOnly {
		return digest.Digest{}, s.errReadOnly("putting an object")
	}
	d := digest.Of(b)
	if s.has(d, int64(len(b))) {
		return d, nil
	}
	if err := s.stage(d.String(), s.ObjectPath(d), objectMode, b); err != nil {
		return d, fmt.Errorf("putting object %s: %w", d.Short(), err)
	}
	s.learn(d, int64(len(b)))
	return d, nil
}

// PutFile stores the content of the file at path as Put does. A file whose
// content is there is read once and nothing is written.
func (s *Store) PutFile(path string) (digest.Digest, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return digest.Digest{}, 0, err
	}
	defer f.Close()
	d, n, err := s.Put(f)
	if err != nil {
		return d, n, fmt.Errorf("%s: %w", path, err)
	}
	return d, n, nil
}

// Commit makes everything that was put durable and gives it its name in the
// store. It costs two syncs of the file system, however many objects there are.
// If a sync fails, so does every later Commit: close the store and put again.
func (s *Store) Commit() error {
	if s.readOnly {
		return s.errReadOnly("committing")
	}
	if err := s.staging.commit(); err != nil {
		return fmt.Errorf("committing to store %s: %w", s.dir, err)
	}
	return nil
}

// putStream writes a large object to the staging area while hashing it.
func (s *Store) putStream(r io.Reader) (digest.Digest, int64, error) {
	f, err := s.staging.create()
	if err != nil {
		return digest.Digest{}, 0, err
	}
	h := digest.New()
	n, err := io.CopyBuffer(io.MultiWriter(h, f), onlyReader{r}, make([]byte, inMemory))
	if err == nil {
		err = f.Chmod(objectMode)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return digest.Digest{}, n, errors.Join(err, s.fs.Unlink(f.Name()))
	}
	d := h.Sum()
	if s.has(d, n) {
		return d, n, s.fs.Unlink(f.Name())
	}
	if err := s.staging.add(f.Name(), d.String(), s.ObjectPath(d)); err != nil {
		return d, n, errors.Join(err, s.fs.Unlink(f.Name()))
	}
	s.learn(d, n)
	return d, n, nil
}

// onlyReader hides WriteTo so that copies use the large buffer.
type onlyReader struct{ io.Reader }

// stage writes b to the staging area, to become final at the next commit.
func (s *Store) stage(key, final string, mode os.FileMode, b []byte) error {
	f, err := s.staging.create()
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.staging.add(f.Name(), key, final)
	}
	if err != nil {
		return errors.Join(err, s.fs.Unlink(f.Name()))
	}
	return nil
}

// learn remembers an object that is there. While the store is open for writing
// nobody deletes objects, so that memory stays true.
func (s *Store) learn(d digest.Digest, size int64) {
	if s.readOnly {
		return
	}
	s.mu.Lock()
	s.known[d] = size
	s.mu.Unlock()
}
