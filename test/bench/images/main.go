// Command images measures OCI images beside their tools, in one run.
//
//	images import OUT.json   a large image of many layers, from a layout into the store, beside skopeo and umoci
//	images dedup OUT.json    what a set of images takes: by itself, with shared layers, in the store
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/deb"
	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/tree"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if len(os.Args) != 3 {
		return errors.New("usage: images import|dedup OUT.json")
	}
	work, err := os.MkdirTemp("", "instar-images-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	b, err := builder()
	if err != nil {
		return err
	}
	defer b.Store.Close()
	var out any
	switch os.Args[1] {
	case "import":
		out, err = importing(ctx, b, work)
	case "dedup":
		out, err = dedup(ctx, b)
	default:
		err = fmt.Errorf("no benchmark %q", os.Args[1])
	}
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return os.WriteFile(os.Args[2], append(text, '\n'), 0o644)
}

// builder has a store of its own, beside the downloads that all share.
func builder() (*assemble.Builder, error) {
	cache := os.Getenv("INSTAR_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		cache = filepath.Join(dir, "instar")
	}
	own := filepath.Join(cache, "bench-images")
	st, err := store.Open(filepath.Join(own, "store"), store.Options{})
	if err != nil {
		return nil, err
	}
	return &assemble.Builder{
		Store: st, Cache: own, Dir: "test/bench/images", HostArch: runtime.GOARCH,
		Fetch: &fetch.Client{Dir: filepath.Join(cache, "downloads"), HTTP: &http.Client{}, Parallel: 6},
		Host:  deb.HostConfig{Archive: os.Getenv("INSTAR_DEBIAN_ARCHIVE"), Security: os.Getenv("INSTAR_DEBIAN_SECURITY_ARCHIVE"), Apt: os.DirFS("/etc/apt")},
	}, nil
}

// trees builds the named trees. The lock lies in the cache: later runs measure
// the same packages.
func trees(ctx context.Context, b *assemble.Builder, names []string) (map[string]*tree.Tree, int64, error) {
	f, err := config.Read(os.DirFS(b.Dir), "instar.yaml")
	if err != nil {
		return nil, 0, err
	}
	file := filepath.Join(b.Cache, "images.lock")
	text, err := os.ReadFile(file)
	var lk *lock.Lock
	if err == nil {
		lk, err = lock.Parse(text)
	}
	if err == nil {
		request, rerr := config.RequestDigest(f.Definition)
		if rerr != nil {
			return nil, 0, rerr
		}
		err = lock.Check(lk, f.Definition.Machine, request)
	}
	if err != nil {
		if lk, err = b.Lock(ctx, f.Definition, assemble.LockOptions{Now: time.Now(), Keys: b.KeyFile}); err != nil {
			return nil, 0, err
		}
		if text, err = lk.Format(); err != nil {
			return nil, 0, err
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return nil, 0, err
		}
	}
	out, err := b.Trees(ctx, f.Definition, lk, "amd64", names)
	if err != nil {
		return nil, 0, err
	}
	return out, lk.Epoch, b.Store.Commit()
}
