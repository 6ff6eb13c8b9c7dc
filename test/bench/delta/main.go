// Command delta measures binary differences beside the tools that Debian has,
// on the same trees in one run.
//
//	delta OLD.tsv NEW.tsv OUT.json     packages from the archive, into $CACHE
//	delta one|all LIST.tsv OUT.json    the same packages under store paths, of which
//	                                   one has another hash, with all that refer to it, or all
//
// The trees are as the store has them: compressed members decompressed. The
// kernel's image counts as the content of its payload, which is what a store
// with normalised kernels holds; KERNEL=0 leaves it out. FILE names the only file
// that is compared, whatever its directory. PEERS names the peers that run,
// separated by spaces; unset: all that are installed. TREES keeps the trees there.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/instar-os/instar/internal/bindiff"
)

// Row is one tool. Seconds are of one process and wall time; CPU is user and
// system time, which says more on a machine that does other things as well.
type Row struct {
	Tool      string  `json:"tool"`
	Bytes     int64   `json:"bytes"`
	Encode    float64 `json:"encodeSeconds"`
	EncodeCPU float64 `json:"encodeCPUSeconds"`
	EncodeMiB int64   `json:"encodePeakMiB"`
	Apply     float64 `json:"applySeconds"`
	ApplyCPU  float64 `json:"applyCPUSeconds"`
	ApplyMiB  int64   `json:"applyPeakMiB"`                // resident, mapped files included
	ApplyAnon int64   `json:"applyAnonymousMiB,omitempty"` // of these, beyond the page cache; ours only
	Error     string  `json:"error,omitempty"`
}

// Figures is what the benchmark writes.
type Figures struct {
	Name    string             `json:"name"`
	Files   int                `json:"changedFiles"`
	Bytes   int64              `json:"changedBytes"`
	Rows    []Row              `json:"tools"`
	Ratios  map[string]float64 `json:"ratios"`       // bytes of a peer over ours
	MBs     float64            `json:"applyMBs"`     // produced bytes a CPU second, ours
	Missing []string           `json:"notInArchive"` // packages left out on both sides
}

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "encode":
		err = encode(os.Args[2], os.Args[3])
	case len(os.Args) == 4 && os.Args[1] == "apply":
		err = apply(os.Args[2], os.Args[3])
	case len(os.Args) == 4:
		err = run(os.Args[1], os.Args[2], os.Args[3])
	default:
		err = errors.New("want OLD.tsv NEW.tsv OUT.json")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "delta:", err)
		os.Exit(1)
	}
}

// change is a file that is not in the old tree, and the one it is made of.
type change struct {
	Old, New string // Old "" for none
	Size     int64
}

func run(oldList, newList, out string) error {
	cache := os.Getenv("CACHE")
	if cache == "" {
		cache = filepath.Join(os.TempDir(), "instar-bench-delta")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	dir := os.Getenv("TREES")
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp(cache, "run-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	f := Figures{Name: strings.TrimSuffix(filepath.Base(out), ".json"), Ratios: map[string]float64{}}
	var err error
	if _, serr := os.Stat(filepath.Join(dir, "new")); serr != nil {
		if oldList == "one" || oldList == "all" {
			err = hashTrees(cache, dir, newList, oldList == "all")
		} else {
			f.Missing, err = trees(cache, dir, oldList, newList)
		}
		if err == nil && os.Getenv("FILE") != "" {
			err = onlyFile(dir, os.Getenv("FILE"))
		}
		if err != nil {
			return err
		}
	}
	changes, err := compare(filepath.Join(dir, "old"), filepath.Join(dir, "new"))
	if err != nil {
		return err
	}
	f.Files = len(changes)
	for _, c := range changes {
		f.Bytes += c.Size
	}
	list, err := json.Marshal(changes)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "changes"), list, 0o644); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ours := measure("instar", dir, self+" encode changes delta", self+" apply changes delta", "delta")
	f.Rows = append(f.Rows, ours)
	if ours.Error != "" {
		return errors.New(ours.Error)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "anonymous")); err == nil {
		ours.ApplyAnon, _ = strconv.ParseInt(string(b), 10, 64)
		f.Rows[0] = ours
	}
	f.MBs = float64(f.Bytes) / 1e6 / ours.ApplyCPU
	for _, p := range peers {
		if only := os.Getenv("PEERS"); only != "" && !slices.Contains(strings.Fields(only), p.name) {
			continue
		} else if _, err := exec.LookPath(p.tool); err != nil {
			continue
		}
		row := measure(p.name, dir, p.encode, p.apply, p.out)
		if f.Rows = append(f.Rows, row); row.Error == "" {
			f.Ratios[p.name] = float64(row.Bytes) / float64(ours.Bytes)
		}
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	f.print()
	return os.WriteFile(out, append(text, '\n'), 0o644)
}

