package deb

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// world makes a World of suites written as lines "SUITE NAME VERSION; Field:
// value; …". A suite may have a priority: "SUITE@900".
func world(t testing.TB, lines ...string) *World {
	t.Helper()
	w := &World{arch: "amd64", goarch: "amd64"}
	suites := map[string]*suite{}
	var lists [][]*Package
	for _, line := range lines {
		head, fields, _ := strings.Cut(line, ";")
		f := strings.Fields(head)
		s := suites[f[0]]
		if s == nil {
			name, prio, _ := strings.Cut(f[0], "@")
			s = &suite{source: "debian", name: name, priority: 500, order: len(suites), release: &Release{Suite: name}}
			if prio != "" {
				fmt.Sscan(prio, &s.priority)
			}
			suites[f[0]] = s
			w.suites = append(w.suites, s)
		}
		text := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nFilename: pool/%s_%s.deb\nSize: 1\nSHA256: %064x\n", f[1], f[2], f[1], f[2], len(lists))
		for field := range strings.SplitSeq(fields, ";") {
			if field = strings.TrimSpace(field); field != "" {
				text += field + "\n"
			}
		}
		ps, err := parsePackages(strings.NewReader(text), s)
		if err != nil {
			t.Fatal(err)
		}
		lists = append(lists, ps)
	}
	if err := w.fill(lists); err != nil {
		t.Fatal(err)
	}
	return w
}

func answer(sol *Solution, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var out []string
	for _, p := range sol.Packages {
		out = append(out, p.Name+"="+p.Version)
	}
	return strings.Join(out, " ")
}

