package lock

import (
	"strings"
	"testing"
)

func sum(c string) string { return strings.Repeat(c, 64) }

func withImage(manifest string, layers ...string) *Lock {
	i := Image{Tree: "panel", Arch: "amd64", Name: "registry.example.org/panel:1", Index: sum("1"), Manifest: Blob{sum(manifest), 500},
		Config: Blob{sum("c"), 20}, Layers: []Blob{}}
	for _, l := range layers {
		i.Layers = append(i.Layers, Blob{sum(l), 1 << 20})
	}
	return &Lock{Version: Version, Machine: "m", Request: sum("0"), Arches: map[string]*Inputs{}, Images: []Image{i}}
}

func TestImages(t *testing.T) {
	l := withImage("a", "d", "e")
	text, err := l.Format()
	if err != nil {
		t.Fatal(err)
	}
	want := `images:
  - tree: panel
    arch: amd64
    image: registry.example.org/panel:1
    index: "` + sum("1") + `"
    manifest: {sha256: ` + sum("a") + `, size: 500}
    config: {sha256: ` + sum("c") + `, size: 20}
    layers:
      - {sha256: ` + sum("d") + `, size: 1048576}
      - {sha256: ` + sum("e") + `, size: 1048576}
`
	if !strings.HasSuffix(string(text), want) {
		t.Errorf("got\n%s\nwant at its end\n%s", text, want)
	}
	back, err := Parse(text)
	if err != nil || !Diff(l, back).Empty() {
		t.Errorf("the lock does not survive its file: %v", err)
	}
	next := withImage("b", "d", "f")
	if got := Diff(l, next).String(); got != "image of tree panel (amd64): aaaaaaaaaaaa -> bbbbbbbbbbbb, 1.0 MiB\nto download: 1.0 MiB\n" {
		t.Errorf("the difference prints as %q", got)
	}
	if got := Diff(l, &Lock{}).String(); !strings.Contains(got, "image of tree panel (amd64): gone, was aaaaaaaaaaaa") {
		t.Errorf("the difference prints as %q", got)
	}
	if got := Diff(nil, l).String(); !strings.Contains(got, "image of tree panel (amd64): new, registry.example.org/panel:1 aaaaaaaaaaaa, 2.0 MiB") {
		t.Errorf("the difference prints as %q", got)
	}
}

func TestImagesRefused(t *testing.T) {
	for what, change := range map[string]func(*Image){
		"sha256":       func(i *Image) { i.Layers[0].SHA256 = "x" },
		"is no size":   func(i *Image) { i.Config.Size = -1 },
		"index":        func(i *Image) { i.Index = "sha256:x" },
		"is no name":   func(i *Image) { i.Name = "" },
		"malformed":    func(i *Image) { i.Tree = "../x" },
		"config":       func(i *Image) { i.Config.SHA256 = "" },
		"stands twice": nil,
	} {
		l := withImage("a", "d")
		if change == nil {
			l.Images = append(l.Images, l.Images[0])
		} else {
			change(&l.Images[0])
		}
		if _, err := l.Format(); err == nil || what != "config" && !strings.Contains(err.Error(), what) {
			t.Errorf("%s: error %v", what, err)
		}
	}
}
