package deb

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/source/fetch"
)

// record writes what TestAptLive finds to testdata.
var record = flag.Bool("record", false, "record apt's solutions and the packages they are made of")

// aptRows are requests whose answer apt knows, too. ours lists where we differ,
// "-name" for what only apt takes; docs/design/solver.md says why.
var aptRows = []struct {
	name      string
	packages  string
	essential bool
	ours      string
}{
	{name: "mosquitto", packages: "mosquitto"},
	{name: "nginx", packages: "nginx"},
	{name: "openssh-server", packages: "openssh-server"},
	{name: "python3", packages: "python3"},
	{name: "systemd", packages: "systemd dbus udev"},
	{name: "chrony", packages: "chrony nftables"},
	{name: "size-145", packages: size145, ours: "-lsb-base"},
	{name: "size-145-essential", packages: size145, essential: true},
	{name: "curl", packages: "ca-certificates curl"},
	{name: "postgresql", packages: "postgresql"},
	{name: "qemu-x86", packages: "qemu-system-x86 ovmf"},
	{name: "qemu-arm", packages: "qemu-system-arm qemu-efi-aarch64"},
	{name: "e2fsprogs", packages: "e2fsprogs libarchive13t64"},
	{name: "essential", essential: true},
	{name: "kernel", packages: "linux-image-cloud-amd64 systemd-boot-efi"},
	{name: "apache", packages: "default-mta apache2 php"},
	{name: "build", packages: "build-essential git"},
	{name: "podman", packages: "podman", ours: "-containernetworking-plugins -iptables -libip4tc2 -libip6tc2 -libmnl0 -libnetfilter-conntrack3 -libnfnetlink0 -libnftnl11 -libxtables12 -netbase"},
}

// size145 is the request of the cold-build benchmark.
const size145 = "systemd systemd-sysv dbus udev openssh-server mosquitto ca-certificates tzdata iproute2 nftables chrony python3"

// compareApt solves a row and reports how it differs from apt's solution, which
// is lines "NAME VERSION".
func compareApt(t *testing.T, w *World, i int, apt []string) *Solution {
	t.Helper()
	row := aptRows[i]
	sol, err := w.Solve(Request{Packages: strings.Fields(row.packages), Essential: row.essential})
	if err != nil {
		t.Errorf("%s: %v", row.name, err)
		return &Solution{}
	}
	var ours []string
	for _, p := range sol.Packages {
		ours = append(ours, p.Name+" "+p.Version)
	}
	var differ []string
	for _, line := range apt {
		if !slices.Contains(ours, line) {
			differ = append(differ, "-"+strings.Fields(line)[0])
		}
	}
	for _, line := range ours {
		if !slices.Contains(apt, line) {
			differ = append(differ, "+"+line)
		}
	}
	if got := strings.Join(differ, " "); got != row.ours {
		t.Errorf("%s: apt has %d packages, we have %d; differences %q, known ones %q", row.name, len(apt), len(ours), got, row.ours)
	}
	return sol
}

