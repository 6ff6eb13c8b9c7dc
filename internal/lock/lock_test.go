package lock

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/lock.yaml")

func hash(c string) string { return strings.Repeat(c, 64) }

func store(c string) string { return strings.Repeat(c, 32) }

// sample is a lock with everything a lock can hold, in the order of Format.
func sample() *Lock {
	return &Lock{
		Version: Version, Machine: "greenhouse", Request: hash("a"), Epoch: 1_760_000_000,
		Suites: []Suite{
			{"debian", "trixie", "2026-11-14T08:00:00Z", hash("b"), "4CB50190207B4758A3F73A796ED0E7B82643E131"},
			{"debian", "trixie-updates", "2026-11-20T20:11:05Z", hash("9"), "4cb50190207b4758a3f73a796ed0e7b82643e131"},
		},
		Arches: map[string]*Inputs{
			"amd64": {
				Packages: []Package{
					{Name: "dbus", Version: "1.16.2-2", Arch: "amd64", Source: "debian", SHA256: hash("c"), Size: 71_000, Path: "pool/main/d/dbus/dbus_1.16.2-2_amd64.deb",
						Scripts: []Script{{"postinst", hash("d"), []string{`chown root:"x" /a`, "true", "# [a, b]: {c}"}, "trees.broker"}, {"triggers", hash("1"), nil, ""}}},
					{Name: "libc6", Version: "2.41-12", Arch: "amd64", Source: "debian", SHA256: strings.Repeat("1", 20) + "e" + strings.Repeat("3", 43), Size: 2_800_000, Path: "pool/main/g/glibc/libc6_2.41-12_amd64.deb"},
					{Name: "tzdata", Version: "1:2026a", Arch: "all", Source: "debian", SHA256: hash("e"), Size: 1, Path: "pool/t.deb"},
					{Name: "tzdata", Version: "2025b", Arch: "all", Source: "debian", SHA256: hash("f"), Size: 2, Path: "pool/main/t/tzdata/tzdata_2025b_all.deb"},
				},
				Kernel: []string{"libc6"}, Boot: []string{"dbus"},
				Trees: map[string][]string{"broker": {"dbus", "libc6", "tzdata=2025b"}, "empty": {}},
			},
			"arm64": {Packages: []Package{}, Trees: map[string][]string{}},
		},
		Tools: map[string]*Inputs{"amd64": {
			Packages: []Package{{Name: "qemu-system-x86", Version: "1:10.0.2+ds-2", Arch: "amd64", Source: "debian", SHA256: hash("7"), Size: 5, Path: "pool/q%2b.deb"}},
			Trees:    map[string][]string{"vm-amd64": {"qemu-system-x86"}},
		}},
		Users: Users{UIDs: map[string]uint32{"mosquitto": 990, "_apt": 42, "y": 7}, GIDs: map[string]uint32{"mosquitto": 990}},
		Files: []File{{Tree: "panel", URL: "https://example.org/a,b.tar", SHA256: hash("5"), Size: 10}, {Tree: "panel", Arch: "arm64", URL: "https://example.org/p?x={y}", SHA256: hash("6"), Size: 0}},
		Nix: []Closure{
			{"tool", "amd64", store("a") + "-tool-1", []StorePath{
				{store("a") + "-tool-1", hash("a"), 300, []string{store("a") + "-tool-1", store("b") + "-lib"}, store("c") + "-tool-1.drv"},
				{Name: store("b") + "-lib", NarHash: hash("b"), NarSize: 96},
			}},
			{"tool", "arm64", store("d") + "-tool-1", []StorePath{{Name: store("d") + "-tool-1", NarHash: hash("1"), NarSize: 2}}},
		},
	}
}

func TestFormat(t *testing.T) {
	text, err := sample().Format()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/lock.yaml", text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/lock.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("Format gives\n%s", text)
	}
	back, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	fresh := sample()
	fresh.Arches["amd64"].Packages[0].Scripts[1].Effects = []string{} // nil and empty are written alike
	if !reflect.DeepEqual(back, fresh) {
		t.Errorf("Parse(Format(l)) = %+v", back)
	}
	again, err := back.Format()
	if err != nil || !bytes.Equal(again, text) {
		t.Errorf("Format(Parse(x)) differs from x: %v\n%s", err, again)
	}
}

