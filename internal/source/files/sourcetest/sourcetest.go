// Package sourcetest is the test suite of sources of local files: what holds
// for a directory, a tarball and a single file alike.
package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/files"
	"github.com/instar-os/instar/internal/source/untar"
	"github.com/instar-os/instar/internal/tree"
)

// Source is an implementation under test.
type Source struct {
	// Write puts the files, by relative path, into dir as input of the source
	// and returns the input's path. Turn counts the calls; what it changes
	// (times, permissions of others, order) must not show in the tree.
	Write func(t *testing.T, dir string, world map[string]string, turn int) string
	Read  func(ctx context.Context, objects untar.Objects, input string, o files.Options) (*tree.Tree, error)
	// One says that the source takes exactly one file.
	One bool
	// Times says that entries keep the times of the input instead of getting Epoch.
	Times bool
}

// Run runs the suite.
func Run(t *testing.T, s Source) {
	t.Run("content", s.content)
	t.Run("below a directory", s.below)
	t.Run("the same twice", s.twice)
	t.Run("errors", s.errors)
}

// epoch is the time that the suite gives, seconds since 1970.
const epoch = 1_700_000_000

func (s Source) world() map[string]string {
	if s.One {
		return map[string]string{"only": "one file's content\n"}
	}
	return map[string]string{
		"a.conf": "alpha\n", "empty": "", "deep/er/still": strings.Repeat("x", 70_000),
		"deep/name with spaces": "s", "deep/ünïcode": "u", "big": strings.Repeat("0123456789abcdef", 40_000),
	}
}

func (s Source) content(t *testing.T) {
	for _, w := range s.worlds() {
		objects := &Memory{}
		got := s.read(t, objects, w, 0, files.Options{Epoch: epoch, Label: "the suite"})
		check(t, got, objects, "", w)
		s.attributes(t, got)
	}
}

// worlds are the suite's world and, for one file, an empty one too.
func (s Source) worlds() []map[string]string {
	if s.One {
		return []map[string]string{s.world(), {"only": ""}}
	}
	return []map[string]string{s.world()}
}

func (s Source) below(t *testing.T) {
	to, prefix := "/opt/place", "opt/place"
	if s.One {
		to, prefix = "/opt/place/only", "opt/place"
	}
	objects := &Memory{}
	got := s.read(t, objects, s.world(), 0, files.Options{To: to, Epoch: epoch, Label: "the suite"})
	check(t, got, objects, prefix, s.world())
	s.attributes(t, got)
}

func (s Source) read(t *testing.T, objects untar.Objects, w map[string]string, turn int, o files.Options) *tree.Tree {
	t.Helper()
	got, err := s.Read(t.Context(), objects, s.Write(t, t.TempDir(), w, turn), o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// check compares the files of a tree with a world.
func check(t *testing.T, got *tree.Tree, objects *Memory, prefix string, w map[string]string) {
	t.Helper()
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	seen := 0
	for p, e := range got.All() {
		if e.Kind != tree.File {
			continue
		}
		seen++
		rel := strings.TrimPrefix(strings.TrimPrefix(p, prefix), "/")
		want, ok := w[rel]
		if !ok {
			t.Errorf("%s should not be there", p)
			continue
		}
		if e.Size != int64(len(want)) || e.Mode != 0o644 || e.UID != 0 || e.GID != 0 {
			t.Errorf("%s: %+v, want mode 0644, owner 0:0, %d bytes", p, e, len(want))
		}
		if want == "" && e.Digest != (digest.Digest{}) {
			t.Errorf("%s: an empty file has the digest %v", p, e.Digest)
		}
		if want != "" && (e.Digest != digest.Of([]byte(want)) || objects.Get(e.Digest) != want) {
			t.Errorf("%s: digest %v and stored content do not fit", p, e.Digest)
		}
	}
	if seen != len(w) {
		t.Errorf("%d files, want %d: %v", seen, len(w), got.Paths())
	}
}

// attributes checks times and labels of everything.
func (s Source) attributes(t *testing.T, got *tree.Tree) {
	t.Helper()
	for p, e := range got.All() {
		if !s.Times && e.MTime != epoch {
			t.Errorf("%s has time %d, want the epoch %d", p, e.MTime, epoch)
		}
		want := "the suite"
		if p == tree.Root {
			want = ""
		}
		if e.Owner != want {
			t.Errorf("%s has label %q, want %q", p, e.Owner, want)
		}
		if e.Kind == tree.Dir && e.Mode != 0o755 {
			t.Errorf("directory %s has mode %o", p, e.Mode)
		}
	}
}

func (s Source) twice(t *testing.T) {
	dump := func(turn int) string {
		var b strings.Builder
		for p, e := range s.read(t, &Memory{}, s.world(), turn, files.Options{Epoch: epoch}).All() {
			fmt.Fprintf(&b, "%s %+v\n", p, e)
		}
		return b.String()
	}
	if first, second := dump(0), dump(1); first != second {
		t.Errorf("two readings differ:\n%s\n%s", first, second)
	}
}

func (s Source) errors(t *testing.T) {
	input := s.Write(t, t.TempDir(), s.world(), 0)
	missing := filepath.Join(t.TempDir(), "missing")
	done, cancel := context.WithCancel(t.Context())
	cancel()
	largest := "big"
	if s.One {
		largest = "only"
	}
	for name, c := range map[string]struct {
		ctx     context.Context
		objects untar.Objects
		input   string
		o       files.Options
		is      error
		says    string
	}{
		"missing":    {t.Context(), &Memory{}, missing, files.Options{}, fs.ErrNotExist, missing},
		"cancelled":  {done, &Memory{}, input, files.Options{}, context.Canceled, ""},
		"leaves":     {t.Context(), &Memory{}, input, files.Options{To: "/../etc"}, nil, ".."},
		"too large":  {t.Context(), &Memory{}, input, files.Options{Limits: untar.Limits{File: 10}}, nil, "limit of 10"},
		"full store": {t.Context(), full{}, input, files.Options{}, errFull, path.Base(input)},
		"big":        {t.Context(), &Memory{}, input, files.Options{Limits: untar.Limits{File: int64(len(s.world()[largest])) - 1}}, nil, largest},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Read(c.ctx, c.objects, c.input, c.o)
			if err == nil {
				t.Fatal("no error")
			}
			if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q, want %v with %q", err, c.is, c.says)
			}
		})
	}
}

var errFull = errors.New("no space")

// full is a store that takes nothing.
type full struct{}

func (full) Put(io.Reader) (digest.Digest, int64, error) { return digest.Digest{}, 0, errFull }
func (full) PutBytes([]byte) (digest.Digest, error)      { return digest.Digest{}, errFull }

// Memory keeps contents by digest. The zero value is empty and ready, also for
// concurrent use.
type Memory struct {
	mu       sync.Mutex
	contents map[digest.Digest]string
}

// Put keeps what r yields.
func (m *Memory) Put(r io.Reader) (digest.Digest, int64, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return digest.Digest{}, 0, err
	}
	d, err := m.PutBytes(b)
	return d, int64(len(b)), err
}

// PutBytes keeps a copy of b.
func (m *Memory) PutBytes(b []byte) (digest.Digest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.contents == nil {
		m.contents = map[digest.Digest]string{}
	}
	d := digest.Of(b)
	m.contents[d] = string(b)
	return d, nil
}

// Get returns a content, "" when there is none of that digest.
func (m *Memory) Get(d digest.Digest) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.contents[d]
}
