package erofs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/digest"
)

// bigTree has about 64k files in 4k directories, as a large distribution's
// /usr has: a few small files, links, shared contents and capabilities.
func bigTree() *Node {
	root := dir()
	for i := range 64 {
		top := dir()
		for j := range 64 {
			d := dir()
			for k := range 16 {
				id := fmt.Sprintf("%d-%d-%d", i, j, k)
				n := object(int64(1000+k*977), id)
				switch {
				case k == 0:
					n = inline("small " + id)
				case k == 1:
					n = symlink("../" + id)
				case k == 2:
					n.Digest = digest.Of(fmt.Append(nil, j))
				case k == 3 && j == 0:
					n.Xattrs = map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00"}
				}
				d.Children = append(d.Children, Child{fmt.Sprintf("file-%s.so.%d", id, k), n})
			}
			top.Children = append(top.Children, Child{fmt.Sprintf("dir-%02d", j), d})
		}
		root.Children = append(root.Children, Child{fmt.Sprintf("package-%02d", i), top})
	}
	return root
}

// BenchmarkWrite writes the image of bigTree and reports the time of
// mkcomposefs for the same tree, from a dump file, in the same run.
func BenchmarkWrite(b *testing.B) {
	root := bigTree()
	ours := time.Hour
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			start := time.Now()
			if err := Write(io.Discard, root); err != nil {
				b.Fatal(err)
			}
			ours = min(ours, time.Since(start))
		}
	})
	b.Run("mkcomposefs", func(b *testing.B) {
		o := newOracle(b)
		in := filepath.Join(b.TempDir(), "dump")
		if err := os.WriteFile(in, []byte(dump(root)), 0o644); err != nil {
			b.Fatal(err)
		}
		theirs := time.Hour
		for b.Loop() {
			start := time.Now()
			if msg, err := o.command("mkcomposefs", "--from-file", in, os.DevNull).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, msg)
			}
			theirs = min(theirs, time.Since(start))
		}
		b.ReportMetric(float64(theirs)/float64(ours), "times-ours")
	})
}

func BenchmarkRead(b *testing.B) {
	image, err := Append(nil, bigTree())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(image)))
	for b.Loop() {
		if _, err := read(image); err != nil {
			b.Fatal(err)
		}
	}
}
