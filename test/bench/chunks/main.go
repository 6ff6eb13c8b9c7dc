// Command chunks measures what a device fetches of a system in chunks, beside
// casync on the same trees in the same run.
//
//	chunks OLD NEW OUT.json     directories: what the device has, what it shall have
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/instar-os/instar/internal/chunk"
	"github.com/instar-os/instar/internal/chunk/publish"
	"github.com/instar-os/instar/internal/delta/remote"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/source/files"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/trust"
	"github.com/instar-os/instar/internal/update"
)

// Row is one tool.
type Row struct {
	Tool    string  `json:"tool"`
	Fetched int64   `json:"fetched"` // bytes of index and chunks that a device with OLD fetches for NEW
	Index   int64   `json:"index"`   // of these
	All     int64   `json:"all"`     // bytes that a device with nothing fetches
	Publish float64 `json:"publishCPUSeconds"`
	Apply   float64 `json:"applyCPUSeconds"`
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: chunks OLD NEW OUT.json")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "chunks:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, old, new, out string) error {
	dir, err := os.MkdirTemp("", "bench-chunks-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var rows []Row
	for _, tool := range []struct {
		name string
		do   func() (Row, error)
	}{
		{"instar", func() (Row, error) { return ours(ctx, dir, old, new) }},
		{"casync", func() (Row, error) { return casync(ctx, dir+"/default", old, new) }},
		{"casync 32 KiB", func() (Row, error) { return casync(ctx, dir+"/small", old, new, "--chunk-size=32768") }},
	} {
		r, err := tool.do()
		if err != nil {
			return fmt.Errorf("%s: %w", tool.name, err)
		}
		r.Tool = tool.name
		rows = append(rows, r)
		fmt.Printf("%-14s fetches %10d bytes (index %8d), all is %10d; publish %6.1f s, apply %6.1f s of CPU\n", r.Tool, r.Fetched, r.Index, r.All, r.Publish, r.Apply)
	}
	b, err := json.MarshalIndent(map[string]any{"tools": rows, "casyncOverOurs": float64(min(rows[1].Fetched, rows[2].Fetched)) / float64(rows[0].Fetched)}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(b, '\n'), 0o644)
}

// cpu returns the CPU seconds of this process, or of its children.
func cpu(who int) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func ours(ctx context.Context, dir, old, new string) (r Row, err error) {
	st, err := store.Open(dir+"/store", store.Options{})
	if err != nil {
		return r, err
	}
	defer st.Close()
	key, err := trust.NewKey(strings.NewReader(strings.Repeat("k", 32)))
	if err != nil {
		return r, err
	}
	var systems []digest.Digest
	for i, from := range []string{old, new} {
		d, err := build(ctx, st, from, int64(i))
		if err != nil {
			return r, err
		}
		systems = append(systems, d)
	}
	began := cpu(syscall.RUSAGE_SELF)
	p, err := publish.Write(ctx, st, systems[1], dir+"/web", publish.Options{Keys: []trust.Private{key}})
	if err != nil {
		return r, err
	}
	r.Publish, r.Index, r.All = cpu(syscall.RUSAGE_SELF)-began, p.Size, p.Size+p.Stored
	device, err := store.Open(dir+"/device", store.Options{})
	if err != nil {
		return r, err
	}
	defer device.Close()
	c, err := st.Closure(systems[0])
	if err != nil {
		return r, err
	}
	if _, err := device.CopyFrom(ctx, st, c); err != nil {
		return r, err
	}
	env, err := update.Offline(device, trust.Keys{key.Public()})
	if err != nil {
		return r, err
	}
	x, err := remote.FileIndex(p.Index)
	if err != nil {
		return r, err
	}
	r.Fetched = p.Size
	began = cpu(syscall.RUSAGE_SELF)
	got, err := update.Pull(ctx, update.Packs{Index: x.Front(), Ranges: func(list []chunk.Range) (io.Reader, error) {
		var all [][3]int64
		for _, c := range list {
			r.Fetched += c.Length
			all = append(all, [3]int64{int64(c.Pack), c.Offset, c.Length})
		}
		return x.Ranges(all)
	}}, env)
	if err != nil {
		return r, err
	}
	r.Apply = cpu(syscall.RUSAGE_SELF) - began
	return r, got.Finish()
}

// build makes a system of a directory.
func build(ctx context.Context, st *store.Store, dir string, epoch int64) (digest.Digest, error) {
	t, err := files.Dir(ctx, st, dir, files.Options{})
	if err != nil {
		return digest.Digest{}, err
	}
	image, err := st.PutImage(ctx, t)
	if err != nil {
		return digest.Digest{}, err
	}
	none := func(s string) system.Object {
		d, err2 := st.PutBytes([]byte(s))
		err = errors.Join(err, err2)
		return system.Object{Digest: d, Size: int64(len(s))}
	}
	m := &system.Manifest{Version: system.Version, Machine: "bench", Arch: "amd64", Default: "all", Epoch: epoch,
		Kernel: system.Kernel{Image: none("kernel"), Initrd: none("initrd"), Stub: none("stub"), Loader: none("loader"), Init: none("init"), Command: []string{}, Modules: []string{}},
		Boot:   system.Boot{Slots: 2, SlotSize: 1 << 20, DataFS: none("data")},
		Configurations: []system.Configuration{{Name: "all", Containers: []system.Container{{
			Name: "all", Image: image, Launch: none("launch"), Args: []string{"/x"}, Dir: "/", Root: system.ReadOnly, Network: system.NoNetwork}}}}}
	if err != nil {
		return digest.Digest{}, err
	}
	return st.PutSystem(m)
}

// patience is how long casync may take, which needs half a minute of processor
// time.
const patience = 5 * time.Minute

// casync makes both trees, and counts the chunks that the first has not.
func casync(ctx context.Context, dir, old, new string, flags ...string) (r Row, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return r, err
	}
	began := cpu(syscall.RUSAGE_CHILDREN)
	for name, tree := range map[string]string{"old": old, "new": new} {
		args := append([]string{"make", "--without=all", "--with=permissions", "--store=" + dir + "/" + name + ".castr"}, flags...)
		if out, err := exec.CommandContext(ctx, "casync", append(args, dir+"/"+name+".caidx", tree)...).CombinedOutput(); err != nil {
			return r, fmt.Errorf("%w: %s", err, out)
		}
	}
	r.Publish = (cpu(syscall.RUSAGE_CHILDREN) - began) / 2
	have, err := chunksOf(dir + "/old.castr")
	if err != nil {
		return r, err
	}
	want, err := chunksOf(dir + "/new.castr")
	if err != nil {
		return r, err
	}
	info, err := os.Stat(dir + "/new.caidx")
	if err != nil {
		return r, err
	}
	r.Index, r.Fetched, r.All = info.Size(), info.Size(), info.Size()
	for name, size := range want {
		r.All += size
		if _, ok := have[name]; !ok {
			r.Fetched += size
		}
	}
	began = cpu(syscall.RUSAGE_CHILDREN)
	out, err := exec.CommandContext(ctx, "casync", "extract", "--without=all", "--with=permissions", "--seed="+old, "--store="+dir+"/new.castr", dir+"/new.caidx", dir+"/out").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	r.Apply = cpu(syscall.RUSAGE_CHILDREN) - began
	return r, err
}

func chunksOf(dir string) (map[string]int64, error) {
	all := map[string]int64{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			all[e.Name()] = info.Size()
		}
		return err
	})
	return all, err
}
