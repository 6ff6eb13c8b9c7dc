package dpkg_test

import (
	"testing"

	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/source/dpkg/dpkgtest"
)

// BenchmarkUnpackAll measures the list of the cold-build benchmark into a store
// in memory: all archives decoded, hashed and put, and again from the cache.
func BenchmarkUnpackAll(b *testing.B) {
	archives := dpkgtest.Archives(b, dpkgtest.Size145()...)
	var bytes int64
	for _, a := range archives {
		bytes += a.Package.Size
	}
	b.Run("cold", func(b *testing.B) {
		b.SetBytes(bytes)
		for b.Loop() {
			unpackAll(b, &dpkgtest.Memory{}, nil, archives)
		}
	})
	b.Run("warm", func(b *testing.B) {
		objects := &dpkgtest.Memory{}
		cache := &dpkg.Cache{Dir: b.TempDir(), Has: objects.Has}
		unpackAll(b, objects, cache, archives)
		b.ResetTimer()
		for b.Loop() {
			if _, err := dpkg.Merge(unpackAll(b, objects, cache, archives)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func unpackAll(t testing.TB, objects dpkg.Objects, cache *dpkg.Cache, archives []dpkg.Archive) []*dpkg.Package {
	t.Helper()
	pkgs, err := dpkg.UnpackAll(t.Context(), objects, cache, archives, 2)
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}
