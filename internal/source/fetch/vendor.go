package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// vendored takes a file over from the vendor directory, verified on the way
// like a download. It answers fs.ErrNotExist when it is not there.
func (c *Client) vendored(r Request, path string) error {
	if c.Vendor == "" {
		return fs.ErrNotExist
	}
	from := filepath.Join(c.Vendor, "files", r.SHA256[:2], r.SHA256)
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".vendor-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(tmp, h), src); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != r.SHA256 {
		return &Mismatch{What: r.name(), URL: from, Field: "SHA-256", Want: r.SHA256, Got: got}
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
