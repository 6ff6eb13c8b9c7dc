package nix

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/instar-os/instar/internal/source/nix/nar"
	"github.com/instar-os/instar/internal/source/nix/narinfo"
)

// RegistrationFile is where a tree says which store paths are in it: NixOS
// reads that file in its first boot, `nix-store --load-db` at any time.
const RegistrationFile = "nix-path-registration"

// storeDir is a store in a directory, trusted as any directory of a definition
// is. What is known of its paths comes from, in this order: a registration
// file, the nix command if there is a database, or the paths themselves.
type storeDir struct {
	root string // has nix/store, or is the store
	dir  string // the directory with the paths
	word string

	registered once[map[narinfo.Name]*narinfo.Info]
	all        once[[]narinfo.Name]
	mu         sync.Mutex
	known      map[narinfo.Name]*narinfo.Info
}

func newStoreDir(root, word string) *storeDir {
	s := &storeDir{root: root, dir: filepath.Join(root, "nix/store"), word: word, known: map[narinfo.Name]*narinfo.Info{}}
	if _, err := os.Stat(s.dir); err != nil {
		s.dir = root
	}
	return s
}

func (s *storeDir) String() string { return s.word }
func (s *storeDir) Trusted() bool  { return true }

func (s *storeDir) Info(ctx context.Context, n narinfo.Name) (*narinfo.Info, error) {
	if _, err := os.Lstat(filepath.Join(s.dir, string(n))); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(s.dir); err != nil {
			return nil, err
		}
		return nil, ErrNotHere
	} else if err != nil {
		return nil, err
	}
	known, err := s.registered.get(s.readRegistration)
	if err != nil {
		return nil, err
	}
	if in := known[n]; in != nil {
		return in, nil
	}
	s.mu.Lock()
	in := s.known[n]
	s.mu.Unlock()
	if in != nil {
		return in, nil
	}
	if nix, ok := s.command(); ok {
		return s.ask(ctx, nix, n)
	}
	return s.look(n)
}

// readRegistration reads the file at the store's root or in the store.
func (s *storeDir) readRegistration() (map[narinfo.Name]*narinfo.Info, error) {
	for _, d := range []string{s.root, filepath.Dir(s.dir), s.dir} {
		name := filepath.Join(d, RegistrationFile)
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all, err := narinfo.ParseRegistration(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		known := map[narinfo.Name]*narinfo.Info{}
		for i := range all {
			known[all[i].Name] = &all[i]
		}
		return known, nil
	}
	return nil, nil
}

// command returns the nix command when there is one and a database to read.
func (s *storeDir) command() (string, bool) {
	if s.dir == s.root {
		return "", false
	}
	if _, err := os.Stat(filepath.Join(s.root, "nix/var/nix/db/db.sqlite")); err != nil {
		return "", false
	}
	nix, err := exec.LookPath("nix")
	return nix, err == nil
}

// ask has the nix command tell about a path and all that it refers to.
func (s *storeDir) ask(ctx context.Context, nix string, n narinfo.Name) (*narinfo.Info, error) {
	args := []string{"--extra-experimental-features", "nix-command", "--offline", "path-info", "--json", "--recursive"}
	root, err := filepath.Abs(s.root)
	if err != nil {
		return nil, err
	}
	if root != "/" {
		args = append(args, "--store", root)
	}
	cmd := exec.CommandContext(ctx, nix, append(args, n.Path())...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("nix path-info: %w: %s", err, strings.TrimSpace(said.String()))
	}
	all, err := narinfo.ParsePathInfo(out)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range all {
		s.known[all[i].Name] = &all[i]
	}
	if s.known[n] == nil {
		return nil, errors.New("nix path-info says nothing about it")
	}
	return s.known[n], nil
}

// look computes the archive's hash, and finds references among all paths that
// are in the store.
func (s *storeDir) look(n narinfo.Name) (*narinfo.Info, error) {
	all, err := s.all.get(s.list)
	if err != nil {
		return nil, err
	}
	scan, sum := newScanner(all), &counter{h: sha256.New()}
	if err := nar.WriteFS(io.MultiWriter(sum, scan), os.DirFS(s.dir), string(n)); err != nil {
		return nil, err
	}
	in := &narinfo.Info{Name: n, NarSize: sum.n, NarHash: sum.hash(), References: scan.names()}
	s.mu.Lock()
	s.known[n] = in
	s.mu.Unlock()
	return in, nil
}

// list returns the names of the paths in the store; other files are left out.
func (s *storeDir) list() ([]narinfo.Name, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []narinfo.Name
	for _, e := range entries {
		if n, err := narinfo.ParseName(e.Name()); err == nil {
			out = append(out, n)
		}
	}
	return out, nil
}

// Open archives the path as it is now.
func (s *storeDir) Open(_ context.Context, in *narinfo.Info) (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(nar.WriteFS(w, os.DirFS(s.dir), string(in.Name))) }()
	return r, nil
}

// counter hashes and counts what is written to it.
type counter struct {
	h hash.Hash
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.h.Write(p)
}

func (c *counter) hash() (h narinfo.Hash) {
	c.h.Sum(h[:0])
	return h
}
