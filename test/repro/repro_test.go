// Package repro builds the same machine under different circumstances and
// compares every byte.
package repro

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// circumstance is what must not matter.
type circumstance struct {
	name, umask string
	env         []string
}

var circumstances = []circumstance{
	{"plain", "022", []string{"TZ=UTC", "LC_ALL=C", "GOMAXPROCS=2"}},
	{"other", "077", []string{"TZ=Pacific/Auckland", "LC_ALL=de_DE.UTF-8", "LANG=tr_TR.UTF-8", "GOMAXPROCS=1",
		"SOURCE_DATE_EPOCH=1", "HOME=/nonexistent", "USER=nobody"}},
}

// result is what is compared.
type result struct{ lock, system, raw, qcow2 string }

// Two builds with stores and caches of their own, in different directories,
// under different umasks, time zones, locales and CPU counts (and with them
// another order of unpacking), give the same lock, system and disks. The store's
// own objects follow from the system's digest. The order of downloads is
// shuffled in assemble's TestOrderOfDownloads, which needs no archive.
func TestSameBytes(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	downloads := filepath.Join(cacheDir(t), "downloads")
	var all []result
	for _, c := range circumstances {
		all = append(all, build(t, root, downloads, c))
	}
	if all[0] != all[1] {
		t.Errorf("the builds differ:\n%s: %+v\n%s: %+v", circumstances[0].name, all[0], circumstances[1].name, all[1])
	}
}

func cacheDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("INSTAR_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "instar")
}

func build(t *testing.T, root, downloads string, c circumstance) result {
	t.Helper()
	base := t.TempDir()
	project, cache := filepath.Join(base, c.name, "project"), filepath.Join(base, "cache")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(downloads, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(downloads, filepath.Join(cache, "downloads")); err != nil {
		t.Fatal(err)
	}
	script := `umask "$1"; mkdir -p "$2"; cp -r "$3"/. "$2"; cd "$2"
rm -f instar.lock
instar lock >/dev/null
instar build >/dev/null
instar image -t raw --to disk.raw >/dev/null
instar image -t qcow2 --to disk.qcow2 >/dev/null`
	cmd := exec.Command("bash", "-euc", script, "repro", c.umask, project, filepath.Join(root, "examples/minimal"))
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Env = append(cmd.Env, "INSTAR_CACHE="+cache, "PATH="+filepath.Join(root, "out")+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", c.name, err, out)
	}
	return result{
		lock:   sum(t, filepath.Join(project, "instar.lock")),
		system: builtSystem(t, root, project, cache),
		raw:    sum(t, filepath.Join(project, "disk.raw")),
		qcow2:  sum(t, filepath.Join(project, "disk.qcow2")),
	}
}

func builtSystem(t *testing.T, root, project, cache string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(root, "out/instar"), "--cache", cache, "build")
	cmd.Dir = project
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("building: %v", err)
	}
	return strings.Join(strings.Fields(string(bytes.TrimSpace(out))), " ")
}

func sum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
