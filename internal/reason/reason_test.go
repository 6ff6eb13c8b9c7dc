package reason

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every constant stands in the list, once, and in the documentation with the
// same words.
func TestList(t *testing.T) {
	src, err := os.ReadFile("reason.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := regexp.MustCompile(`(?m)^\t\w+\s+Code = "([a-z-]+)"`).FindAllStringSubmatch(string(src), -1)
	seen := map[Code]bool{}
	for _, c := range All() {
		if seen[c] {
			t.Errorf("%s stands twice", c)
		}
		seen[c] = true
	}
	for _, m := range constants {
		if !Code(m[1]).Known() {
			t.Errorf("%s is not in the list", m[1])
		}
	}
	if len(constants) != len(seen) || len(seen) < 20 {
		t.Errorf("%d constants, %d in the list", len(constants), len(seen))
	}
	if Code("nonsense").Known() {
		t.Error("nonsense is known")
	}
	doc, err := os.ReadFile("../../docs/format/reason.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range All() {
		if row := fmt.Sprintf("| `%s` | %s |\n", c, c.Meaning()); !strings.Contains(string(doc), row) {
			t.Errorf("docs/format/reason.md lacks: %s", row)
		}
	}
	if n := strings.Count(string(doc), "\n| `"); n != len(seen) {
		t.Errorf("docs/format/reason.md has %d codes, there are %d", n, len(seen))
	}
}
