package assemble

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/kernel"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
)

// memory holds contents by digest.
type memory map[digest.Digest][]byte

// Bytes returns a content.
func (m memory) Bytes(d digest.Digest, limit int64) ([]byte, error) {
	b, ok := m[d]
	if !ok {
		return nil, fmt.Errorf("no content %s", d.Short())
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("content of %d bytes, more than %d", len(b), limit)
	}
	return b, nil
}

// lockedMemory takes contents from several goroutines.
type lockedMemory struct {
	mu       sync.Mutex
	contents memory
}

func (l *lockedMemory) PutBytes(b []byte) (digest.Digest, error) {
	d := digest.Of(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.contents[d]; !ok {
		l.contents[d] = bytes.Clone(b)
	}
	return d, nil
}

func (l *lockedMemory) Put(r io.Reader) (digest.Digest, int64, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return digest.Digest{}, 0, err
	}
	d, err := l.PutBytes(b)
	return d, int64(len(b)), err
}

// kernelFormat counts changes of the rules that make an initrd and pack a kernel.
const kernelFormat = 2

// kernelCache is where the result of kernel is remembered: a file named by all
// that decides it, with a SHA-256 before the JSON.
type kernelCache struct{ path string }

func (b *Builder) kernelCache(def *config.Definition, pkgs []lock.Package, arch string, init []byte) (kernelCache, error) {
	key, err := json.Marshal(struct {
		Format   int
		Arch     string
		Packages []lock.Package
		Kernel   config.Kernel
		Modules  []string
		Minimal  []string
		Console  []string
		Init     digest.Digest
	}{kernelFormat, arch, pkgs, def.Kernel, moduleRequest(def), kernel.Candidates(arch), def.Boot.Console, digest.Of(init)})
	if err != nil {
		return kernelCache{}, err
	}
	sum := sha256.Sum256(key)
	return kernelCache{filepath.Join(b.Cache, "kernels", hex.EncodeToString(sum[:]))}, nil
}

// load returns the remembered kernel when all that it names is in the store.
func (c kernelCache) load(st *store.Store) (system.Kernel, bool) {
	var k system.Kernel
	b, err := os.ReadFile(c.path)
	if err != nil || len(b) < sha256.Size || sha256.Sum256(b[sha256.Size:]) != [sha256.Size]byte(b[:sha256.Size]) {
		return k, false
	}
	if json.Unmarshal(b[sha256.Size:], &k) != nil {
		return k, false
	}
	for _, o := range append(k.Parts(), k.Image, k.Initrd, k.Stub, k.Loader, k.Init) {
		if !st.Has(o.Digest) {
			return k, false
		}
	}
	return k, true
}

func (c kernelCache) save(k system.Kernel) error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	if err := os.MkdirAll(filepath.Dir(c.path), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return durable.WriteFile(c.path, 0o644, append(sum[:], b...))
}
