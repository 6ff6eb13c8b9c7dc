package config

import (
	"reflect"
	"slices"
	"strings"
)

// The keys of a tree by what it is from. A key that is not listed may not
// stand there.
var treeKeys = map[string][]string{
	"packages": {"packages", "essential", "without", "recommends", "effects", "accept", "prune", "keep"},
	"dir":      {"path", "to", "owner", "prune", "keep"},
	"tarball":  {"path", "url", "to", "strip", "prune", "keep"},
	"oci":      {"path", "image", "prune", "keep"},
	"file":     {"path", "url", "to", "mode", "owner"},
	"nix":      {"closure", "caches", "keys", "unsigned", "to", "prune", "keep"},
}

func (c *checker) tree(path string, t Tree) {
	kind := t.From
	switch kind {
	case "dir", "tarball", "file", "oci", "nix":
	case "":
		return
	default:
		declared := slices.Concat(sorted(c.def.Sources), []string{"dir", "tarball", "file", "oci", "nix"})
		if !c.named(path+".from", kind, "source", declared) {
			return
		}
		kind = "packages"
	}
	c.treeKeys(path, kind)
	switch kind {
	case "packages":
		c.packages(path, t)
	case "dir":
		if !c.has(path + ".path") {
			c.missing(path, "path", "name the directory, as path: ./files")
		}
	case "oci":
		c.image(path, t)
	case "nix":
		c.closure(path, t)
	default:
		c.content(path, t)
	}
	c.perArch(path+".path", t.Path)
	c.perArch(path+".url", t.URL)
	c.perArch(path+".closure", t.Closure)
	c.keeps(path)
}

// treeKeys reports keys that mean nothing for this kind of tree.
func (c *checker) treeKeys(path, kind string) {
	for _, f := range c.fields(reflect.TypeFor[Tree]()) {
		if f.key == "from" || slices.Contains(treeKeys[kind], f.key) || !c.has(path+"."+f.key) {
			continue
		}
		what := "a tree from " + kind
		if kind == "packages" {
			what = "a tree of packages"
		}
		c.wrongKey(path+"."+f.key, "means nothing for "+what, "it may have "+strings.Join(treeKeys[kind], ", "))
	}
}

// packages checks a tree of packages.
func (c *checker) packages(path string, t Tree) {
	if len(t.Packages) == 0 && !t.Essential && !c.isBad(path+".packages") && !c.isBad(path+".essential") {
		c.wrongKey(path, "has no packages", "name some, or write essential: true")
	}
	suites := c.def.Sources[t.From].Suites
	for i, p := range t.Packages {
		if _, suite, ok := strings.Cut(p, "/"); ok && !slices.Contains(suites, suite) && len(suites) > 0 {
			c.wrong(index(path+".packages", i), "source "+t.From+" has no suite "+suite, oneOf(suite, suites))
		}
	}
	for i, p := range t.Without {
		if slices.ContainsFunc(t.Packages, func(s string) bool { return packageName(s) == p }) {
			c.wrong(index(path+".without", i), p+" is also among the packages", "remove one of the two")
		}
	}
}

// packageName is the name in NAME, NAME=VERSION or NAME/SUITE.
func packageName(selection string) string {
	if i := strings.IndexAny(selection, "=/"); i >= 0 {
		return selection[:i]
	}
	return selection
}

// content checks a tarball or file.
func (c *checker) content(path string, t Tree) {
	hasPath, hasURL := c.has(path+".path"), c.has(path+".url")
	switch {
	case hasPath && hasURL:
		c.wrongKey(path+".url", "stands beside path", "use one of them")
	case !hasPath && !hasURL && !c.isBad(path+".path") && !c.isBad(path+".url"):
		c.wrongKey(path, "has neither path nor url", "say where its content comes from")
	}
	if t.From == "file" && t.To == "/" {
		if c.has(path + ".to") {
			c.wrong(path+".to", "is a directory", "name the file itself, as /etc/motd")
		} else {
			c.missing(path, "to", "name the file in the tree, as to: /etc/motd")
		}
	}
}

// image checks an OCI image.
func (c *checker) image(path string, t Tree) {
	host, rest, _ := strings.Cut(t.Image, "/")
	switch {
	case c.has(path + ".path"):
	case c.has(path + ".image"):
		// Nothing stands for a registry that is not named.
		if rest == "" || !strings.ContainsAny(host, ".:") && host != "localhost" {
			c.wrong(path+".image", "names no registry", "begin it with the registry's host, as registry.example.org/"+t.Image)
		}
	default:
		c.missing(path, "image", "name the image, as image: registry.example.org/panel:1.4, or the path of a layout or archive")
	}
}

// closure checks a closure of Nix store paths.
func (c *checker) closure(path string, t Tree) {
	if !c.has(path + ".closure") {
		c.missing(path, "closure", "name a store path, as closure: /nix/store/…-hello-2.12, or the symlink that nix build leaves, as closure: result")
	}
	signed := slices.ContainsFunc(t.Caches, func(s string) bool { return !strings.HasPrefix(s, "store:") })
	if signed && len(t.Keys) == 0 && t.Unsigned != "accept" && !c.isBad(path+".keys") && !c.isBad(path+".caches") {
		c.wrong(path+".caches", "nothing says whose signatures are believed", "name the cache's public keys under keys, or write unsigned: accept")
	}
}
