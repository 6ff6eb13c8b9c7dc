package debtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/instar-os/instar/internal/config"
)

// Suite is a suite of an archive.
type Suite struct {
	Name       string    // directory below dists
	Codename   string    // "": Name
	Date       time.Time // zero: Date
	ValidUntil time.Time // zero: none
	Fields     map[string]string
	Arches     []string // "": amd64 and arm64
	Formats    []string // suffixes of the indices; none: ".gz"
	NoByHash   bool
	ApartAll   bool // packages for all only in binary-all
	Packages   []Package
	Raw        string // the whole text that is signed, instead of all above but Name
}

// Key signs suites.
type Key struct{ entity *openpgp.Entity }

// NewKey makes an Ed25519 key that has been valid since a month before Date.
func NewKey() *Key {
	cfg := &packet.Config{Time: func() time.Time { return Date.AddDate(0, -1, 0) }, Algorithm: packet.PubKeyAlgoEdDSA}
	e, err := openpgp.NewEntity("Test archive", "", "archive@example.org", cfg)
	must(err)
	return &Key{e}
}

// Public returns the public key, armored.
func (k *Key) Public() []byte {
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	must(err)
	must(k.entity.Serialize(w))
	must(w.Close())
	return append(out.Bytes(), '\n')
}

// Fingerprint returns that of the primary key, in upper case.
func (k *Key) Fingerprint() string {
	return strings.ToUpper(hex.EncodeToString(k.entity.PrimaryKey.Fingerprint))
}

// Sign clear-signs a text at a time; several keys sign together.
func Sign(text string, at time.Time, keys ...*Key) []byte {
	var out bytes.Buffer
	var private []*packet.PrivateKey
	for _, k := range keys {
		private = append(private, k.entity.PrivateKey)
	}
	w, err := clearsign.EncodeMulti(&out, private, &packet.Config{Time: func() time.Time { return at }})
	must(err)
	_, err = w.Write([]byte(text))
	must(err)
	must(w.Close())
	return append(out.Bytes(), '\n')
}

// Archive serves suites. Its files may be changed at any time.
type Archive struct {
	URL string
	Key *Key

	mu    sync.Mutex
	files map[string][]byte // by path below URL
	asked []string
}

// Serve starts an archive of suites, which ends with the test.
func Serve(t testing.TB, suites ...Suite) *Archive {
	a := &Archive{Key: NewKey(), files: map[string][]byte{}}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.URL = server.URL
	for _, s := range suites {
		a.Publish(s)
	}
	return a
}

// ServeHTTP implements http.Handler.
func (a *Archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	a.mu.Lock()
	body, ok := a.files[name]
	a.asked = append(a.asked, name)
	a.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	sum := sha256.Sum256(body)
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, r, path.Base(name)+".bin", time.Time{}, bytes.NewReader(body))
}

// Asked returns and forgets the paths that were asked for.
func (a *Archive) Asked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.asked
	a.asked = nil
	return out
}

// Set puts a file, or removes it when body is nil.
func (a *Archive) Set(name string, body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if body == nil {
		delete(a.files, name)
		return
	}
	a.files[name] = body
}

// File returns a file's content.
func (a *Archive) File(name string) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.files[name]
}

// Names lists all files.
func (a *Archive) Names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.files))
}

// Source returns how a definition names the archive, with the key as keyring.
func (a *Archive) Source(suites ...string) config.Source {
	return config.Source{Archive: a.URL, Suites: suites, Components: []string{"main"}, Keyring: "archive.asc", Priority: 500, Expired: "refuse"}
}

// Keys reads the keyring of Source.
func (a *Archive) Keys(file string) ([]byte, error) {
	if file != "archive.asc" {
		return nil, fmt.Errorf("%s: no such keyring", file)
	}
	return a.Key.Public(), nil
}

// Publish puts a suite with its packages, replacing what it was.
func (a *Archive) Publish(s Suite) {
	date := s.Date
	if date.IsZero() {
		date = Date
	}
	text := s.Raw
	if text == "" {
		text = a.release(s, date)
	}
	a.Set("dists/"+s.Name+"/InRelease", Sign(text, date, a.Key))
}

// release puts packages and indices and returns the text of the Release file.
func (a *Archive) release(s Suite, date time.Time) string {
	arches := s.Arches
	if len(arches) == 0 {
		arches = []string{"amd64", "arm64"}
	}
	indices := a.pool(s, arches)
	components := map[string]bool{"main": true}
	var sums strings.Builder
	for _, name := range slices.Sorted(maps.Keys(indices)) {
		components[strings.SplitN(name, "/", 2)[0]] = true
		a.index(s, name, []byte(indices[name]), &sums)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Origin: Test\nSuite: %s\nCodename: %s\nDate: %s\n", s.Name, or(s.Codename, s.Name), date.Format(time.RFC1123))
	if !s.ValidUntil.IsZero() {
		fmt.Fprintf(&out, "Valid-Until: %s\n", s.ValidUntil.Format(time.RFC1123))
	}
	if !s.NoByHash {
		out.WriteString("Acquire-By-Hash: yes\n")
	}
	if s.ApartAll {
		arches = append([]string{"all"}, arches...)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Fields)) {
		fmt.Fprintf(&out, "%s: %s\n", k, s.Fields[k])
	}
	fmt.Fprintf(&out, "Architectures: %s\nComponents: %s\nSHA256:\n%s",
		strings.Join(arches, " "), strings.Join(slices.Sorted(maps.Keys(components)), " "), sums.String())
	return out.String()
}

// pool puts the packages and returns the text of each index by its path.
func (a *Archive) pool(s Suite, arches []string) map[string]string {
	indices := map[string]string{}
	if s.ApartAll {
		indices["main/binary-all/Packages"] = ""
	}
	for _, arch := range arches {
		indices["main/binary-"+arch+"/Packages"] = ""
	}
	for _, p := range s.Packages {
		deb := p.Deb()
		a.Set(p.Path(), deb)
		sum := sha256.Sum256(deb)
		para := fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %s\n\n", p.Control(), p.Path(), len(deb), hex.EncodeToString(sum[:]))
		to := []string{p.arch()}
		if p.arch() == "all" && !s.ApartAll {
			to = arches
		}
		for _, arch := range to {
			if arch != "all" && !slices.Contains(arches, arch) {
				continue
			}
			indices[or(p.Component, "main")+"/binary-"+arch+"/Packages"] += para
		}
	}
	return indices
}

func (a *Archive) index(s Suite, name string, text []byte, sums *strings.Builder) {
	formats := s.Formats
	if len(formats) == 0 {
		formats = []string{".gz"}
	}
	for _, suffix := range formats {
		data := text
		switch suffix {
		case ".gz":
			data = gz(text)
		case ".zst":
			data = zst(text)
		}
		sum := sha256.Sum256(data)
		hash := hex.EncodeToString(sum[:])
		fmt.Fprintf(sums, " %s %d %s\n", hash, len(data), name+suffix)
		dir := "dists/" + s.Name + "/"
		a.Set(dir+name+suffix, data)
		if !s.NoByHash {
			a.Set(dir+path.Dir(name)+"/by-hash/SHA256/"+hash, data)
		}
	}
}
