// Command bench measures instar beside its peers in one run and writes figures
// and ratios as JSON.
//
//	bench build  cold build of a package list beside mmdebstrap, and a warm rebuild
//	bench image  composefs image of a tree of 64k files beside mkcomposefs
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/deb"
)

// request is the package list of the cold build: it resolves to about 145
// packages of trixie, Essential included.
var request = []string{"systemd", "systemd-sysv", "dbus", "udev", "openssh-server", "mosquitto", "ca-certificates",
	"tzdata", "iproute2", "nftables", "chrony", "python3"}

// figures is what a benchmark writes.
type figures struct {
	Name     string             `json:"name"`
	CPUs     int                `json:"cpus"`
	Seconds  map[string]float64 `json:"seconds"`
	Ratios   map[string]float64 `json:"ratios"` // peer over ours: above 1, ours is faster
	Packages int                `json:"packages,omitempty"`
	Notes    []string           `json:"notes"`
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if len(os.Args) != 3 || (os.Args[1] != "build" && os.Args[1] != "image") {
		return errors.New("usage: bench build|image OUT.json")
	}
	if os.Args[1] == "image" {
		f, err := image(ctx)
		if err != nil {
			return err
		}
		return write(f, os.Args[2])
	}
	cache := os.Getenv("INSTAR_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		cache = filepath.Join(dir, "instar")
	}
	instar, err := filepath.Abs("out/instar")
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "instar-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	f, err := (&bench{instar, cache, work}).build(ctx)
	if err != nil {
		return err
	}
	return write(f, os.Args[2])
}

// write prints the figures and keeps them in a file.
func write(f *figures, to string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, append(text, '\n'), 0o644)
}

// benchLine is a line of `go test -bench`: the name and the time of a round.
var benchLine = regexp.MustCompile(`(?m)^BenchmarkWrite/(\w+)(?:-\d+)?\s+\d+\s+(\d+) ns/op`)

// image runs the writer's own benchmark, which times both in one process.
func image(ctx context.Context) (*figures, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkWrite$", "-benchtime", "10x", "./internal/erofs")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go test -bench: %w\n%s", err, out)
	}
	f := &figures{Name: "image", CPUs: runtime.NumCPU(), Seconds: map[string]float64{}, Ratios: map[string]float64{}}
	for _, m := range benchLine.FindAllStringSubmatch(string(out), -1) {
		ns, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, err
		}
		f.Seconds[m[1]] = ns / 1e9
	}
	ours, theirs := f.Seconds["ours"], f.Seconds["mkcomposefs"]
	if ours == 0 || theirs == 0 {
		return nil, fmt.Errorf("a figure is missing (is mkcomposefs to be had?):\n%s", out)
	}
	f.Ratios["mkcomposefs / ours"] = theirs / ours
	f.Notes = []string{"64k files in 4k directories; ours writes nodes that are in memory, mkcomposefs also reads its dump file"}
	return f, nil
}

type bench struct{ instar, cache, work string }

const definition = `machine: bench
sources:
  debian: {archive: debian, suites: [trixie]}
kernel: {from: debian, package: linux-image-cloud-amd64}
trees:
  all: {from: debian, essential: true, packages: [%s]}
  conf: {from: dir, path: conf, to: /etc/bench}
containers:
  all: {trees: [all, conf], command: [/usr/bin/true], oneshot: true}
configurations:
  main: {fallback: true, containers: [all]}
default: main
`

