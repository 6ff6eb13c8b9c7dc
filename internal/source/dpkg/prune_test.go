package dpkg_test

import (
	"testing"

	"github.com/instar-os/instar/internal/source/dpkg"
)

func TestPrunePresets(t *testing.T) {
	files := []item{{Name: "usr/share/doc/a/copyright"}, {Name: "usr/share/doc/a/changelog.gz"}, {Name: "usr/share/man/man1/a.1.gz"},
		{Name: "usr/share/locale/de/LC_MESSAGES/a.mo"}, {Name: "usr/lib/locale/C.utf8/LC_CTYPE"}, {Name: "usr/share/info/a.info.gz"},
		{Name: "usr/share/lintian/overrides/a"}, {Name: "usr/lib/debug/.build-id/00/1.debug"}, {Name: "usr/bin/a"}}
	for preset, gone := range map[string][]string{
		"docs": {"usr/share/doc/a/changelog.gz"}, "man": {"usr/share/man/man1/a.1.gz"},
		"locales": {"usr/share/locale/de/LC_MESSAGES/a.mo"}, "info": {"usr/share/info/a.info.gz"},
		"lintian": {"usr/share/lintian/overrides/a"}, "debug": {"usr/lib/debug/.build-id/00/1.debug"},
	} {
		drop, ok := dpkg.PrunePatterns(preset)
		if !ok {
			t.Errorf("no preset %s", preset)
		}
		tr := made(t, "Package: a\nVersion: 1", files...).Tree
		if _, err := tr.Prune(drop, dpkg.PruneKeep(preset)); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			_, there := tr.Get(f.Name)
			if want := f.Name != gone[0]; there != want {
				t.Errorf("%s: %s there: %v, want %v", preset, f.Name, there, want)
			}
		}
	}
	if _, ok := dpkg.PrunePatterns("everything"); ok {
		t.Error("an unknown preset is known")
	}
}
