package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// Source is where an update comes from.
type Source struct {
	// Front is read up to the body.
	Front io.Reader
	// Body returns the body from an offset on. It is called at most once.
	Body func(offset int64) (io.Reader, error)
}

// Stream is the Source of a stream that can only be read on.
func Stream(r io.Reader) Source {
	return Source{r, func(offset int64) (io.Reader, error) {
		_, err := io.CopyN(io.Discard, r, offset)
		return r, cut(err)
	}}
}

// Received is a system that is whole in the store. Its boot parts wait in the
// update's directory until Finish.
type Received struct {
	System   digest.Digest
	Manifest *system.Manifest

	site site
}

// Receive takes an update from src until its system is whole in the store.
// The store's systems list it, but nothing starts it yet. After any error it
// may be called again with the same update, and goes on where it was.
func Receive(ctx context.Context, src Source, env *Env) (*Received, error) {
	r, err := newReceiver(src, env)
	if err != nil {
		return nil, err
	}
	if err := r.receive(ctx); err != nil {
		return nil, fmt.Errorf("receiving system %s: %w", r.u.Target.Short(), err)
	}
	return &Received{r.u.Target, r.manifest, r.site}, nil
}

// newReceiver reads the front of an update, and verifies it.
func newReceiver(src Source, env *Env) (*receiver, error) {
	u, err := delta.Read(src.Front, env.Keys)
	if err != nil {
		return nil, err
	}
	return &receiver{site: newSite(env, u.ID[:]), u: u, src: src}, nil
}

// receiver is one update under way.
type receiver struct {
	site
	u        *delta.Update
	src      Source
	manifest *system.Manifest
	body     io.Reader
	at       int64 // of body: where it stands
	spool    *os.File
	piece    []byte
	next     int   // the first stream whose contents are not all there
	have     int64 // bytes of the body that are verified and on the spool
	learned  bool
}

func (r *receiver) receive(ctx context.Context) error {
	if err := r.env.refuse(r.headProblems()); err != nil {
		return err
	}
	first, err := r.readManifest(ctx)
	if err != nil {
		return err
	}
	if err := r.env.refuse(r.problems()); err != nil {
		return err
	}
	if err := r.begin(first); err != nil {
		return err
	}
	defer r.spool.Close()
	if err := r.resume(); err != nil {
		return err
	}
	if err := r.pump(ctx); err != nil {
		return err
	}
	return r.finish(ctx, r.manifest)
}

// readManifest gets the target's manifest: of a former attempt, or out of the
// first stream, without writing anything. The pieces it read are returned.
func (r *receiver) readManifest(ctx context.Context) ([]byte, error) {
	var err error
	if r.manifest, err = r.kept(r.u.Target); r.manifest != nil || err != nil {
		return nil, err
	}
	if r.body, err = r.src.Body(0); err != nil {
		return nil, err
	}
	s := r.u.Streams[0]
	if s.Stored > system.MaxSize || r.u.Entries[0].Size > system.MaxSize {
		return nil, fmt.Errorf("a manifest of %d bytes, more than %d", r.u.Entries[0].Size, system.MaxSize)
	}
	var got []byte
	for i := 0; int64(len(got)) < s.End(); i++ {
		b, err := r.readPiece(ctx, i)
		if err != nil {
			return nil, err
		}
		got = append(got, b...)
	}
	var text []byte
	err = r.u.Decode(s, bytes.NewReader(got), r.base, func(e delta.Entry, content io.Reader) error {
		var err error
		text, err = readAll(content, e)
		return err
	})
	if err == nil {
		r.manifest, err = system.Decode(text)
	}
	if err == nil && (r.manifest.Machine != r.u.Machine || r.manifest.Arch != r.u.Arch || r.manifest.Epoch != r.u.Epoch) {
		err = errors.New("its manifest contradicts its head")
	}
	return got, err
}

// readAll reads a content that must be an entry's.
func readAll(content io.Reader, e delta.Entry) ([]byte, error) {
	b, err := io.ReadAll(content)
	if err == nil && digest.Of(b) != e.Digest {
		err = fmt.Errorf("%d bytes of digest %s", len(b), digest.Of(b))
	}
	return b, err
}

