package wiring

import (
	"strings"
	"testing"
)

// What is printed names each network, namespace, step and rule.
func TestString(t *testing.T) {
	p, err := Compile(sample(), []string{"lan"})
	if err != nil {
		t.Fatal(err)
	}
	text := p.String()
	for _, n := range p.Networks {
		if !strings.Contains(text, "network "+n.Name) {
			t.Errorf("no network %s", n.Name)
		}
		for _, s := range append(n.Steps, n.Undo...) {
			if !strings.Contains(text, s.Label) {
				t.Errorf("no step %q", s.Label)
			}
		}
	}
	for _, want := range []string{"newlink", "newaddr", "is the namespace of", "rule in forward: ", "rule in prerouting: ", "nat", "= lan"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	p.Rules = []byte{9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	if text := p.String(); !strings.Contains(text, "what is no message") {
		t.Errorf("damaged rules: %s", text)
	}
}

func FuzzRuleLines(f *testing.F) {
	p, err := Compile(sample(), []string{"lan"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Rules)
	f.Fuzz(func(t *testing.T, b []byte) { ruleLines(b) })
}
