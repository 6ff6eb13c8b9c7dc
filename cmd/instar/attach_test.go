package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestDetachKeys(t *testing.T) {
	for _, row := range []struct {
		keys, typed, want string
		left              bool
	}{
		{"ctrl-p,ctrl-q", "ls\x10\x11rest", "ls", true},
		{"ctrl-p,ctrl-q", "a\x10b\x10\x10\x11", "a\x10b\x10", true},
		{"ctrl-p,ctrl-q", "a\x11\x10", "a\x11", false}, // the last one waits
		{"a,a,b", "aaab", "a", true},
		{"", "a\x10\x11b", "a\x10\x11b", false},
		{"q", "pq", "p", true},
	} {
		keys, err := detachKeys(row.keys)
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range []io.Reader{strings.NewReader(row.typed), iotest.OneByteReader(strings.NewReader(row.typed))} {
			left := false
			got, err := io.ReadAll(&keyReader{from: from, keys: keys, leave: func() { left = true }})
			if err != nil || !bytes.Equal(got, []byte(row.want)) || left != row.left {
				t.Errorf("%s typed %q: %q, left %v, %v", row.keys, row.typed, got, left, err)
			}
		}
	}
	for _, bad := range []string{"ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-é"} {
		if _, err := detachKeys(bad); err == nil {
			t.Errorf("%q are keys", bad)
		}
	}
}
