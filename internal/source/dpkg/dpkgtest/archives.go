package dpkgtest

import (
	"bufio"
	"crypto/sha256"
	_ "embed" // the list of packages
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/xz"
)

//go:embed size145.txt
var size145 string

// Size145 returns the names that the list of the cold-build benchmark resolves to.
func Size145() []string { return strings.Fields(size145) }

// Archives returns packages of trixie for amd64 (or all), downloaded into the
// cache directory once. The test is skipped where the archive is out of reach.
func Archives(t testing.TB, names ...string) []dpkg.Archive {
	return ArchivesOf(t, "amd64", names...)
}

// ArchivesOf is Archives for another architecture.
func ArchivesOf(t testing.TB, arch string, names ...string) []dpkg.Archive {
	t.Helper()
	dir := cacheDir(t)
	all, err := readIndex(dir, arch, names)
	if err != nil {
		t.Skipf("the Debian archive is out of reach: %v", err)
	}
	for i, a := range all {
		if all[i].Path = filepath.Join(dir, a.Package.SHA256+".deb"); whole(all[i]) {
			continue
		}
		if err := download(a.Package.Path, all[i].Path); err != nil {
			t.Skipf("cannot fetch %s: %v", a.Package.Name, err)
		}
		if !whole(all[i]) {
			t.Fatalf("%s is not what the index says", a.Package.Path)
		}
	}
	return all
}

// cacheDir is where tests keep downloads.
func cacheDir(t testing.TB) string {
	dir := os.Getenv("INSTAR_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Skip("no cache directory")
		}
		dir = filepath.Join(user, "instar")
	}
	dir = filepath.Join(dir, "test-archives")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func whole(a dpkg.Archive) bool {
	f, err := os.Open(a.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return err == nil && hex.EncodeToString(h.Sum(nil)) == a.Package.SHA256
}

// address is the archive's address: INSTAR_DEBIAN_ARCHIVE or apt's.
func address() (string, error) {
	if s := os.Getenv("INSTAR_DEBIAN_ARCHIVE"); s != "" {
		return strings.TrimSuffix(s, "/"), nil
	}
	b, err := os.ReadFile("/etc/apt/sources.list.d/debian.sources")
	if err != nil {
		return "", err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if s, ok := strings.CutPrefix(line, "URIs:"); ok {
			return strings.TrimSuffix(strings.Fields(s)[0], "/"), nil
		}
	}
	return "", fmt.Errorf("apt's configuration names no archive")
}

// download writes a file of the archive, under another name until it is whole.
func download(path, to string) error {
	base, err := address()
	if err != nil {
		return err
	}
	resp, err := http.Get(base + "/" + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".part-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := io.Copy(f, resp.Body); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}

// readIndex finds packages in a table made from the archive's index: one line a
// package, tab-separated.
func readIndex(dir, arch string, names []string) ([]dpkg.Archive, error) {
	table := filepath.Join(dir, "trixie-"+arch+".tsv")
	if _, err := os.Stat(table); err != nil {
		if err := makeTable(dir, arch, table); err != nil {
			return nil, err
		}
	}
	b, err := os.ReadFile(table)
	if err != nil {
		return nil, err
	}
	byName := map[string]lock.Package{}
	for line := range strings.SplitSeq(string(b), "\n") {
		if f := strings.Split(line, "\t"); len(f) == 6 {
			size, _ := strconv.ParseInt(f[4], 10, 64)
			byName[f[0]] = lock.Package{Name: f[0], Version: f[1], Arch: f[2], SHA256: f[3], Size: size, Path: f[5]}
		}
	}
	var all []dpkg.Archive
	for _, n := range names {
		p, ok := byName[n]
		if !ok {
			return nil, fmt.Errorf("no package %s in the index", n)
		}
		all = append(all, dpkg.Archive{Package: p})
	}
	return all, nil
}

func makeTable(dir, arch, table string) error {
	index := filepath.Join(dir, "trixie-"+arch+".Packages.xz")
	if err := download("dists/trixie/main/binary-"+arch+"/Packages.xz", index); err != nil {
		return err
	}
	defer os.Remove(index)
	f, err := os.Open(index)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := xz.NewReader(f)
	if err != nil {
		return err
	}
	var out strings.Builder
	fields := map[string]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if k, v, ok := strings.Cut(lines.Text(), ": "); ok {
			fields[k] = v
		}
		if lines.Text() == "" {
			row := []string{fields["Package"], fields["Version"], fields["Architecture"], fields["SHA256"], fields["Size"], fields["Filename"]}
			fmt.Fprintln(&out, strings.Join(row, "\t"))
			clear(fields)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return os.WriteFile(table, []byte(out.String()), 0o644)
}
