package deb

import (
	"io/fs"
	"testing"
	"testing/fstest"
)

func TestAddress(t *testing.T) {
	etc := func(pairs ...string) fs.FS {
		m := fstest.MapFS{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
		}
		return m
	}
	deb822 := "# the archive\nTypes: deb deb-src\nURIs: http://mirror.example/debian/\nSuites: trixie\nComponents: main\n\nTypes: deb\nURIs: http://mirror.example/debian-security\nSuites: trixie-security\n"
	rows := []struct {
		name, archive string
		host          HostConfig
		want          string
	}{
		{"default", "debian", HostConfig{}, defaultArchive},
		{"default of security", "debian-security", HostConfig{}, defaultSecurity},
		{"override", "debian", HostConfig{Archive: "http://here.example/debian/", Apt: etc("sources.list", "deb http://no.example/debian x main")}, "http://here.example/debian"},
		{"sibling of the override", "debian-security", HostConfig{Archive: "http://here.example/debian/"}, "http://here.example/debian-security"},
		{"override has no sibling", "debian-security", HostConfig{Archive: "http://here.example/mirror"}, defaultSecurity},
		{"own override", "debian-security", HostConfig{Archive: "http://here.example/debian", Security: "https://sec.example/x"}, "https://sec.example/x"},
		{"bad override", "debian", HostConfig{Archive: "here.example"}, `error: archive "here.example": it is neither debian, debian-security nor an http or https URL`},
		{"deb822", "debian", HostConfig{Apt: etc("sources.list.d/debian.sources", deb822)}, "http://mirror.example/debian"},
		{"deb822, security", "debian-security", HostConfig{Apt: etc("sources.list.d/debian.sources", deb822)}, "http://mirror.example/debian-security"},
		{"disabled", "debian", HostConfig{Apt: etc("sources.list.d/debian.sources", "Enabled: no\n"+deb822[len("# the archive\n"):])}, defaultArchive},
		{"only sources", "debian", HostConfig{Apt: etc("sources.list.d/debian.sources", "Types: deb-src\nURIs: http://mirror.example/debian\n")}, defaultArchive},
		{"one line", "debian", HostConfig{Apt: etc("sources.list", "# deb http://no.example/debian x main\ndeb cdrom:[x]/ x main\ndeb [signed-by=/k arch=amd64] https://mirror.example/debian/ trixie main # comment\n")}, "https://mirror.example/debian"},
		{"sources.list goes first", "debian", HostConfig{Apt: etc("sources.list", "deb http://a.example/debian x main", "sources.list.d/0.sources", deb822)}, "http://a.example/debian"},
		{"others are passed over", "debian", HostConfig{Apt: etc("sources.list.d/a.list", "deb http://other.example/apt x main\ndeb mirror+file:/etc/x/debian x main\ndeb", "sources.list.d/b.sources", "nonsense", "sources.list.d/c.save", "deb http://no.example/debian x main", "sources.list.d/d.list", "deb http://d.example/debian x main")}, "http://d.example/debian"},
		{"another path", "debian", HostConfig{Apt: etc("sources.list", "deb http://a.example/ubuntu x main")}, defaultArchive},
		{"URL", "http://here.example/repo/", HostConfig{}, "http://here.example/repo"},
		{"no URL", "ftp://here.example/repo", HostConfig{}, `error: archive "ftp://here.example/repo": it is neither debian, debian-security nor an http or https URL`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, err := Address(row.archive, row.host)
			if err != nil {
				got = "error: " + err.Error()
			}
			if got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}