// The recorded part of trixie has the same solutions as apt found in the whole.
func TestAptRecorded(t *testing.T) {
	f, err := os.Open("testdata/trixie-amd64.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{source: "debian", name: "trixie", priority: 500, release: &Release{Suite: "stable", Codename: "trixie"}}
	ps, err := parsePackages(z, s)
	if err != nil {
		t.Fatal(err)
	}
	w := &World{arch: "amd64", goarch: "amd64", suites: []*suite{s}}
	if err := w.fill([][]*Package{ps}); err != nil {
		t.Fatal(err)
	}
	for i, row := range aptRows {
		apt, err := os.ReadFile("testdata/apt/" + row.name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		compareApt(t, w, i, strings.Split(strings.TrimSpace(string(apt)), "\n"))
	}
}

// apt itself, on the indices that our own client fetched and with an empty
// system, finds the same solutions.
func TestAptLive(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads an index of Debian")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("apt-get is not installed (package apt)")
	}
	w, apt := realWorld(t), newApt(t)
	for _, s := range []string{"InRelease", "main/binary-amd64/Packages.gz"} {
		apt.serve(t, w.suites[0], s)
	}
	apt.run(t, "apt-get", "update")
	apt.run(t, "apt-cache", "gencaches") // a simulation reads a cache but does not keep one
	sols := make([]*Solution, len(aptRows))
	for i, row := range aptRows {
		names := strings.Fields(row.packages)
		if row.essential {
			names = append(names, w.Essential()...)
		}
		lines := apt.solve(t, names)
		sols[i] = compareApt(t, w, i, lines)
		if *record {
			write(t, "testdata/apt/"+row.name+".txt", []byte(strings.Join(lines, "\n")+"\n"))
		}
	}
	if *record {
		recordWorld(t, w, sols)
	}
}

// cacheDir is where downloads of tests are kept.
func cacheDir(t testing.TB) string {
	dir := os.Getenv("INSTAR_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(base, "instar")
	}
	return filepath.Join(dir, "tests", "archive")
}

// realWorld is trixie as the archive has it now; without a network, as it was
// when it was last fetched.
func realWorld(t testing.TB) *World {
	t.Helper()
	src := Source{Name: "debian", Config: config.Source{Archive: "debian", Suites: []string{"trixie"}},
		Host: HostConfig{Archive: os.Getenv("INSTAR_DEBIAN_ARCHIVE"), Apt: os.DirFS("/etc/apt")}}
	c := &fetch.Client{Dir: cacheDir(t), Attempts: 2}
	w, err := Load(context.Background(), c, []Source{src}, "amd64", time.Now())
	if err != nil {
		c = &fetch.Client{Dir: c.Dir, Offline: true}
		var offline error
		if w, offline = Load(context.Background(), c, []Source{src}, "amd64", time.Now()); offline != nil {
			t.Fatal(errors.Join(err, offline))
		}
	}
	return w
}

// apt runs apt-get on directories of its own.
type apt struct{ dir string }

func newApt(t *testing.T) *apt {
	a := &apt{t.TempDir()}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/apt.conf.d", "repo/dists/trixie/main/binary-amd64"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, a.dir+"/status", nil)
	// APT_CONFIG is read before the host's files, which are thereby left out.
	write(t, a.dir+"/apt.conf", fmt.Appendf(nil, `Dir::Etc %[1]q; Dir::Etc::main "none"; Dir::Etc::parts "apt.conf.d";
Dir::State %[2]q; Dir::State::status %[3]q; Dir::Cache %[4]q;
APT::Architecture "amd64"; APT::Architectures "amd64"; APT::Install-Recommends "false"; APT::Sandbox::User "";
Debug::NoLocking "true"; Acquire::Languages "none";
`, a.dir+"/etc", a.dir+"/state", a.dir+"/status", a.dir+"/cache"))
	write(t, a.dir+"/keys.gpg", debianKeys)
	write(t, a.dir+"/etc/sources.list", []byte("deb [arch=amd64 signed-by="+a.dir+"/keys.gpg] file:"+a.dir+"/repo trixie main\n"))
	return a
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// serve puts a file of the suite, as the cache has it, where apt finds it.
func (a *apt) serve(t *testing.T, s *suite, name string) {
	t.Helper()
	sum := s.release.SHA256
	if f, ok := s.release.files[name]; ok {
		sum = f.sha256
	}
	from := filepath.Join(cacheDir(t), "files", sum[:2], sum)
	if err := os.Symlink(from, filepath.Join(a.dir, "repo/dists/trixie", name)); err != nil {
		t.Fatal(err)
	}
}

func (a *apt) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "APT_CONFIG="+a.dir+"/apt.conf")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &stderr)
	}
	return string(out)
}

// solve returns sorted lines "NAME VERSION" of what apt would install.
func (a *apt) solve(t *testing.T, names []string) []string {
	t.Helper()
	var out []string
	args := []string{"apt-get", "install", "--yes", "--print-uris"} // quicker than a simulation, which orders the steps
	for line := range strings.Lines(a.run(t, append(args, names...)...)) {
		f := strings.Fields(line) // 'URI' NAME_VERSION_ARCH.deb SIZE HASH
		if len(f) < 4 || !strings.HasPrefix(f[0], "'file:") {
			continue
		}
		name, err := url.PathUnescape(f[1])
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(name, "_")
		out = append(out, parts[0]+" "+parts[1])
	}
	slices.Sort(out)
	return out
}

// recordWorld writes the packages of the solutions and all that would answer
// their needs: no search looks further as long as nothing conflicts.
func recordWorld(t *testing.T, w *World, sols []*Solution) {
	t.Helper()
	keep := map[string]bool{}
	for _, sol := range sols {
		for _, p := range sol.Packages {
			keep[p.Name] = true
			groups, err := w.needs(w.packages[p.Name][0])
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range groups {
				for _, q := range w.answers(g) {
					keep[q.Name] = true
				}
			}
		}
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(keep)) {
		for _, p := range w.packages[name] {
			writePackage(z, p)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, "testdata/trixie-amd64.gz", out.Bytes())
}

func writePackage(w io.Writer, p *Package) {
	essential, priority := "", ""
	if p.Essential {
		essential = "yes"
	}
	if p.rank < len(ranks) {
		priority = ranks[p.rank]
	}
	for _, f := range [][2]string{{"Package", p.Name}, {"Version", p.Version}, {"Architecture", p.Arch}, {"Priority", priority}, {"Essential", essential},
		{"Pre-Depends", p.preDepends}, {"Depends", p.depends}, {"Provides", p.provides}, {"Breaks", p.breaks}, {"Conflicts", p.conflicts},
		{"Filename", "pool/" + p.Name}, {"Size", "1"}, {"SHA256", strings.Repeat("0", 64)}} {
		if f[1] != "" {
			fmt.Fprintf(w, "%s: %s\n", f[0], f[1])
		}
	}
	fmt.Fprintln(w)
}

func BenchmarkLoad(b *testing.B) {
	realWorld(b)
	for b.Loop() {
		realWorld(b)
	}
}

func BenchmarkSolve(b *testing.B) {
	w := realWorld(b)
	for b.Loop() {
		if _, err := w.Solve(Request{Packages: strings.Fields(size145), Essential: true}); err != nil {
			b.Fatal(err)
		}
	}
}