func (b *bench) build(ctx context.Context) (*figures, error) {
	project := filepath.Join(b.work, "project")
	if err := os.MkdirAll(filepath.Join(project, "conf"), 0o755); err != nil {
		return nil, err
	}
	conf := filepath.Join(project, "conf", "conf")
	files := map[string]string{filepath.Join(project, "instar.yaml"): fmt.Sprintf(definition, strings.Join(request, ", ")), conf: "one\n"}
	for p, text := range files {
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if _, err := b.timed(project, b.instar, "--cache", b.cache, "lock"); err != nil {
		return nil, err
	}
	lk, err := b.lock(project)
	if err != nil {
		return nil, err
	}
	mirror, stop, err := b.mirror(ctx, lk)
	if err != nil {
		return nil, err
	}
	defer stop()

	f := &figures{Name: "build", CPUs: runtime.NumCPU(), Seconds: map[string]float64{}, Ratios: map[string]float64{}}
	f.Packages = len(lk.Arches["amd64"].Tree("all"))
	f.Notes = []string{
		"cold: empty store and no unpacked package; downloads are there",
		"tree: the list unpacked, merged, effects applied, in the store: what the peer does; system: also kernel, initrd, tools, image, manifest",
		"warm: after one line of a configuration file has changed",
		"the peer's mirror is on the loopback and holds the same files; its output is a directory; it also runs the maintainer scripts, and takes apt and the other required packages",
	}
	if _, err := b.mmdebstrap(mirror, -1); err != nil {
		return nil, err
	}
	// In turn, so that a drift of the machine's speed meets both.
	const rounds = 3
	seconds := map[string][]float64{}
	for i := range rounds {
		if err := b.round(project, conf, mirror, i, seconds); err != nil {
			return nil, err
		}
	}
	for name, all := range seconds {
		f.Seconds[name] = median(all)
	}
	for _, ours := range []string{"tree cold", "system cold"} {
		f.Ratios["mmdebstrap / "+ours] = f.Seconds["mmdebstrap"] / f.Seconds[ours]
	}
	f.Ratios["system cold / system warm"] = f.Seconds["system cold"] / f.Seconds["system warm"]
	return f, nil
}

// round measures everything once. Nothing is deleted before the end: ext4 is
// slow to reuse the inodes of files deleted within seconds, and who comes after
// a deletion would pay for it.
func (b *bench) round(project, conf, mirror string, i int, seconds map[string][]float64) error {
	trees, err := b.coldCache(fmt.Sprintf("tree%d", i))
	if err != nil {
		return err
	}
	systems, err := b.coldCache(fmt.Sprintf("system%d", i))
	if err != nil {
		return err
	}
	steps := []struct {
		name string
		do   func() (float64, error)
	}{
		{"tree cold", func() (float64, error) {
			return b.timed(project, b.instar, "--cache", trees, "--offline", "tree", "all")
		}},
		{"mmdebstrap", func() (float64, error) { return b.mmdebstrap(mirror, i) }},
		{"system cold", func() (float64, error) {
			return b.timed(project, b.instar, "--cache", systems, "--offline", "build")
		}},
		{"system warm", func() (float64, error) {
			if err := os.WriteFile(conf, fmt.Appendf(nil, "round %d\n", i), 0o644); err != nil {
				return 0, err
			}
			return b.timed(project, b.instar, "--cache", systems, "--offline", "build")
		}},
	}
	for _, s := range steps {
		took, err := s.do()
		if err != nil {
			return err
		}
		seconds[s.name] = append(seconds[s.name], took)
	}
	return nil
}

// coldCache is a cache with the downloads and nothing else.
func (b *bench) coldCache(name string) (string, error) {
	dir := filepath.Join(b.work, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.Symlink(filepath.Join(b.cache, "downloads"), filepath.Join(dir, "downloads"))
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func (b *bench) timed(dir string, args ...string) (float64, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return time.Since(began).Seconds(), nil
}

func (b *bench) lock(project string) (*lock.Lock, error) {
	text, err := os.ReadFile(filepath.Join(project, "instar.lock"))
	if err != nil {
		return nil, err
	}
	return lock.Parse(text)
}

// mirror serves the locked packages from the cache, and the archive's signed
// indices, on the loopback.
func (b *bench) mirror(ctx context.Context, lk *lock.Lock) (address string, stop func(), err error) {
	dir := filepath.Join(b.work, "mirror")
	for _, p := range lk.Arches["amd64"].Packages {
		to := filepath.Join(dir, filepath.FromSlash(p.Path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", nil, err
		}
		if err := os.Symlink(filepath.Join(b.cache, "downloads/files", p.SHA256[:2], p.SHA256), to); err != nil {
			return "", nil, err
		}
	}
	archive, err := deb.Address("debian", deb.HostConfig{Archive: os.Getenv("INSTAR_DEBIAN_ARCHIVE"), Apt: os.DirFS("/etc/apt")})
	if err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: &proxy{ctx: ctx, dir: dir, archive: archive}}
	go srv.Serve(l)
	return "http://" + l.Addr().String(), func() { srv.Close() }, nil
}

// proxy serves a directory, and fetches into it what it does not have: the
// indices, and the few packages that the peer takes beyond the list (apt and
// what is required). A round that is not counted fills it.
type proxy struct {
	ctx          context.Context
	dir, archive string
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := path.Clean("/" + r.URL.Path)
	at := filepath.Join(p.dir, filepath.FromSlash(name))
	if _, err := os.Stat(at); err != nil {
		if err := download(p.ctx, p.archive+name, at); err != nil {
			http.NotFound(w, r)
			return
		}
	}
	http.ServeFile(w, r, at)
}

func download(ctx context.Context, url, to string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".fetch-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := io.Copy(f, resp.Body); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}

// mmdebstrap makes the same packages a directory.
func (b *bench) mmdebstrap(mirror string, round int) (float64, error) {
	to := filepath.Join(b.work, fmt.Sprintf("peer%d", round))
	return b.timed(b.work, "mmdebstrap", "--variant=minbase", "--include="+strings.Join(request, ","),
		"--format=directory", "trixie", to, mirror)
}
