package nbd

import (
	"bytes"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/instar-os/instar/internal/crashtest/blocks"
)

// TestQEMU has qemu-io write and read through the server, and looks at what was
// recorded.
func TestQEMU(t *testing.T) {
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skip("needs qemu-io of qemu-utils")
	}
	dir := t.TempDir()
	base := bytes.Repeat([]byte{7}, 1<<20)
	log, err := blocks.New(bytes.NewReader(base), int64(len(base)), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	socket := filepath.Join(dir, "nbd")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- Serve(l, log) }()
	out, err := exec.Command("qemu-io", "-f", "raw", "-t", "none", "-d", "unmap",
		"-c", "read -P 7 0 64k", "-c", "write -P 1 4096 8192", "-c", "write -P 2 -f 512 512", "-c", "flush",
		"-c", "write -z 65536 4096", "-c", "discard 131072 4096", "-c", "read -P 1 4096 8192", "-c", "read -P 0 65536 4096",
		"nbd+unix:///?socket="+socket).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if bytes.Contains(out, []byte("rror")) || bytes.Contains(out, []byte("verification failed")) {
		t.Fatalf("%s", out)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, o := range log.Ops() {
		seen[o.String()] = true
	}
	for _, want := range []string{"write 4096+8192", "write 512+512 fua", "flush", "zero 65536+4096", "trim 131072+4096"} {
		if !seen[want] {
			t.Errorf("%q is not among what was recorded: %v", want, log.Ops())
		}
	}
}

func FuzzConn(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x07\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x00\x25\x60\x95\x13\x00\x00\x00\x01" +
		"cookieco\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x02\x00"))
	base := make([]byte, 64<<10)
	f.Fuzz(func(t *testing.T, in []byte) {
		log, err := blocks.New(bytes.NewReader(base), int64(len(base)), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		Conn(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(in), io.Discard}, log)
	})
}
