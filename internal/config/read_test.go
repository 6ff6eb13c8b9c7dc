package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write golden files and the reference")

// A sample is a directory of an archive: files, and what is expected of them.
type sample struct {
	name    string
	files   fstest.MapFS
	patches []string // given beside those the definition names
	want    string
}

// samples reads an archive whose files are SAMPLE/FILE. "want" is the
// expectation; files called extra*.yaml are patches given as arguments.
func samples(t testing.TB, name string) []*sample {
	t.Helper()
	a, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var all []*sample
	for _, f := range a.Files {
		dir, base := path.Split(f.Name)
		if len(all) == 0 || all[len(all)-1].name != path.Clean(dir) {
			all = append(all, &sample{name: path.Clean(dir), files: fstest.MapFS{}})
		}
		s := all[len(all)-1]
		if sub, file, ok := strings.Cut(base, "@"); ok {
			base = sub + "/" + file
		}
		switch {
		case base == "want":
			s.want = string(f.Data)
			continue
		case strings.HasPrefix(base, "extra"):
			s.patches = append(s.patches, base)
		}
		s.files[base] = &fstest.MapFile{Data: unescape(f.Data)}
	}
	return all
}

// unescape turns ␀hh into a byte, for what an archive of text cannot hold.
func unescape(text []byte) []byte {
	return regexp.MustCompile(`␀[0-9a-f]{2}`).ReplaceAllFunc(text, func(m []byte) []byte {
		var b byte
		fmt.Sscanf(string(m[len("␀"):]), "%02x", &b)
		return []byte{b}
	})
}

// golden compares what samples gave with the archive, or writes the archive.
func golden(t *testing.T, name string, got map[string]string) {
	t.Helper()
	a, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		var files []txtar.File
		for i, f := range a.Files {
			dir, base := path.Split(f.Name)
			if base != "want" {
				files = append(files, f)
			}
			if i+1 == len(a.Files) || path.Dir(a.Files[i+1].Name) != path.Clean(dir) {
				files = append(files, txtar.File{Name: dir + "want", Data: []byte(got[path.Clean(dir)])})
			}
		}
		a.Files = files
		if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, s := range samples(t, name) {
		if got[s.name] != s.want {
			t.Errorf("%s: got\n%s\nwant\n%s", s.name, got[s.name], s.want)
		}
	}
}

func TestBroken(t *testing.T) {
	const archive = "testdata/broken.txtar"
	got := map[string]string{}
	for _, s := range samples(t, archive) {
		f, err := Read(s.files, "site.yaml", s.patches...)
		var errs *Errors
		if f != nil || !errors.As(err, &errs) {
			t.Errorf("%s: is read, or fails without Errors: %v", s.name, err)
			continue
		}
		got[s.name] = err.Error() + "\n"
		within(t, s.files, errs)
	}
	if len(got) < 60 {
		t.Errorf("%d samples, want 60 and more", len(got))
	}
	golden(t, archive, got)
}

// within checks that errors stand in their files and show the right line.
func within(t testing.TB, files fstest.MapFS, errs *Errors) {
	t.Helper()
	for _, e := range errs.List {
		text := strings.TrimPrefix(string(files[e.At.File].Data), "\ufeff")
		lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
		if files[e.At.File] == nil || e.At.Line < 1 || e.At.Line > len(lines) {
			t.Fatalf("%s: there is no such line", e.At)
		}
		if n := len([]rune(lines[e.At.Line-1])); e.At.Column < 1 || e.At.Column > n+1 {
			t.Fatalf("%s: the line has %d characters", e.At, n)
		}
		if e.Line != lines[e.At.Line-1] {
			t.Fatalf("%s: shows %q, the line is %q", e.At, e.Line, lines[e.At.Line-1])
		}
	}
}

