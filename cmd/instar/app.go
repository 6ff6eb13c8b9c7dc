package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/deb"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/store"
)

// app is what every command needs: the global flags and the standard streams.
type app struct {
	file      string
	patches   []string
	cacheDir  string
	storeDir  string
	output    string
	vendorDir string
	offline   bool
	quiet     bool

	in       io.Reader
	out, err io.Writer
	progress *progress
}

// prepare checks the global flags and fills their defaults in.
func (a *app) prepare() error {
	if !slices.Contains([]string{"text", "json"}, a.output) {
		return fmt.Errorf("--output %q: want text or json", a.output)
	}
	if a.cacheDir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no cache directory: %w; set INSTAR_CACHE", err)
		}
		a.cacheDir = filepath.Join(dir, "instar")
	}
	if a.storeDir == "" {
		a.storeDir = filepath.Join(a.cacheDir, "store")
	}
	live := !a.quiet && term.IsTerminal(int(os.Stderr.Fd()))
	a.progress = newProgress(a.err, live, time.Now)
	return nil
}

// json reports whether -o json was given.
func (a *app) json() bool { return a.output == "json" }

// print writes v as JSON, or calls text.
func (a *app) print(v any, text func(w io.Writer) error) error {
	a.progress.done()
	if a.json() {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	return text(a.out)
}

// definition reads and checks the machine definition.
func (a *app) definition() (*config.Definition, error) {
	f, err := a.definitionFile()
	if err != nil {
		return nil, err
	}
	return f.Definition, nil
}

func (a *app) definitionFile() (*config.File, error) {
	var patches []string
	for _, p := range a.patches {
		within, err := a.within(p)
		if err != nil {
			return nil, err
		}
		patches = append(patches, within)
	}
	f, err := config.Read(os.DirFS(a.dir()), filepath.Base(a.file), patches...)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no machine definition: %w", err)
	}
	return f, err
}

// within returns a patch's path from the definition's directory, in which it
// must be: relative paths begin there, absolute ones lead there.
func (a *app) within(patch string) (string, error) {
	rel := filepath.Clean(patch)
	if filepath.IsAbs(rel) {
		dir, err := filepath.Abs(a.dir())
		if err != nil {
			return "", err
		}
		if rel, err = filepath.Rel(dir, rel); err != nil {
			return "", err
		}
	}
	if !filepath.IsLocal(rel) {
		return "", fmt.Errorf("--patch %s: a patch is in the directory of the definition, %s, or below; put it there", patch, a.dir())
	}
	return filepath.ToSlash(rel), nil
}

// dir is the directory of the definition; local trees are below it.
func (a *app) dir() string { return filepath.Dir(a.file) }

// lockPath is the lock of the definition: instar.yaml has instar.lock.
func (a *app) lockPath() string {
	return strings.TrimSuffix(a.file, filepath.Ext(a.file)) + ".lock"
}

// readLock returns the lock, nil when there is none.
func (a *app) readLock() (*lock.Lock, error) {
	text, err := os.ReadFile(a.lockPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lk, err := lock.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.lockPath(), err)
	}
	return lk, nil
}

// errNoLock says that a build needs a lock first.
var errNoLock = errors.New("there is no lock file")

// locked returns definition and lock, which must fit each other.
func (a *app) locked() (*config.Definition, *lock.Lock, error) {
	def, err := a.definition()
	if err != nil {
		return nil, nil, err
	}
	lk, err := a.readLock()
	if err != nil {
		return nil, nil, err
	}
	if lk == nil {
		return nil, nil, fmt.Errorf("%s: %w", a.lockPath(), errNoLock)
	}
	request, err := config.RequestDigest(def)
	if err != nil {
		return nil, nil, err
	}
	if err := lock.Check(lk, def.Machine, request); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", a.lockPath(), err)
	}
	return def, lk, nil
}

// openStore opens the store, creating it when it is not there.
func (a *app) openStore() (*store.Store, error) {
	return store.Open(a.storeDir, store.Options{})
}

// fetcher returns the client of all downloads.
func (a *app) fetcher(transport http.RoundTripper) *fetch.Client {
	vendor := a.vendorDir
	if vendor == "" {
		if beside := filepath.Join(a.dir(), "vendor"); isDir(beside) {
			vendor = beside
		}
	}
	return &fetch.Client{
		Dir:      filepath.Join(a.cacheDir, "downloads"),
		Vendor:   vendor,
		HTTP:     &http.Client{Transport: transport},
		Offline:  a.offline,
		Parallel: 6,
		Progress: func(p fetch.Progress) {
			a.progress.event(assemble.Event{Stage: "download", Item: p.What, Done: p.Done, Total: p.Total, Bytes: true})
		},
	}
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// hostConfig is where this host takes archives from.
func hostConfig() deb.HostConfig {
	return deb.HostConfig{
		Archive:  os.Getenv("INSTAR_DEBIAN_ARCHIVE"),
		Security: os.Getenv("INSTAR_DEBIAN_SECURITY_ARCHIVE"),
		Apt:      os.DirFS("/etc/apt"),
	}
}

// builder returns a Builder on the store.
func (a *app) builder(st *store.Store) *assemble.Builder {
	transport, registries := registryTransport()
	return &assemble.Builder{
		Store: st, Fetch: a.fetcher(transport), Registries: registries, Cache: a.cacheDir, Dir: a.dir(),
		Host: hostConfig(), HostArch: runtime.GOARCH, Init: initBinary, Agent: agentBinary, S3: s3Credentials(),
		Progress: a.progress.event,
	}
}

func initBinary(arch string) ([]byte, error)  { return companion("instar-init", arch) }
func agentBinary(arch string) ([]byte, error) { return companion("instar-agent", arch) }

// companion finds a program of instar for an architecture: beside this program
// for its own, in a directory named after the architecture for another.
func companion(name, arch string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return nil, err
	}
	path := filepath.Join(filepath.Dir(self), name)
	if arch != runtime.GOARCH {
		path = filepath.Join(filepath.Dir(self), arch, name)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("no %s for %s: %w", name, arch, err)
	}
	return b, nil
}