// readPiece reads a piece from the source and verifies it.
func (r *receiver) readPiece(ctx context.Context, i int) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, size := r.u.Piece(i)
	if r.piece == nil {
		r.piece = make([]byte, r.u.PieceSize)
	}
	b := r.piece[:size]
	n, err := io.ReadFull(r.body, b)
	r.at += int64(n)
	if err != nil {
		return nil, cut(err)
	}
	return b, r.u.Check(i, b)
}

// begin makes the update's directory, after removing those of others.
func (r *receiver) begin(first []byte) error {
	err := r.prepare(r.manifest)
	if err != nil {
		return err
	}
	// What is on the spool counts by its hash, so nothing of it has to last.
	if r.spool, err = os.OpenFile(filepath.Join(r.dir, spoolFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if _, err = r.spool.WriteAt(first, 0); err != nil {
		return errors.Join(err, r.spool.Close())
	}
	return nil
}

// resume finds the first stream that is not whole in the store, and how far
// the spool goes from its begin on.
func (r *receiver) resume() error {
	for r.next < len(r.u.Streams) && r.there(r.u.Streams[r.next]) {
		r.next++
	}
	if r.next == len(r.u.Streams) {
		r.have = r.u.BodySize
		return nil
	}
	i := int(r.u.Streams[r.next].Offset / r.u.PieceSize)
	for ; i < r.u.Pieces(); i++ {
		at, size := r.u.Piece(i)
		b := make([]byte, size)
		if n, err := r.spool.ReadAt(b, at); int64(n) < size || err != nil && err != io.EOF || r.u.Check(i, b) != nil {
			break
		}
	}
	r.have, _ = r.u.Piece(i)
	r.have = min(r.have, r.u.BodySize)
	return nil
}

// there reports whether all contents of a stream are durable.
func (r *receiver) there(s delta.Stream) bool {
	for _, e := range r.u.Contents(s) {
		if !r.has(e.Kind, system.Object{Digest: e.Digest, Size: e.Size}) {
			return false
		}
	}
	return true
}

// pump receives the body from where it is, and applies each stream that is
// whole.
func (r *receiver) pump(ctx context.Context) error {
	resumed := r.have
	if err := r.apply(ctx); err != nil {
		return err
	}
	for r.next < len(r.u.Streams) {
		if err := r.connect(); err != nil {
			return err
		}
		b, err := r.readPiece(ctx, int(r.have/r.u.PieceSize))
		if err != nil {
			return err
		}
		if _, err := r.spool.WriteAt(b, r.have); err != nil {
			return err
		}
		r.have += int64(len(b))
		if r.env.Progress != nil {
			r.env.Progress(Progress{r.have, r.u.BodySize, resumed})
		}
		if err := r.apply(ctx); err != nil {
			return err
		}
	}
	return nil
}

// connect asks the source for the body from where it is needed. One that was
// asked for the manifest before goes on from there.
func (r *receiver) connect() (err error) {
	if r.body == nil {
		r.at = r.have
		r.body, err = r.src.Body(r.have)
		return err
	}
	if r.at > r.have { // the spool lost what was read; it comes again with the next attempt
		return ErrCut
	}
	n, err := io.CopyN(io.Discard, r.body, r.have-r.at)
	r.at += n
	return cut(err)
}

// apply makes contents of the streams that are wholly on the spool.
func (r *receiver) apply(ctx context.Context) error {
	for ; r.next < len(r.u.Streams) && r.u.Streams[r.next].End() <= r.have; r.next++ {
		s := r.u.Streams[r.next]
		if !r.there(s) {
			if err := r.stream(ctx, s); err != nil {
				return err
			}
		}
		// Best effort: a file system without holes keeps the bytes until the end.
		// The piece that the next stream begins in stays whole.
		at, end := s.Offset&^(r.u.PieceSize-1), s.End()&^(r.u.PieceSize-1)
		if end > at {
			_ = unix.Fallocate(int(r.spool.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, end-at)
		}
	}
	return nil
}
