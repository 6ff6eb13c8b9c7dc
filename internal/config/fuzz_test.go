package config

import (
	"errors"
	"testing"
	"testing/fstest"
)

// Reading never panics, every error stands in a file and shows its line, and
// what is read satisfies the schema.
func FuzzRead(f *testing.F) {
	for i, s := range append(samples(f, "testdata/good.txtar"), samples(f, "testdata/broken.txtar")...) {
		if i%7 == 0 || len(s.files) > 1 {
			other := ""
			for name, file := range s.files {
				if name != "site.yaml" {
					other = string(file.Data)
				}
			}
			f.Add(string(s.files["site.yaml"].Data), other)
		}
	}
	schema := compiled(f)
	f.Fuzz(func(t *testing.T, site, other string) {
		files := fstest.MapFS{"site.yaml": {Data: []byte(site)}}
		for _, name := range []string{"other.yaml", "a.yaml", "p.yaml", "base/vm.yaml"} {
			files[name] = &fstest.MapFile{Data: []byte(other)}
		}
		file, err := Read(files, "site.yaml")
		var errs *Errors
		if err != nil {
			if !errors.As(err, &errs) || len(errs.List) == 0 || err.Error() == "" {
				t.Fatalf("no Errors: %v", err)
			}
			within(t, files, errs)
			return
		}
		if _, err := RequestDigest(file.Definition); err != nil {
			t.Fatal(err)
		}
		if len(file.Files) == 1 {
			if err := schema.Validate(asJSON(t, newCollector().load("site.yaml", []byte(site)))); err != nil {
				t.Fatalf("the schema refuses what was read: %v", err)
			}
		}
	})
}
