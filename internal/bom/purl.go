package bom

import (
	"maps"
	"slices"
	"strings"
)

// PURL writes a package URL: pkg:TYPE/NAMESPACE/NAME@VERSION?QUALIFIERS.
// Qualifiers with empty values are left out. namespace may be "".
//
// Source: Package-URL specification, ECMA-427.
func PURL(kind, namespace, name, version string, qualifiers map[string]string) string {
	var b strings.Builder
	b.WriteString("pkg:" + kind + "/")
	if namespace != "" {
		for part := range strings.SplitSeq(namespace, "/") {
			b.WriteString(quote(part) + "/")
		}
	}
	b.WriteString(quote(name))
	if version != "" {
		b.WriteString("@" + quote(version))
	}
	mark := "?"
	for _, k := range slices.Sorted(maps.Keys(qualifiers)) {
		if v := qualifiers[k]; v != "" {
			b.WriteString(mark + k + "=" + quote(v))
			mark = "&"
		}
	}
	return b.String()
}

// quote escapes all but what ECMA-427 leaves as it is.
func quote(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte(".-_~:", c) >= 0:
			b.WriteByte(c)
		default:
			const hexadecimal = "0123456789ABCDEF"
			b.WriteByte('%')
			b.WriteByte(hexadecimal[c>>4])
			b.WriteByte(hexadecimal[c&15])
		}
	}
	return b.String()
}

// DebPURL names a Debian binary package.
func DebPURL(namespace string, c *Component) string {
	upstream := ""
	if c.Source != c.Name || c.SourceVersion != c.Version {
		if upstream = c.Source; c.SourceVersion != "" && c.SourceVersion != c.Version {
			upstream += "@" + c.SourceVersion
		}
	}
	return PURL("deb", namespace, c.Name, c.Version, map[string]string{"arch": c.Arch, "distro": c.Release, "upstream": upstream})
}
