package publish_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/chunk"
	"github.com/instar-os/instar/internal/chunk/publish"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/test/updatetest"
)

// files returns what a directory holds.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*", "packs/*"} {
		list, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range list {
			if b, err := os.ReadFile(name); err == nil {
				all[strings.TrimPrefix(name, dir+"/")] = string(b)
			}
		}
	}
	return all
}

func TestWrite(t *testing.T) {
	w := updatetest.New(t)
	dir := t.TempDir()
	put := func(dir string, sys digest.Digest, key trust.Private) *publish.Report {
		t.Helper()
		r, err := publish.Write(t.Context(), w.Store, sys, dir, publish.Options{Keys: []trust.Private{key}, Pack: 300 << 10})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := put(dir, w.Old, w.Key)
	one := files(t, dir)
	if first.New == 0 || len(one) < 5 { // two indexes and several packs
		t.Errorf("%+v and %d files", first, len(one))
	}
	// The same again, here and elsewhere, is the same.
	if again := put(dir, w.Old, w.Key); again.New != 0 {
		t.Errorf("again: %+v", again)
	}
	elsewhere := t.TempDir()
	put(elsewhere, w.Old, w.Key)
	for name, b := range files(t, elsewhere) {
		if one[name] != b {
			t.Errorf("elsewhere %s is another", name)
		}
	}
	// What follows brings what changed.
	second := put(dir, w.New, w.Key)
	if second.Stored*4 > first.Stored {
		t.Errorf("the second has %d new bytes, the first %d", second.Stored, first.Stored)
	}
	two := files(t, dir)
	for name, b := range one {
		if two[name] != b && !strings.HasPrefix(name, "test-") {
			t.Errorf("%s has changed", name)
		}
	}
	if two["test-amd64.index"] != two[w.New.String()+".index"] {
		t.Error("the machine's index is not the last one's")
	}
	// Indexes of strangers say nothing of what is in packs.
	stranger, err := trust.NewKey(strings.NewReader(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	if r := put(dir, w.New, stranger); r.New != r.Chunks && r.New < first.New/2 {
		t.Errorf("with another key: %+v", r)
	}
	// Nor does an index whose packs are gone.
	for name := range two {
		if strings.HasPrefix(name, "packs/") {
			os.Remove(filepath.Join(dir, name))
		}
	}
	if r := put(dir, w.Old, w.Key); r.New == 0 {
		t.Error("chunks of packs that are gone are taken to be there")
	}
}

// What was given up leaves no index, and no name that anybody reads.
func TestGivenUp(t *testing.T) {
	w := updatetest.New(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := publish.Write(ctx, w.Store, w.Old, dir, publish.Options{Keys: []trust.Private{w.Key}, Progress: func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left %d files", len(left))
	}
	if _, err := publish.Write(t.Context(), w.Store, w.Old, dir, publish.Options{}); err == nil {
		t.Error("published without a key")
	}
}

// Each content is the row's, and each chunk the pack's.
func TestRow(t *testing.T) {
	w := updatetest.New(t)
	dir := t.TempDir()
	r, err := publish.Write(t.Context(), w.Store, w.New, dir, publish.Options{Keys: []trust.Private{w.Key}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(r.Index)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, err := chunk.Read(f, trust.Keys{w.Key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	var row bytes.Buffer
	for _, c := range x.Chunks {
		pack, err := os.ReadFile(filepath.Join(dir, x.Packs[c.Pack].File()))
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Unpack(pack[c.Offset:c.Offset+c.Stored], nil)
		if err != nil {
			t.Fatal(err)
		}
		row.Write(b)
	}
	for _, c := range x.Contents {
		if digest.Of(row.Bytes()[c.At:c.End()]) != c.Digest {
			t.Errorf("%s %s is not in the row", c.Kind, c.Digest.Short())
		}
	}
}
