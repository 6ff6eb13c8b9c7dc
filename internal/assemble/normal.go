package assemble

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/kernel"
	"github.com/instar-os/instar/internal/system"
)

// image puts a kernel into the store; with repack, packed such that updates see
// into it where that is possible. The result is remembered by the image as it
// came, for any store: packing takes a quarter of a minute.
func (b *Builder) image(vmlinuz []byte, repack bool, k *system.Kernel) (err error) {
	if !repack {
		k.Image, err = b.putObject(vmlinuz)
		return err
	}
	cache, err := b.imageCache(vmlinuz)
	if err != nil {
		return err
	}
	n := cache.load()
	if n == nil {
		n, err = kernel.Normalise(vmlinuz)
		if errors.Is(err, kernel.ErrOpaque) {
			k.Image, err = b.putObject(vmlinuz)
			return err
		} else if err != nil {
			return err
		}
		if err := cache.save(n); err != nil {
			return err
		}
	}
	k.Payload = &system.Payload{}
	for o, content := range map[*system.Object][]byte{&k.Image: n.Image, &k.Payload.Shell: n.Shell, &k.Payload.Content: n.Content} {
		if *o, err = b.putObject(content); err != nil {
			return err
		}
	}
	return nil
}

// imageCache is a directory with the parts of a packed kernel, and a file of
// their digests that is written last.
type imageCache string

func (b *Builder) imageCache(vmlinuz []byte) (imageCache, error) {
	key, err := json.Marshal(struct {
		Format int
		Image  digest.Digest
	}{kernelFormat, digest.Of(vmlinuz)})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(key)
	return imageCache(filepath.Join(b.Cache, "kernels", hex.EncodeToString(sum[:])+".packed")), nil
}

// partsOf are the files of a packed kernel.
func partsOf(n *kernel.Normal) map[string]*[]byte {
	return map[string]*[]byte{"image": &n.Image, "shell": &n.Shell, "content": &n.Content}
}

// load returns nil where not all is there as it was written.
func (c imageCache) load() *kernel.Normal {
	text, err := os.ReadFile(filepath.Join(string(c), "digests"))
	if err != nil {
		return nil
	}
	var want map[string]digest.Digest
	if json.Unmarshal(text, &want) != nil {
		return nil
	}
	n := &kernel.Normal{}
	for name, b := range partsOf(n) {
		if *b, err = os.ReadFile(filepath.Join(string(c), name)); err != nil || digest.Of(*b) != want[name] {
			return nil
		}
	}
	return n
}

func (c imageCache) save(n *kernel.Normal) error {
	if err := os.MkdirAll(string(c), 0o755); err != nil {
		return err
	}
	digests := map[string]digest.Digest{}
	for name, b := range partsOf(n) {
		digests[name] = digest.Of(*b)
		if err := durable.WriteFile(filepath.Join(string(c), name), 0o644, *b); err != nil {
			return err
		}
	}
	text, err := json.Marshal(digests)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(string(c), "digests"), 0o644, text)
}
