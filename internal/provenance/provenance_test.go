package provenance

import (
	"bytes"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/bom"
)

var sum = strings.Repeat("ab", 32)

func made(t testing.TB) []byte {
	t.Helper()
	bill := &bom.Bill{Machine: "m", Arch: "amd64", Tool: "1", Components: []bom.Component{
		{Kind: bom.Deb, Name: "a", Version: "1", PURL: "pkg:deb/debian/a@1", SHA256: sum},
		{Kind: bom.Nix, Name: "b", Version: "2", Digest: sum}, {Kind: bom.Apk, Name: "within", SHA256: sum, Within: "x"}, {Kind: bom.Program, Name: "instar"},
	}}
	text, err := Make(bill, Options{Subjects: []Resource{{Name: "m-amd64", Digest: map[string]string{"sha256": sum}}}, Definition: "instar.yaml",
		Inputs: []Resource{{Name: "instar.yaml", Digest: map[string]string{"sha256": sum}}}, Builder: "https://b.example"})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestMake(t *testing.T) {
	text := made(t)
	s, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range s.Predicate.BuildDefinition.ResolvedDependencies {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, ", "); got != "instar.yaml, a 1, b 2" {
		t.Error(got)
	}
	if _, ok := s.About(sum); !ok {
		t.Error("it is not about its subject")
	}
	if _, ok := s.About(strings.Repeat("00", 32)); ok {
		t.Error("it is about anything")
	}
	if m := s.Missing([]Resource{{Name: "instar.yaml", Digest: map[string]string{"sha256": strings.Repeat("00", 32)}}}); len(m) != 1 {
		t.Error("another definition is taken")
	}
	if !bytes.Equal(text, made(t)) {
		t.Error("another statement the second time")
	}
}

func TestReadRefuses(t *testing.T) {
	good := string(made(t))
	for _, change := range [][2]string{{"Statement/v1", "Statement/v2"}, {"provenance/v1", "provenance/v2"}, {"https://b.example", ""}, {`"subject":[`, `"subject":[],"x":[`}} {
		if _, err := Read([]byte(strings.Replace(good, change[0], change[1], 1))); err == nil {
			t.Errorf("%q for %q is taken", change[1], change[0])
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(made(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Read(b); err == nil {
			s.About(sum)
			s.Missing(s.Subject)
		}
	})
}
