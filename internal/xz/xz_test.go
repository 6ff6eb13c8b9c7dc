package xz

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

// compress runs xz, the tool, with the given options.
func compress(t testing.TB, data []byte, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip("xz")
	}
	cmd := exec.Command("xz", append([]string{"-c", "-q"}, args...)...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sample is half text, half noise.
func sample(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.UintN(4)) + 'a'
		if i%8192 < 4096 {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

func readAllAt(b []byte, parallel int) ([]byte, error) {
	r, err := NewReaderAt(bytes.NewReader(b), int64(len(b)), parallel)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestReaderAt(t *testing.T) {
	data := sample(300_000)
	for name, args := range map[string][]string{
		"one block":   {"-1"},
		"many blocks": {"-1", "--block-size=10000"},
		"threads":     {"-1", "-T2", "--block-size=50000"},
		"crc32":       {"-1", "--block-size=50000", "-Ccrc32"},
		"sha256":      {"-1", "--block-size=50000", "-Csha256"},
		"no check":    {"-1", "--block-size=50000", "-Cnone"},
		"x86 filter":  {"--x86", "--lzma2=preset=1", "--block-size=50000"},
	} {
		packed := compress(t, data, args...)
		for _, parallel := range []int{1, 2, 7} {
			got, err := readAllAt(packed, parallel)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %d at a time: %d bytes, %v", name, parallel, len(got), err)
			}
		}
	}
	two := append(compress(t, data[:1000]), compress(t, data[1000:], "--block-size=50000")...)
	if got, err := readAllAt(two, 2); err != nil || !bytes.Equal(got, data) {
		t.Errorf("two streams: %d bytes, %v", len(got), err)
	}
}

// TestParallelIsUsed shows that several blocks take the parallel way at all.
func TestParallelIsUsed(t *testing.T) {
	packed := compress(t, sample(100_000), "--block-size=10000")
	r, err := NewReaderAt(bytes.NewReader(packed), int64(len(packed)), 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.(*blockReader); !ok {
		t.Errorf("ten blocks are read by a %T", r)
	}
	if err := r.Close(); err != nil { // before anything is read: ends the goroutines
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("read after close succeeds")
	}
}

func TestDamage(t *testing.T) {
	packed := compress(t, sample(100_000), "--block-size=20000")
	for _, parallel := range []int{1, 2} {
		for _, n := range []int{0, 5, 12, 100, len(packed) / 2, len(packed) - 12, len(packed) - 1} {
			if _, err := readAllAt(packed[:n], parallel); err == nil {
				t.Errorf("cut to %d bytes, %d at a time: no error", n, parallel)
			}
		}
		for at := 6; at < len(packed); at += 997 {
			bad := bytes.Clone(packed)
			bad[at] ^= 0x10
			if got, err := readAllAt(bad, parallel); err == nil && bytes.Equal(got, sample(100_000)) {
				continue // a bit that nothing depends on, such as padding
			} else if err == nil {
				t.Errorf("bit flipped at %d, %d at a time: other content, no error", at, parallel)
			}
		}
	}
	_, err := readAllAt(packed[:len(packed)/2], 1)
	if err == nil || !strings.Contains(err.Error(), "xz: ") {
		t.Errorf("error of a cut file: %v", err)
	}
}

func FuzzReaderAt(f *testing.F) {
	f.Add(compress(f, []byte("hello"), "-0"))
	f.Add(compress(f, []byte("hello, hello, hello"), "-0", "--block-size=7"))
	f.Add([]byte("\xfd7zXZ\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		want, wantErr := sequential(b)
		got, err := limited(b)
		if wantErr == nil && err == nil && !bytes.Equal(got, want) {
			t.Errorf("parallel and sequential reading differ: %d and %d bytes", len(got), len(want))
		}
	})
}

func sequential(b []byte) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, 1<<20))
}

func limited(b []byte) ([]byte, error) {
	r, err := NewReaderAt(bytes.NewReader(b), int64(len(b)), 2)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, 1<<20))
}