// Format sorts, and leaves what it sorts as it was.
func TestFormatSorts(t *testing.T) {
	want, _ := sample().Format()
	l := sample()
	p := l.Arches["amd64"].Packages
	p[0], p[3] = p[3], p[0]
	l.Suites[0], l.Suites[1] = l.Suites[1], l.Suites[0]
	l.Files[0], l.Files[1] = l.Files[1], l.Files[0]
	tree := l.Arches["amd64"].Trees["broker"]
	tree[0], tree[2] = tree[2], tree[0]
	got, err := l.Format()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n%s", err, got)
	}
	if p[0].Name != "tzdata" || tree[0] != "tzdata=2025b" {
		t.Error("Format changed the lock")
	}
}

func TestParseRefuses(t *testing.T) {
	good, err := sample().Format()
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct{ old, new, want string }{
		"unknown key":        {"epoch: ", "epoc: 1\nepoch: ", "epoc"},
		"duplicate key":      {"epoch: ", "epoch: 1\nepoch: ", "epoch"},
		"version":            {"version: 1\n", "version: 2\n", "version 2 is not known"},
		"no version":         {"version: 1\n", "", "version 0 is not known"},
		"machine":            {"machine: greenhouse", "machine: Greenhouse", `machine: "Greenhouse" is malformed`},
		"request":            {hash("a"), hash("A"), "request"},
		"short digest":       {hash("c"), hash("c")[1:], "package dbus: sha256"},
		"date":               {"2026-11-14T08:00:00Z", "2026-11-14T08:00:00+01:00", "not RFC 3339 in UTC"},
		"fingerprint":        {"4CB50190", "4CB5019", "signedBy"},
		"size":               {"size: 71000", "size: -1", "package dbus: size"},
		"path escapes":       {"pool/t.deb", "../t.deb", `path: "../t.deb"`},
		"absolute path":      {"pool/t.deb", "/t.deb", `path: "/t.deb"`},
		"path not clean":     {"pool/t.deb", "pool//t.deb", "no path within"},
		"package twice":      {`version: "1:2026a"`, `version: "2025b"`, "stands twice"},
		"ambiguous":          {"tzdata=2025b", "tzdata", "name the version"},
		"not pinned":         {"      broker:\n        - dbus", "      broker:\n        - dbusx", "arches.amd64.trees.broker: package dbusx is not pinned"},
		"kernel not pinned":  {"kernel:\n      - libc6", "kernel:\n      - linux", "arches.amd64.kernel: package linux is not pinned"},
		"tools not pinned":   {"        - qemu-system-x86", "        - qemu", "tools.amd64.trees.vm-amd64: package qemu is not pinned"},
		"tree twice":         {"        - libc6\n        - tzd", "        - dbus\n        - tzd", "dbus stands twice"},
		"suite twice":        {"suite: trixie-updates", "suite: trixie", "stands twice"},
		"script twice":       {"name: triggers", "name: postinst", "script postinst: stands twice"},
		"number twice":       {"_apt: 42", "_apt: 990", "_apt and mosquitto are both 990"},
		"no number":          {"_apt: 42", "_apt: 4294967295", "4294967295 is no number"},
		"negative number":    {"_apt: 42", "_apt: -1", "line 38"},
		"url":                {"https://example.org/a", "ftp://example.org/a", "malformed"},
		"file twice":         {", arch: arm64, url", ", url", "stands twice"},
		"alias":              {"machine: greenhouse", "machine: &m greenhouse\nrequest: *m", ""},
		"inputs without any": {"  arm64:\n    packages: []\n    trees: {}\n", "  arm64:\n", "arches.arm64: has no value"},
		"closure twice":      {"    arch: arm64\n    root", "    arch: amd64\n    root", "nix closure of tree tool: stands twice for amd64"},
		"closure's root":     {"root: aaa", "root: baa", "is none of its paths"},
		"reference":          {"references: [" + store("a"), "references: [" + store("f"), "which is none of them"},
		"store path":         {"name: " + store("b") + "-lib,", "name: " + store("e") + "-lib,", "path: "},
		"path twice":         {"name: " + store("b") + "-lib,", "name: " + store("a") + "-tool-1,", "stands twice"},
		"archive's size":     {"narSize: 96", "narSize: 0", "is no size"},
		"archive's hash":     {"narHash: " + hash("b"), "narHash: " + hash("b")[1:], "narHash"},
		"two documents":      {"epoch: ", "---\nepoch: ", "document"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(string(good), row.old) {
				t.Fatalf("%q is not in the lock", row.old)
			}
			_, err := Parse([]byte(strings.Replace(string(good), row.old, row.new, 1)))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestParseAliases(t *testing.T) {
	text := "version: 1\nmachine: &m a\nrequest: " + hash("a") + "\nsuites: []\narches: {amd64: {packages: [], trees: {x: [*m]}}}\n"
	if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), "no aliases") {
		t.Errorf("got %v", err)
	}
	if _, err := Parse(bytes.Repeat([]byte("#"), maxSize+1)); err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("got %v", err)
	}
}

