package lock

import "testing"

func TestSourcePackage(t *testing.T) {
	const pool = "pool/main/u/util-linux/x_1_amd64.deb"
	for _, row := range []struct{ name, version, path, source, origin, want string }{
		{"mount", "2.41-5", pool, "util-linux", "", "util-linux 2.41-5"},
		{"mount", "2.41-5+b1", pool, "util-linux (2.41-5)", "", "util-linux 2.41-5"},
		{"bsdutils", "1:2.41-5", pool, "util-linux (2.41-5)", "util-linux 2.41-5", "util-linux 2.41-5"},
		{"util-linux", "2.41-5", pool, "", "", "util-linux 2.41-5"},
		{"a", "1", "a_1_all.deb", "b", "b 1", "b 1"},
		{"a", "1+bpo", "a_1_all.deb", "", "", "a 1+bpo"},
	} {
		p := Package{Name: row.name, Version: row.version, Path: row.path}
		p.SetOrigin(row.source)
		name, version := p.SourcePackage()
		if p.Origin != row.origin || name+" "+version != row.want {
			t.Errorf("%s %s: origin %q, source %s %s, want %q and %s", row.name, row.version, p.Origin, name, version, row.origin, row.want)
		}
	}
}
