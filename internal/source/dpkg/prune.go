package dpkg

// prunePresets are the presets a definition may name, as patterns of tree.Prune.
var prunePresets = map[string][]string{
	"docs":    {"usr/share/doc", "usr/share/doc-base", "usr/share/gtk-doc", "usr/share/help"},
	"man":     {"usr/share/man", "usr/local/man", "usr/local/share/man"},
	"locales": {"usr/share/locale/*", "usr/share/i18n", "usr/lib/locale/*", "usr/share/qemu/po"},
	"info":    {"usr/share/info", "usr/share/base-files/info.dir"},
	"lintian": {"usr/share/lintian", "usr/share/linda", "usr/share/bug", "usr/share/reportbug"},
	"debug":   {"usr/lib/debug", "usr/lib/**/*.debug"},
}

// pruneKeep are the entries that a preset spares: licences must stay with what
// they license, and the C.UTF-8 locale is no translation.
var pruneKeep = map[string][]string{
	"docs":    {"usr/share/doc/*/copyright"},
	"locales": {"usr/share/locale/locale.alias", "usr/lib/locale/C.utf8"},
}

// PrunePatterns returns the patterns of tree.Prune that the preset name drops,
// or false when there is no such preset: docs, man, locales, info, lintian, debug.
func PrunePatterns(name string) ([]string, bool) {
	p, ok := prunePresets[name]
	return p, ok
}

// PruneKeep returns the patterns of what the preset name spares, for the keep
// argument of tree.Prune.
func PruneKeep(name string) []string { return pruneKeep[name] }