func TestGood(t *testing.T) {
	const archive = "testdata/good.txtar"
	got := map[string]string{}
	for _, s := range samples(t, archive) {
		f, err := Read(s.files, "site.yaml", s.patches...)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		text, err := json.MarshalIndent(f.Definition, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		var paths []string
		for p, at := range f.places {
			paths = append(paths, fmt.Sprintf("%s: %s", at.key, p))
		}
		slices.Sort(paths)
		got[s.name] = fmt.Sprintf("%s\n%s\n%s\n", strings.Join(f.Files, " "), strings.Join(paths, "\n"), text)
	}
	if len(got) < 10 {
		t.Errorf("%d samples, want 10 and more", len(got))
	}
	golden(t, archive, got)
}

// The sample everything sets every key there is.
func TestEverything(t *testing.T) {
	for _, s := range samples(t, "testdata/good.txtar") {
		if s.name != "everything" {
			continue
		}
		f, err := Read(s.files, "site.yaml")
		if err != nil {
			t.Fatal(err)
		}
		set := map[string]bool{}
		for p := range f.places {
			if e, err := Explain(p); err != nil {
				t.Errorf("Explain(%s): %v", p, err)
			} else {
				set[e.Path] = true
			}
		}
		for _, e := range Fields() {
			if !set[e.Path] {
				t.Errorf("everything does not set %s", e.Path)
			}
		}
	}
}

func TestProvenance(t *testing.T) {
	files := fstest.MapFS{
		"sites/site.yaml": {Data: []byte("machine: m\ninclude: [../base.yaml]\npatches: [p.yaml]\n" +
			"kernel: {from: debian, package: linux-image-cloud-amd64}\nvm: {memory: 1GiB, cpus: 2}\n")},
		"base.yaml": {Data: []byte("sources: {debian: {archive: debian, suites: [trixie]}}\ntrees: {t: {from: debian, packages: [busybox]}}\n" +
			"containers:\n  c: {trees: [t], command: [/bin/sh]}\nconfigurations: {r: {fallback: true, containers: [c]}}\ndefault: r\n")},
		"sites/p.yaml": {Data: []byte("vm:\n  memory: 2GiB\n  cpus: null\n")},
		"extra.yaml":   {Data: []byte("containers: {c: {memory: 64MiB}}\n")},
	}
	f, err := Read(files, "sites/site.yaml", "extra.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"machine":             "set at sites/site.yaml:1:1",
		"vm":                  "set at sites/site.yaml:5:1",
		"vm.memory":           "set at sites/p.yaml:2:3",
		"vm.cpus":             "a default",
		"containers.c.trees":  "set at base.yaml:4:7",
		"containers.c.memory": "set at extra.yaml:1:18",
		"hostname":            "a default",
		"trees.t.packages[0]": "set at base.yaml:2:38",
	} {
		if got := f.Why(path); got != want {
			t.Errorf("Why(%s) = %s, want %s", path, got, want)
		}
	}
	def := f.Definition
	if def.VM.Memory != 2<<30 || def.VM.CPUs != 1 || def.Containers["c"].At != "base.yaml:4" || def.Hostname != "m" {
		t.Errorf("got %+v", def)
	}
	if got := strings.Join(f.Files, " "); got != "sites/site.yaml base.yaml sites/p.yaml extra.yaml" {
		t.Errorf("files %s", got)
	}
}

func TestReadMissing(t *testing.T) {
	var errs *Errors
	if _, err := Read(fstest.MapFS{}, "site.yaml"); !errors.Is(err, fs.ErrNotExist) || errors.As(err, &errs) {
		t.Errorf("a missing definition: %v", err)
	}
	files := fstest.MapFS{"site.yaml": {Data: []byte("machine: m\n")}}
	if _, err := Read(files, "site.yaml", "p.yaml"); !errors.Is(err, fs.ErrNotExist) || errors.As(err, &errs) {
		t.Errorf("a missing patch: %v", err)
	}
}

func TestLimits(t *testing.T) {
	wide := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 'b'; i < 'h'; i++ {
		wide += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	for name, row := range map[string]struct{ text, want string }{
		"aliases":     {wide, "more than 20000 values, aliases followed"},
		"own alias":   {"a: &a [*a]\n", "nested deeper than 32 levels"},
		"deep":        {"a: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), "nested deeper than 32 levels"},
		"large":       {strings.Repeat("#\n", 1<<19) + "a", "larger than 1 MiB"},
		"very deep":   {"a: " + strings.Repeat("[", 500_000), "YAML"},
		"many values": {"a: [" + strings.Repeat("1,", 200_000) + "]", "more than 20000 values"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(fstest.MapFS{"site.yaml": {Data: []byte(row.text)}}, "site.yaml")
			var errs *Errors
			if !errors.As(err, &errs) || !strings.Contains(errs.List[0].Reason, row.want) {
				t.Errorf("got %.300v, want %q", err, row.want)
			}
		})
	}
	var many bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&many, "key%d: 1\n", i)
	}
	_, err := Read(fstest.MapFS{"site.yaml": {Data: many.Bytes()}}, "site.yaml")
	var errs *Errors
	if !errors.As(err, &errs) || len(errs.List) != maxErrors || errs.More != 804 || !strings.HasSuffix(err.Error(), "and 804 more") {
		t.Errorf("of 1000 unknown and 4 missing keys: %d and %d more", len(errs.List), errs.More)
	}
}