// trees unpacks both lists without the packages that either archive lacks.
func trees(cache, dir, oldList, newList string) (missing []string, err error) {
	var lists [2][]pack
	gone := map[string]bool{}
	for i, name := range []string{oldList, newList} {
		if lists[i], err = readList(name); err != nil {
			return nil, err
		}
		for _, p := range lists[i] {
			if _, err := fetch(cache, p); err != nil {
				missing = append(missing, err.Error())
				gone[p.name] = true
			}
		}
	}
	for i, name := range []string{"old", "new"} {
		list := slices.DeleteFunc(lists[i], func(p pack) bool { return gone[p.name] })
		if err := unpack(cache, filepath.Join(dir, name), list, os.Getenv("KERNEL") != "0"); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// compare lists what the new tree has and the old one has not, by content.
func compare(oldDir, newDir string) ([]change, error) {
	old, have, err := contents(oldDir)
	if err != nil {
		return nil, err
	}
	list, sums, err := contents(newDir)
	if err != nil {
		return nil, err
	}
	known := map[[32]byte]bool{}
	for _, s := range have {
		known[s] = true
	}
	var changed []bindiff.Candidate
	for i, f := range list {
		if !known[sums[i]] {
			known[sums[i]] = true
			changed = append(changed, f)
		}
	}
	slices.SortStableFunc(changed, func(a, b bindiff.Candidate) int { return kind(a.Path) - kind(b.Path) })
	bases := bindiff.Bases(old, changed)
	if err := alike(oldDir, newDir, old, changed, bases); err != nil {
		return nil, err
	}
	var changes []change
	for i, f := range changed {
		c := change{New: filepath.Join(newDir, f.Path), Size: f.Size}
		if bases[i] >= 0 {
			c.Old = filepath.Join(oldDir, old[bases[i]].Path)
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// kind sorts files so that those that help each other stand together.
func kind(path string) int {
	switch {
	case strings.HasSuffix(path, ".ko"):
		return 2
	case strings.Contains(path, "/vmlinuz") || strings.Contains(path, "bin/") || strings.Contains(path, ".so"):
		return 1
	}
	return 0
}

func contents(dir string) (files []bindiff.Candidate, sums [][32]byte, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		files = append(files, bindiff.Candidate{Path: rel, Size: int64(len(b))})
		sums = append(sums, sha256.Sum256(b))
		return err
	})
	return files, sums, err
}

// measure runs both commands of a tool in dir and sizes what the first left.
func measure(name, dir, encode, apply, out string) Row {
	r := Row{Tool: name}
	var err error
	if r.Encode, r.EncodeCPU, r.EncodeMiB, err = timed(dir, encode); err == nil {
		r.Bytes, err = sizeOf(filepath.Join(dir, out))
	}
	if err == nil && apply != "" {
		r.Apply, r.ApplyCPU, r.ApplyMiB, err = timed(dir, apply)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func timed(dir, script string) (wall, cpu float64, mib int64, err error) {
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, "sh", "-ec", script)
	cmd.Dir = dir
	start := time.Now()
	text, err := cmd.CombinedOutput()
	wall = time.Since(start).Seconds()
	if err != nil {
		return wall, 0, 0, fmt.Errorf("%s: %w: %.200s", script, err, text)
	}
	cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		mib = u.Maxrss >> 10
	}
	return wall, cpu, mib, nil
}

func sizeOf(path string) (n int64, err error) {
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		i, err := d.Info()
		if err == nil {
			n += i.Size()
		}
		return err
	})
	return n, err
}

// encode is the first half of our own side, in a process of its own.
func encode(list, out string) error {
	changes, err := readChanges(list)
	if err != nil {
		return err
	}
	w, err := os.Create(out)
	if err != nil {
		return err
	}
	defer w.Close()
	var pairs []bindiff.Pair
	for _, c := range changes {
		p := bindiff.Pair{Name: c.New, New: func() ([]byte, error) { return os.ReadFile(c.New) }}
		if c.Old != "" {
			p.Old = func() ([]byte, error) { return os.ReadFile(c.Old) }
		}
		pairs = append(pairs, p)
	}
	r, err := bindiff.Encode(context.Background(), w, pairs, bindiff.Options{})
	if err != nil {
		return err
	}
	if text, err := json.Marshal(r); err != nil {
		return err
	} else if err := os.WriteFile(out+".report", text, 0o644); err != nil {
		return err
	}
	return w.Close()
}

func readChanges(name string) (changes []change, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return changes, json.Unmarshal(b, &changes)
}

// apply is the second half: each file is made and thrown away, the old one
// mapped. Encode has compared them already.
func apply(list, in string) error {
	changes, err := readChanges(list)
	if err != nil {
		return err
	}
	r, err := os.Open(in)
	if err != nil {
		return err
	}
	defer r.Close()
	debug.SetMemoryLimit(48 << 20)
	stop := watch()
	defer stop()
	d, err := bindiff.NewDecoder(r)
	if err != nil {
		return err
	}
	for _, c := range changes {
		old, unmap, err := mapped(c.Old)
		if err != nil {
			return err
		}
		err = d.Next(old, c.Size, io.Discard)
		unmap()
		if err != nil {
			return fmt.Errorf("make %s: %w", c.New, err)
		}
	}
	return nil
}

func mapped(name string) ([]byte, func(), error) {
	if name == "" {
		return nil, func() {}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil || i.Size() == 0 {
		return nil, func() {}, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(i.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	return b, func() { _ = syscall.Munmap(b) }, err
}

// watch samples how much anonymous memory the process has: what is resident
// beyond the page cache. The end writes down the most.
func watch() func() {
	done := make(chan struct{})
	most := 0
	go func() {
		for {
			b, _ := os.ReadFile("/proc/self/status")
			for line := range strings.Lines(string(b)) {
				var n int
				if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &n); err == nil {
					most = max(most, n)
				}
			}
			select {
			case <-done:
				close(done)
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() {
		done <- struct{}{}
		<-done
		_ = os.WriteFile("anonymous", []byte(strconv.Itoa((most+1023)>>10)), 0o644)
	}
}

// print shows the figures as a table.
func (f *Figures) print() {
	fmt.Printf("%s: %d changed files, %d bytes; ours is made at %.0f MB/s of processor time\n", f.Name, f.Files, f.Bytes, f.MBs)
	fmt.Printf("%-12s %11s %7s %9s %8s %6s %9s %8s %6s\n", "tool", "bytes", "/ours", "encode s", "cpu s", "MiB", "apply s", "cpu s", "MiB")
	for _, r := range f.Rows {
		fmt.Printf("%-12s %11d %7.2f %9.1f %8.1f %6d %9.1f %8.1f %6d %.60s\n", r.Tool, r.Bytes, float64(r.Bytes)/float64(f.Rows[0].Bytes),
			r.Encode, r.EncodeCPU, r.EncodeMiB, r.Apply, r.ApplyCPU, r.ApplyMiB, r.Error)
	}
	if a := f.Rows[0].ApplyAnon; a > 0 {
		fmt.Printf("ours held %d MiB beyond mapped files\n", a)
	}
	if len(f.Missing) > 0 {
		fmt.Println("left out on both sides:", strings.Join(f.Missing, ", "))
	}
}

// onlyFile leaves of both trees the files of a name.
func onlyFile(dir, name string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == name {
			return err
		}
		return os.Remove(path)
	})
}

// alike chooses bases by content where names say nothing.
func alike(oldDir, newDir string, old, changed []bindiff.Candidate, bases []int) error {
	sketch := func(dir string, list []bindiff.Candidate, wanted func(i int) bool) ([]bindiff.Sketch, error) {
		all := make([]bindiff.Sketch, len(list))
		for i, f := range list {
			if f.Size < 4<<10 || !wanted(i) {
				continue
			}
			b, err := os.ReadFile(filepath.Join(dir, f.Path))
			if err != nil {
				return nil, err
			}
			all[i] = bindiff.NewSketch(b)
		}
		return all, nil
	}
	x, err := sketch(newDir, changed, func(i int) bool { return bases[i] < 0 })
	if err != nil {
		return err
	}
	y, err := sketch(oldDir, old, func(int) bool { return true })
	if err != nil {
		return err
	}
	for i, n := range bindiff.Alike(y, x) {
		if bases[i] < 0 {
			bases[i] = n
		}
	}
	return nil
}
