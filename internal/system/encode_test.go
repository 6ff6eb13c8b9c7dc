package system

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
)

func sample() *Manifest {
	o := func(s string) Object { return Object{digest.Of([]byte(s)), int64(len(s))} }
	ct := Container{Name: "web", Source: "instar.yaml:7", Image: o("image"), Args: []string{"/web", "<&>"}, Dir: "/",
		Root: ReadOnly, Network: HostNetwork, Hostname: "web", Limits: Limits{Memory: 64 << 20, Rlimits: map[string]int64{"nofile": 9, "core": 0}},
		Health: &Health{TCP: "127.0.0.1:80", Interval: 1, Timeout: 2, Within: 3, Retries: 4}, Stop: Stop{Signal: 15, Timeout: 5}}
	return &Manifest{
		Version: Version, Machine: "m", Arch: "amd64", Epoch: 7, Hostname: "m", Default: "day",
		Kernel: Kernel{Release: "6.12", Image: o("kernel"), Initrd: o("initrd"), Stub: o("stub"), Loader: o("loader"), Init: o("init"), Command: []string{"quiet"}, Modules: []string{"erofs"}},
		Boot:   Boot{Slots: 2, SlotSize: 64 << 20, DataFS: o("data")},
		Configurations: []Configuration{
			{Name: "day", Containers: []Container{ct}},
			{Name: "rescue", Fallback: true, Containers: []Container{ct}},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	m := sample()
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(b)
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Fatalf("decoded %+v, %v; want %+v", back, err, m)
	}
	d, err := m.Digest()
	if err != nil || d != digest.Of(b) {
		t.Errorf("the digest is not that of the encoding: %v, %v", d, err)
	}
	if !bytes.Contains(b, []byte(`"<&>"`)) {
		t.Error("HTML is escaped")
	}
}

func TestOneSystemHasOneName(t *testing.T) {
	b, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, with string) []byte { return bytes.Replace(b, []byte(old), []byte(with), 1) }
	for name, bad := range map[string][]byte{
		"other white space": edit("  \"machine\"", " \"machine\""),
		"an unknown field":  edit(`"machine": "m"`, `"machine": "m", "more": 1`),
		"two values":        append(bytes.Clone(b), '{', '}'),
		"another version":   edit(`"version": 1`, `"version": 2`),
		"no newline":        b[:len(b)-1],
		"cut":               b[:len(b)/2],
		"a bad digest":      edit(digest.Of([]byte("kernel")).String(), strings.Repeat("z", 64)),
		"a field twice":     edit(`"machine": "m"`, `"machine": "m", "machine": "m"`),
		"too long":          make([]byte, MaxSize+1),
		"empty":             nil,
	} {
		if bytes.Equal(bad, b) {
			t.Fatalf("%s: nothing was edited", name)
		}
		if m, err := Decode(bad); err == nil {
			t.Errorf("%s is accepted: %+v", name, m)
		}
	}
}

func TestWhatAManifestNames(t *testing.T) {
	m := sample()
	if got := m.Images(); len(got) != 1 || got[0].Digest != digest.Of([]byte("image")) {
		t.Errorf("images: %v; want the shared one once", got)
	}
	if got := m.Objects(); len(got) != 6 {
		t.Errorf("objects: %d, want kernel, initrd, stub, loader, init and the data file system", len(got))
	}
	if c, ok := m.Configuration("rescue"); !ok || !c.Fallback {
		t.Errorf("rescue: %+v, %v", c, ok)
	}
	if _, ok := m.Configuration("night"); ok {
		t.Error("there is no night")
	}
}

func FuzzDecode(f *testing.F) {
	b, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		back, err := m.Encode()
		if err != nil || !bytes.Equal(back, b) {
			t.Errorf("accepted, but encodes to other bytes: %v", err)
		}
	})
}
