package xz

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// BenchmarkDecode reads INSTAR_XZ, or else the Go toolchain's own binary packed
// by xz, with this package, the module and, once, the xz program: the
// last two as ratios to ours.
func BenchmarkDecode(b *testing.B) {
	packed := benchFile(b)
	decode := func(open func() (io.Reader, error)) time.Duration {
		began := time.Now()
		r, err := open()
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
		return time.Since(began)
	}
	var ours, module, program time.Duration
	for b.Loop() {
		ours += decode(func() (io.Reader, error) { return NewReaderAt(bytes.NewReader(packed), int64(len(packed)), 1) })
		module += decode(func() (io.Reader, error) { return NewReader(bytes.NewReader(packed)) })
		began := time.Now()
		cmd := exec.Command("xz", "-dc", "-T1")
		cmd.Stdin = bytes.NewReader(packed)
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		program += time.Since(began)
	}
	b.ReportMetric(float64(module)/float64(ours), "module/ours")
	b.ReportMetric(float64(program)/float64(ours), "xz/ours")
	b.ReportMetric(ours.Seconds()/float64(b.N), "s/ours")
}

func benchFile(b *testing.B) []byte {
	if name := os.Getenv("INSTAR_XZ"); name != "" {
		packed, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		return packed
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		b.Fatal(err)
	}
	return compress(b, data)
}
