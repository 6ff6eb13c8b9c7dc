package update

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/cpio"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
)

// Offline is a store that nothing runs from and that has no boot slots: the one
// that machines are started from by other means. It has boot parts as objects.
// keys of nil are those that its systems trust.
func Offline(st *store.Store, keys trust.Keys) (*Env, error) {
	env := &Env{Store: st, Keys: keys}
	env.Part = func(o system.Object) Content {
		f, err := st.Open(o.Digest)
		if err != nil {
			return nil
		}
		return &file{f, o.Size}
	}
	if keys != nil {
		return env, nil
	}
	list, err := st.Systems()
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		m, err := st.System(d)
		if err != nil {
			return nil, err
		}
		if m.Update == nil {
			continue
		}
		more, err := trust.ParseKeys(m.Update.Keys)
		if err != nil {
			return nil, err
		}
		env.Keys = append(env.Keys, more...)
	}
	if len(env.Keys) == 0 {
		return nil, errors.New("no system in the store trusts a key (update.keys)")
	}
	return env, nil
}

// maxInit is the largest initrd that init is taken out of, in bytes.
const maxInit = 1 << 30

// Keep makes boot parts objects of the store as well, so that the system is whole
// there, and removes what the update kept.
func (r *Received) Keep(ctx context.Context) error {
	st := r.site.env.Store
	for _, o := range append(bootParts(r.Manifest), r.Manifest.Kernel.Image) {
		if st.Has(o.Digest) {
			continue
		}
		c, err := r.Part(o)
		if err != nil {
			return err
		}
		err = st.PutAs(io.NewSectionReader(c, 0, c.Size()), o)
		if closer, ok := c.(io.Closer); ok {
			err = errors.Join(err, closer.Close())
		}
		if err != nil {
			return err
		}
	}
	if err := r.keepInit(); err != nil {
		return err
	}
	if _, err := st.PutSystem(r.Manifest); err != nil {
		return err
	}
	return r.Finish()
}

// keepInit takes init out of the initrd.
func (r *Received) keepInit() error {
	st, k := r.site.env.Store, r.Manifest.Kernel
	if st.Has(k.Init.Digest) {
		return nil
	}
	f, err := st.Open(k.Initrd.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := cpio.Read(f, maxInit)
	if err != nil {
		return fmt.Errorf("the initrd: %w", err)
	}
	for _, e := range list {
		if int64(len(e.Data)) == k.Init.Size && digest.Of(e.Data) == k.Init.Digest {
			_, err := st.PutBytes(e.Data)
			return err
		}
	}
	return fmt.Errorf("the initrd does not hold init %s", k.Init.Digest.Short())
}