func TestFormatRefuses(t *testing.T) {
	l := sample()
	l.Arches["amd64"].Trees["broker"][0] = "nothing"
	if _, err := l.Format(); err == nil {
		t.Error("Format wrote a lock that Parse refuses")
	}
}

func TestFind(t *testing.T) {
	in := sample().Arches["amd64"]
	for ref, want := range map[string]string{
		"libc6": "libc6=2.41-12:amd64", "libc6=2.41-12": "libc6=2.41-12:amd64", "tzdata": "", "tzdata=2025b": "tzdata=2025b:all",
		"tzdata=1:2026a": "tzdata=1:2026a:all", "libc6=1": "", "": "", "nothing": "",
	} {
		p, ok := in.Find(ref)
		if ok != (want != "") || ok && p.String() != want {
			t.Errorf("Find(%q) = %s, %v; want %q", ref, p, ok, want)
		}
		if ok {
			if q, ok := in.Find(in.Ref(p)); !ok || q.String() != want {
				t.Errorf("Ref(%s) = %q finds %s", p, in.Ref(p), q)
			}
		}
	}
	var names []string
	for _, p := range in.Tree("broker") {
		names = append(names, p.String())
	}
	if got := strings.Join(names, " "); got != "dbus=1.16.2-2:amd64 libc6=2.41-12:amd64 tzdata=2025b:all" {
		t.Errorf("Tree = %s", got)
	}
	if in.Tree("nothing") != nil {
		t.Error("a tree that is not there has packages")
	}
}

func TestCheck(t *testing.T) {
	l := sample()
	if err := Check(l, "greenhouse", hash("a")); err != nil {
		t.Error(err)
	}
	var stale *StaleError
	if err := Check(l, "greenhouse", hash("b")); !errors.As(err, &stale) || stale.Machine != "" {
		t.Errorf("another request: %v", err)
	}
	if err := Check(l, "other", hash("a")); !errors.As(err, &stale) || stale.Machine != "greenhouse" {
		t.Errorf("another machine: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	good, err := sample().Format()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("version: 1\nmachine: a\nrequest: " + hash("0") + "\nepoch: 0\nsuites: []\narches: {}\nusers: {}\n"))
	f.Add([]byte("arches: {a: ~}\ntools: {a: {packages: [{}]}}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := Parse(text)
		if err != nil {
			return
		}
		once, err := l.Format()
		if err != nil {
			t.Fatalf("a lock that Parse took cannot be written: %v", err)
		}
		back, err := Parse(once)
		if err != nil {
			t.Fatalf("what Format wrote is refused: %v\n%s", err, once)
		}
		twice, err := back.Format()
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("Format(Parse(x)) differs from x: %v\n%s\n%s", err, once, twice)
		}
	})
}
