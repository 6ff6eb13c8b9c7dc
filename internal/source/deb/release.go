package deb

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/source/deb/control"
)

// maxRelease is the largest signed index of a suite in bytes.
const maxRelease = 16 << 20

// maxFuture is how far a suite's date may lie ahead of the clock.
const maxFuture = 24 * time.Hour

// Release is the signed index of a suite (repository format, "Release" files).
type Release struct {
	Suite, Codename string
	Label           string
	Date            time.Time
	ValidUntil      time.Time // zero: for ever
	Arches          []string
	Components      []string
	ByHash          bool
	AllInArch       bool // the indices of an architecture hold packages for all, too
	NotAutomatic    bool
	ButUpgrades     bool // ButAutomaticUpgrades
	SHA256          string
	SignedBy        string // fingerprint of the primary key
	files           map[string]indexFile
}

type indexFile struct {
	sha256 string
	size   int64 // bytes
}

// ReadRelease verifies a signed index. expired admits one whose Valid-Until has
// passed, and then also keys that are no longer valid.
func ReadRelease(file []byte, keys *Keyring, now time.Time, expired bool) (*Release, error) {
	at := now
	if expired {
		at = time.Time{}
	}
	v, err := keys.Verify(file, at)
	if err != nil {
		return nil, err
	}
	r, err := parseRelease(v.Text)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(file)
	r.SHA256, r.SignedBy = hex.EncodeToString(sum[:]), v.SignedBy
	switch {
	case r.Date.After(now.Add(maxFuture)):
		return nil, fmt.Errorf("its date, %s, lies in the future; is the clock right? It says %s", r.Date.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case !expired && !r.ValidUntil.IsZero() && now.After(r.ValidUntil):
		return nil, &Expired{Suite: r.Codename, Until: r.ValidUntil}
	}
	return r, nil
}

// Expired says that a suite's index is older than its author wanted it to be
// used: a server that hides updates would serve such a one.
type Expired struct {
	Suite string
	Until time.Time
}

func (e *Expired) Error() string {
	return fmt.Sprintf("it was valid until %s: the server may be hiding updates (expired: accept takes it nevertheless)", e.Until.Format(time.RFC3339))
}

func parseRelease(text []byte) (*Release, error) {
	p, err := control.NewReader(bytes.NewReader(text)).Next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return nil, err
	}
	r := &Release{
		Suite: p.Get("Suite"), Codename: p.Get("Codename"), Label: p.Get("Label"),
		Arches: strings.Fields(p.Get("Architectures")), Components: strings.Fields(p.Get("Components")),
		ByHash: p.Get("Acquire-By-Hash") == "yes", NotAutomatic: p.Get("NotAutomatic") == "yes",
		ButUpgrades: p.Get("ButAutomaticUpgrades") == "yes",
	}
	r.AllInArch = !slices.Contains(r.Arches, "all") || strings.Contains(p.Get("No-Support-for-Architecture-all"), "Packages")
	if r.Date, err = parseDate(p.Get("Date")); err != nil {
		return nil, err
	}
	if until := p.Get("Valid-Until"); until != "" {
		if r.ValidUntil, err = parseDate(until); err != nil {
			return nil, err
		}
	}
	r.files, err = parseFiles(p.Get("SHA256"))
	return r, err
}

// parseDate reads RFC 5322's form; archives write UTC as "UTC", "GMT", "Z" or
// "+0000".
func parseDate(s string) (time.Time, error) {
	for _, layout := range []string{"Mon, 2 Jan 2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 Z"} {
		if t, err := time.Parse(layout, s); err == nil {
			if _, offset := t.Zone(); offset == 0 {
				return t.UTC(), nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("%q is no date in UTC", s)
}

// parseFiles reads lines "SHA256 SIZE PATH".
func parseFiles(s string) (map[string]indexFile, error) {
	out := map[string]indexFile{}
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 || len(f[0]) != 64 {
			return nil, fmt.Errorf("%q names no file with its SHA-256", strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("%s: %q is no size", f[2], f[1])
		}
		out[f[2]] = indexFile{f[0], size}
	}
	if len(out) == 0 {
		return nil, errors.New("it lists no files by SHA-256")
	}
	return out, nil
}

// matches reports whether this is the suite that was asked for. The security
// archive calls "trixie-security" by suite "stable-security" and the same code
// name; older ones have a codename "trixie" with the label telling the rest.
func (r *Release) matches(suite string) bool {
	return suite == r.Suite || suite == r.Codename
}
