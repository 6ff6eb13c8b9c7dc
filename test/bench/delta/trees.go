package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/instar-os/instar/internal/source/deb"
	"github.com/instar-os/instar/internal/xz"
)

// pack is a line of a list: package, version, architecture, sha256, pool path.
type pack struct{ name, version, sum, path string }

func readList(name string) ([]pack, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var list []pack
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if strings.HasPrefix(line, "#") || len(f) < 5 {
			continue
		}
		list = append(list, pack{f[0], f[1], f[3], f[4]})
	}
	return list, nil
}

// fetch brings a package into the cache and returns its file.
func fetch(cache string, p pack) (string, error) {
	file := filepath.Join(cache, p.sum+".deb")
	if b, err := os.ReadFile(file); err == nil && sum(b) == p.sum {
		return file, nil
	}
	host := deb.HostConfig{Archive: os.Getenv("INSTAR_DEBIAN_ARCHIVE"), Apt: os.DirFS("/etc/apt")}
	for _, archive := range []string{"debian", "debian-security"} {
		base, err := deb.Address(archive, host)
		if err != nil {
			return "", err
		}
		for _, path := range []string{p.path, strings.Replace(p.path, "pool/updates/", "pool/", 1)} {
			b, err := get(base + "/" + path)
			if err == nil && sum(b) == p.sum {
				return file, os.WriteFile(file, b, 0o644)
			}
		}
	}
	return "", fmt.Errorf("%s %s has left the archive", p.name, p.version)
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func get(url string) ([]byte, error) {
	r, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s", url, r.Status)
	}
	return io.ReadAll(r.Body)
}

// unpack makes the tree of a list below dir, as the store has it: gz and xz
// members decompressed. With kernel, vmlinuz is split into its payload's content
// and the rest; without, it is left out.
func unpack(cache, dir string, list []pack, kernel bool) error {
	for _, p := range list {
		file, err := fetch(cache, p)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.SplitN(p.name, "-6.", 2)[0])
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if out, err := exec.Command("dpkg-deb", "-x", file, to).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", p.name, err, out)
		}
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return normalise(path, kernel)
	})
}

func normalise(path string, kernel bool) error {
	base := filepath.Base(path)
	compressed := strings.HasSuffix(base, ".gz") || strings.HasSuffix(base, ".xz")
	image := strings.HasPrefix(base, "vmlinuz-")
	if !compressed && !image {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if image {
		if err := os.Remove(path); err != nil || !kernel {
			return err
		}
		return splitKernel(path, b)
	}
	var r io.Reader
	if strings.HasSuffix(base, ".gz") {
		r, err = gzip.NewReader(bytes.NewReader(b))
	} else {
		r, err = xz.NewReader(bytes.NewReader(b))
	}
	if err != nil {
		return nil // a name that promises too much
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.WriteFile(path[:len(path)-3], plain, 0o644)
}

// splitKernel takes the payload out of a bzImage (Documentation/arch/x86/boot.rst,
// payload_offset) and decompresses it with zstd or lz4.
func splitKernel(path string, b []byte) error {
	if len(b) < 0x250 || string(b[0x202:0x206]) != "HdrS" {
		return os.WriteFile(path, b, 0o644) // aarch64: plain already
	}
	at := (int(b[0x1f1])+1)*512 + int(binary.LittleEndian.Uint32(b[0x248:]))
	n := int(binary.LittleEndian.Uint32(b[0x24c:]))
	if at+n > len(b) {
		return fmt.Errorf("%s: the payload is outside", path)
	}
	tool := exec.Command("zstd", "-dc")
	if bytes.HasPrefix(b[at:], []byte{2, 0x21, 0x4c, 0x18}) {
		tool = exec.Command("lz4", "-dc")
	}
	tool.Stdin = bytes.NewReader(b[at : at+n-4])
	plain, err := tool.Output()
	if err != nil {
		return fmt.Errorf("decompress the payload of %s: %w", path, err)
	}
	if err := os.WriteFile(path+".rest", append(b[:at:at], b[at+n:]...), 0o644); err != nil {
		return err
	}
	return os.WriteFile(path, plain, 0o644)
}
