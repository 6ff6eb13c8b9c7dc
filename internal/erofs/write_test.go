package erofs

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "record the oracle's digests in testdata")

const digestsFile = "testdata/digests.txt"

// TestRecordedDigests holds the writer to what mkcomposefs made of the same
// trees, without needing mkcomposefs.
func TestRecordedDigests(t *testing.T) {
	if *update {
		record(t)
	}
	text, err := os.ReadFile(digestsFile)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(text)) {
		d, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		want[name] = d
	}
	for name, root := range trees() {
		b, err := Append(nil, root)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := imageDigest(b); got != want[name] {
			t.Errorf("%s: image %s, mkcomposefs made %q", name, got, want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("recorded and not tested: %v", want)
	}
}

func record(t *testing.T) {
	o := newOracle(t)
	var b strings.Builder
	all := trees()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s  %s\n", imageDigest(o.image(t, t.TempDir(), all[name])), name)
	}
	if err := os.WriteFile(digestsFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestOracle compares bytes, so that a difference shows where it is.
func TestOracle(t *testing.T) {
	o := newOracle(t)
	for name, root := range trees() {
		t.Run(name, func(t *testing.T) {
			want := o.image(t, t.TempDir(), root)
			got, err := Append(nil, root)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("ours and mkcomposefs' image differ %s", firstDifference(got, want))
			}
		})
	}
}
