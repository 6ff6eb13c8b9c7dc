package uki

import (
	"bytes"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	for _, bad := range [][]string{{""}, {"a\nb"}, {`a="b"`}, {"a b"}, {"a b=c"}, {"ü"}, {strings.Repeat("x", maxCommandLine)}} {
		if line, err := commandLine(bad); err == nil {
			t.Errorf("%.20q became %.20q", bad, line)
		}
	}
	if line, err := commandLine([]string{"quiet", "a=b c", "d=e"}); err != nil || line != `quiet a="b c" d=e` {
		t.Errorf("got %q, %v", line, err)
	}
}

// What a device reads of a slot may be anything.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := Open(bytes.NewReader(b))
		if err == nil && (i.Kernel.Size() > int64(len(b)) || i.Initrd.Size() > int64(len(b))) {
			t.Errorf("parts of %d and %d bytes out of %d", i.Kernel.Size(), i.Initrd.Size(), len(b))
		}
	})
}