// Each row is a world, a request and the whole answer.
var solveRows = []struct {
	name  string
	world []string
	ask   Request
	want  string
}{
	{"depends and pre-depends", []string{
		"t a 1; Pre-Depends: b; Depends: c (>= 2)", "t b 1", "t c 2; Depends: b", "t d 1",
	}, Request{Packages: []string{"a"}}, "a=1 b=1 c=2"},
	{"newest version of several suites", []string{"t a 1", "u a 2", "t b 1; Depends: a"},
		Request{Packages: []string{"b"}}, "a=2 b=1"},
	{"priority of the source goes before the version", []string{"t@900 a 1", "u a 2"},
		Request{Packages: []string{"a"}}, "a=1"},
	{"NAME=VERSION", []string{"t a 1", "u a 2"}, Request{Packages: []string{"a=1"}}, "a=1"},
	{"NAME/SUITE", []string{"t a 1", "u a 2"}, Request{Packages: []string{"a/t"}}, "a=1"},
	{"an explicit version binds others", []string{"t a 1", "u a 2", "t b 1; Depends: a"},
		Request{Packages: []string{"b", "a=1"}}, "a=1 b=1"},
	{"first alternative", []string{"t a 1; Depends: x | y", "t x 1", "t y 1"}, Request{Packages: []string{"a"}}, "a=1 x=1"},
	{"alternative that is there already", []string{"t a 1; Depends: x | y, z", "t x 1", "t y 1", "t z 1; Depends: y"},
		Request{Packages: []string{"a"}}, "a=1 y=1 z=1"},
	{"alternative asked for", []string{"t a 1; Depends: x | y", "t x 1", "t y 1"}, Request{Packages: []string{"a", "y"}}, "a=1 y=1"},
	{"alternative without a needed package", []string{"t a 1; Depends: x | y", "t x 1; Depends: none", "t y 1"},
		Request{Packages: []string{"a"}}, "a=1 y=1"},
	{"alternative in a conflict", []string{"t a 1; Depends: x | y, z", "t x 1; Conflicts: z", "t y 1", "t z 1"},
		Request{Packages: []string{"a"}}, "a=1 y=1 z=1"},
	{"conflict of the other side", []string{"t a 1; Depends: x | y, z", "t x 1", "t y 1", "t z 1; Breaks: x (<< 2)"},
		Request{Packages: []string{"a"}}, "a=1 y=1 z=1"},
	{"deep conflict goes back", []string{"t a 1; Depends: x | y, p | q", "t x 1; Depends: deep", "t deep 1; Conflicts: p, q", "t y 1", "t p 1", "t q 1"},
		Request{Packages: []string{"a"}}, "a=1 p=1 y=1"},
	{"older version avoids a conflict", []string{"t x 1", "u x 2; Breaks: a", "t a 1; Depends: x"},
		Request{Packages: []string{"a"}}, "a=1 x=1"},
	{"exact version before any version", []string{"t@900 l 1", "u l 2", "t@900 a 1; Depends: l", "u b 2; Depends: l (= 2)"},
		Request{Packages: []string{"a", "b"}}, "a=1 b=2 l=2"},
	{"a version needed deep goes before one chosen early", []string{"t@900 l 1", "u l 2", "t@900 a 1; Depends: l", "u b 2; Depends: c", "u c 2; Depends: d, x | y", "u d 2; Depends: l (>= 2)", "u x 1", "u y 1"},
		Request{Packages: []string{"a", "b"}}, "a=1 b=2 c=2 d=2 l=2 x=1"},
	{"provides", []string{"t a 1; Depends: v", "t p 1; Provides: v"}, Request{Packages: []string{"a"}}, "a=1 p=1"},
	{"the real package goes before providers", []string{"t a 1; Depends: v", "t v 1", "t b 1; Provides: v; Priority: required"},
		Request{Packages: []string{"a"}}, "a=1 v=1"},
	{"provider by rank, then by name", []string{"t a 1; Depends: awk", "t gawk 1; Provides: awk; Priority: optional", "t mawk 1; Provides: awk; Priority: required", "t bawk 1; Provides: awk; Priority: optional"},
		Request{Packages: []string{"a"}}, "a=1 mawk=1"},
	{"versioned relation needs a versioned provides", []string{"t a 1; Depends: v (>= 2)", "t p 1; Provides: v", "t q 1; Provides: v (= 3)"},
		Request{Packages: []string{"a"}}, "a=1 q=1"},
	{"a package may conflict with what it provides", []string{"t a 1; Provides: mta; Conflicts: mta", "t b 1; Depends: mta"},
		Request{Packages: []string{"b"}}, "a=1 b=1"},
	{"two that exclude each other through a virtual package", []string{"t a 1; Provides: mta; Conflicts: mta", "t b 1; Provides: mta; Conflicts: mta"},
		Request{Packages: []string{"a", "b"}}, "error: b is asked for, which is impossible: b conflicts with mta, and a 1 is there"},
	{"versioned conflict does not meet an unversioned provides", []string{"t a 1; Provides: v", "t b 1; Conflicts: v (<< 5)"},
		Request{Packages: []string{"a", "b"}}, "a=1 b=1"},
	{"circle", []string{"t a 1; Depends: b", "t b 1; Depends: a"}, Request{Packages: []string{"a"}}, "a=1 b=1"},
	{"architecture of a relation", []string{"t a 1; Depends: b [arm64], c [!arm64], d:any, e:arm64 | d", "t b 1", "t c 1", "t d 1", "t e 1"},
		Request{Packages: []string{"a"}}, "a=1 c=1 d=1"},
	{"recommends are left out", []string{"t a 1; Recommends: r", "t r 1"}, Request{Packages: []string{"a"}}, "a=1"},
	{"recommends are followed", []string{"t a 1; Recommends: r, gone, bad | s", "t r 1; Depends: x; Recommends: y", "t x 1", "t y 1", "t bad 1; Depends: gone", "t s 1"},
		Request{Packages: []string{"a"}, Recommends: true}, "a=1 r=1 s=1 x=1 y=1"},
	{"recommends in a conflict are dropped", []string{"t a 1; Recommends: r", "t r 1; Depends: x", "t x 1; Conflicts: a"},
		Request{Packages: []string{"a"}, Recommends: true}, "a=1"},
	{"essential", []string{"t a 1", "t e 1; Essential: yes; Depends: f", "t f 1"}, Request{Packages: []string{"a"}, Essential: true}, "a=1 e=1 f=1"},
	{"without counts as installed", []string{"t a 1; Depends: b, v", "t b 1; Depends: c", "t c 1", "t p 1; Provides: v"},
		Request{Packages: []string{"a"}, Without: []string{"b", "p"}}, "a=1"},
	{"essential without", []string{"t a 1", "t e 1; Essential: yes"}, Request{Packages: []string{"a"}, Essential: true, Without: []string{"e"}}, "a=1"},
	{"only provider is meant", []string{"t p 1; Provides: v"}, Request{Packages: []string{"v"}}, "p=1"},
	{"nothing", nil, Request{}, ""},

	{"several providers", []string{"t p 1; Provides: v", "t q 1; Provides: v"}, Request{Packages: []string{"v"}},
		"error: v is not a package but provided by p, q; one of them must be named"},
	{"unknown name", []string{"t mosquitto 1", "u x 1"}, Request{Packages: []string{"mosquito"}},
		`error: no suite has a package "mosquito" for amd64 (looked in t, u); did you mean mosquitto?`},
	{"all that is unknown", []string{"t a 1"}, Request{Packages: []string{"bbbb", "cccc"}},
		"error: no suite has a package \"bbbb\" for amd64 (looked in t)\nno suite has a package \"cccc\" for amd64 (looked in t)"},
	{"missing version", []string{"t a 1", "u a 2"}, Request{Packages: []string{"a=3"}}, "error: no suite has a in version 3; there is 2 in u, 1 in t"},
	{"missing suite", []string{"t a 1"}, Request{Packages: []string{"a/u"}}, "error: suite u has no a; there is 1 in t"},
	{"chain", []string{"t a 1; Depends: b", "t b 1; Depends: c", "t c 1; Depends: d (>= 2)", "t d 1.9"}, Request{Packages: []string{"a"}},
		"error: a needs b, which needs c, which needs d (>= 2), which no suite has; d is 1.9 in t"},
	{"chain through a provider", []string{"t a 1; Depends: v", "t p 1; Provides: v; Depends: q", "t q 1; Depends: d"}, Request{Packages: []string{"a"}},
		"error: a needs v; p needs q, which needs d, which no suite has"},
	{"impossible", []string{"t a 1; Depends: b", "t b 1", "t c 1; Conflicts: b"}, Request{Packages: []string{"a", "c"}},
		"error: a needs b, which is impossible: c conflicts with b"},
	{"two versions", []string{"t a 1; Depends: b (= 1)", "t b 1", "u b 2"}, Request{Packages: []string{"a", "b=2"}},
		"error: a needs b (= 1), which is impossible: b 2 is chosen already"},
	{"asked for and left out", []string{"t a 1"}, Request{Packages: []string{"a"}, Without: []string{"a"}}, "error: a is asked for and to be left out"},
	{"broken relation", []string{"t a 1; Depends: b (>> )", "t b 1"}, Request{Packages: []string{"a"}},
		`error: package a: Depends: relation: "" is no version before ""`},
}

