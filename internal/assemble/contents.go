package assemble

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"sync"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
)

// contents finds objects by the SHA-256 of their content, which is not their
// name. Objects are hashed when something of their size is asked for: reading
// what is here costs less than downloading it.
type contents struct {
	store *store.Store

	mu     sync.Mutex
	bySize map[int64][]digest.Digest // not hashed yet; nil before the first question
	known  map[string]digest.Digest
}

// lookup implements layer.Lookup. A store that cannot be listed has nothing.
func (c *contents) lookup(sum string, size int64) (digest.Digest, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bySize == nil {
		c.bySize, c.known = map[int64][]digest.Digest{}, map[string]digest.Digest{}
		all, err := c.store.Objects()
		if err != nil {
			return digest.Digest{}, false
		}
		for _, o := range all {
			c.bySize[o.Size] = append(c.bySize[o.Size], o.Digest)
		}
	}
	for _, d := range c.bySize[size] {
		if s, ok := c.hash(d); ok {
			c.known[s] = d
		}
	}
	delete(c.bySize, size)
	d, ok := c.known[sum]
	return d, ok
}

// hash reads an object, verified; one that is damaged counts as absent.
func (c *contents) hash(d digest.Digest) (string, bool) {
	r, err := c.store.Verified(d)
	if err != nil {
		return "", false
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", false
	}
	return hex.EncodeToString(h.Sum(nil)), true
}
