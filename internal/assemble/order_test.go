package assemble

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/source/deb/debtest"
)

// shuffled answers requests after delays, so that downloads which run at the
// same time end in another order with each seed.
type shuffled struct{ seed uint64 }

func (s shuffled) RoundTrip(r *http.Request) (*http.Response, error) {
	h := s.seed
	for _, c := range []byte(r.URL.Path) {
		h = h*1099511628211 + uint64(c)
	}
	time.Sleep(time.Duration(rand.New(rand.NewPCG(h, 0)).IntN(20)) * time.Millisecond)
	return http.DefaultTransport.RoundTrip(r)
}

// The lock and the trees do not depend on the order in which packages arrive
// and are unpacked.
func TestOrderOfDownloads(t *testing.T) {
	w := newWorld(t)
	pkgs := []debtest.Package{app("1.0", "")}
	depends := ""
	for i := range 12 {
		name := fmt.Sprintf("lib%02d", i)
		pkgs = append(pkgs, debtest.Package{Name: name, Files: []debtest.File{{Path: "/usr/lib/" + name, Body: name}, {Path: "/usr/share/common", Dir: true}}})
		depends += ", " + name
	}
	pkgs[0].Fields = map[string]string{"Depends": depends[2:]}
	w.publish(pkgs...)
	def := w.definition("")
	var lockText, listing []byte
	for seed := range uint64(4) {
		one := newWorld(t)
		one.archive, one.b.Parallel = w.archive, int(seed)+1
		one.b.Fetch.HTTP = &http.Client{Transport: shuffled{seed}}
		one.b.Fetch.Parallel = 8
		lk := one.mustLock(def, nil)
		text, err := lk.Format()
		if err != nil {
			t.Fatal(err)
		}
		trees, err := one.b.Trees(t.Context(), def, lk, "amd64", []string{"app"})
		if err != nil {
			t.Fatal(err)
		}
		list, err := trees["app"].MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if seed > 0 && !bytes.Equal(text, lockText) {
			t.Errorf("seed %d gives another lock:\n%s\n%s", seed, text, lockText)
		}
		if seed > 0 && !bytes.Equal(list, listing) {
			t.Errorf("seed %d gives another tree:\n%s\n%s", seed, list, listing)
		}
		lockText, listing = text, list
	}
	if !bytes.Contains(listing, []byte("lib11")) {
		t.Errorf("the tree lacks a package:\n%s", listing)
	}
}