func TestSolve(t *testing.T) {
	for _, row := range solveRows {
		t.Run(row.name, func(t *testing.T) {
			w := world(t, row.world...)
			for range 2 { // the second one finds what the first one has read
				if got := answer(w.Solve(row.ask)); got != row.want {
					t.Errorf("got  %s\nwant %s", got, row.want)
				}
			}
		})
	}
}

// A request that has no solution ends, whatever the number of combinations.
func TestSolveGivesUp(t *testing.T) {
	var lines []string
	all := make([]string, 0, 40)
	for i := range 40 {
		lines = append(lines, fmt.Sprintf("t x%d 1", i), fmt.Sprintf("t y%d 1", i))
		all = append(all, fmt.Sprintf("x%d | y%d", i, i))
	}
	lines = append(lines, "t a 1; Depends: "+strings.Join(all, ", ")+", last | least",
		"t last 1; Depends: none", "t least 1; Depends: none")
	got := answer(world(t, lines...).Solve(Request{Packages: []string{"a"}}))
	want := "error: a needs last | least; last needs none, which no suite has (the search for alternatives to this was given up after 50000 steps; naming a package or a version explicitly helps)"
	if got != want {
		t.Errorf("got %s", got)
	}
}

// One package of another suite, whose library stands in the way of choices made
// long before, is found by learning and not by trying all combinations.
func TestSolveLearns(t *testing.T) {
	lines := []string{"t@900 lib 1", "u lib 2", "u new 2; Depends: last | least", "u last 1; Depends: lib (= 2)", "u least 1; Depends: lib (= 2)"}
	all := []string{"lib"}
	for i := range 30 {
		lines = append(lines, fmt.Sprintf("t@900 x%d 1", i), fmt.Sprintf("t@900 y%d 1", i))
		all = append(all, fmt.Sprintf("x%d | y%d", i, i))
	}
	w := world(t, append(lines, "t@900 a 1; Depends: "+strings.Join(all, ", "))...)
	got := answer(w.Solve(Request{Packages: []string{"new", "a"}}))
	if !strings.Contains(got, "last=1 lib=2 new=2 x0=1") {
		t.Error(got)
	}
}

func TestWhy(t *testing.T) {
	w := world(t, "t a 1; Depends: b", "t b 1; Depends: c (>= 1) | d", "t c 1", "t r 1; Recommends: a")
	sol, err := w.Solve(Request{Packages: []string{"r"}, Recommends: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"r is asked for", "r recommends a", "a needs b", "b needs c (>= 1) | d"}
	if got := sol.Why("c"); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if sol.Why("d") != nil {
		t.Error("a reason for a package that is not there")
	}
}

func TestCandidate(t *testing.T) {
	w := world(t, "t linux-image-cloud-amd64 1; Depends: linux-image-6.12-cloud-amd64 (= 1)", "t linux-image-6.12-cloud-amd64 1; Depends: kmod | x")
	p, err := w.Candidate("linux-image-cloud-amd64")
	if err != nil || p.Version != "1" || p.Source != "debian" || p.Path != "pool/linux-image-cloud-amd64_1.deb" {
		t.Fatalf("%+v, %v", p, err)
	}
	if got := w.Depends(p); !slices.Equal(got, []string{"linux-image-6.12-cloud-amd64"}) {
		t.Errorf("depends on %q", got)
	}
	if _, err := w.Candidate("linux-image-cloud-arm64"); err == nil || !strings.Contains(err.Error(), "did you mean linux-image-cloud-amd64?") {
		t.Errorf("%v", err)
	}
}
