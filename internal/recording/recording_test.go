package recording_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/recording"
)

var sample = &recording.Recording{
	Container: "web", Arch: "amd64", Tree: strings.Repeat("ab", 32),
	Entries: []recording.Entry{
		{Kind: recording.Program, Path: "usr/sbin/nginx"},
		{Kind: recording.File, Path: "usr/lib/x86_64-linux-gnu/libc.so.6"},
		{Kind: recording.Dir, Path: "etc/odd\nname"},
		{Kind: recording.File, Path: "usr/lib/x86_64-linux-gnu/libc.so.6"},
	},
}

const text = `instar recording 1
container web
arch amd64
tree abababababababababababababababababababababababababababababababab
dir "/etc/odd\nname"
file /usr/lib/x86_64-linux-gnu/libc.so.6
exec /usr/sbin/nginx
`

func TestText(t *testing.T) {
	if got := string(sample.Text()); got != text {
		t.Errorf("got\n%s", got)
	}
	r, err := recording.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(r.Text()); got != text {
		t.Errorf("read and written again:\n%s", got)
	}
}

func TestOtherArchitecture(t *testing.T) {
	got, exact := sample.For("arm64")
	if exact || got[1].Path != "usr/lib/aarch64-linux-gnu/libc.so.6" {
		t.Errorf("%v %v", got, exact)
	}
	if same, exact := sample.For("amd64"); !exact || !reflect.DeepEqual(same, sample.Entries) {
		t.Errorf("%v %v", same, exact)
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string][2]string{
		"no recording": {"instar recording 1", "instar lock"},
		"no tree":      {"tree ab", "tree zz"},
		"kind":         {"dir ", "link "},
		"relative":     {"file /usr", "file usr"},
		"above":        {"file /usr", "file /../usr"},
		"root":         {"file /usr/lib/x86_64-linux-gnu/libc.so.6", "file /"},
		"quotes":       {`name"`, `name`},
		"two words":    {"container web", "container web 2"},
	} {
		if _, err := recording.Parse([]byte(strings.Replace(text, c[0], c[1], 1))); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	if _, err := recording.Parse([]byte("instar recording 1\n")); err == nil {
		t.Error("a head without its end is read")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(text))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := recording.Parse(b)
		if err != nil {
			return
		}
		again, err := recording.Parse(r.Text())
		if err != nil || string(again.Text()) != string(r.Text()) {
			t.Errorf("written and read again: %v", err)
		}
	})
}
