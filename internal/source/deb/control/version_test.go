package control

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

var versionRows = []struct {
	a, b string
	want int
}{
	{"1.0", "1.0", 0}, {"1.0", "1.0-0", 0}, {"1.0", "0:1.0", 0}, {"1.0-1", "1.0-01", 0},
	{"1.0", "1.1", -1}, {"1.9", "1.10", -1}, {"1.0~rc1", "1.0", -1}, {"1.0~~", "1.0~", -1}, {"1.0~~a", "1.0~", -1},
	{"1.0", "1.0a", -1}, {"1.0a", "1.0+", -1}, {"1.0+b1", "1.0.1", -1}, {"9", "1:0", -1}, {"2:1", "10:0", -1},
	{"1.0-1", "1.0-1+b1", -1}, {"1.0-1~bpo12+1", "1.0-1", -1}, {"1-2-1", "1-10-1", -1}, {"1.0-1", "1.0.-1", -1},
	{"0.0.0", "0.0", 1}, {"1:1.3.dfsg+really1.3.1-1+b1", "1:1.3.dfsg-3", 1},
	{"99999999999999999999999", "100000000000000000000000", -1},
}

func TestCompare(t *testing.T) {
	for _, row := range versionRows {
		if got := Compare(row.a, row.b); got != row.want {
			t.Errorf("%s and %s: %d, want %d", row.a, row.b, got, row.want)
		}
		if got := Compare(row.b, row.a); got != -row.want {
			t.Errorf("%s and %s: %d, want %d", row.b, row.a, got, -row.want)
		}
	}
}

// dpkg is the judge of 300 pairs: the rows above and random ones that are
// alike.
func TestCompareDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("dpkg is not installed")
	}
	var pairs [][2]string
	for _, row := range versionRows {
		pairs = append(pairs, [2]string{row.a, row.b})
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for len(pairs) < 300 {
		a := randomVersion(rnd)
		pairs = append(pairs, [2]string{a, mutate(rnd, a)})
	}
	var script strings.Builder
	for _, p := range pairs {
		fmt.Fprintf(&script, "dpkg --compare-versions '%s' lt '%s' && echo -1 || { dpkg --compare-versions '%s' eq '%s' && echo 0 || echo 1; }\n", p[0], p[1], p[0], p[1])
	}
	out, err := exec.Command("sh", "-c", script.String()).Output()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	answers := strings.Fields(string(out))
	if len(answers) != len(pairs) {
		t.Fatalf("%d answers for %d pairs", len(answers), len(pairs))
	}
	for i, p := range pairs {
		if got := fmt.Sprint(Compare(p[0], p[1])); got != answers[i] {
			t.Errorf("%s and %s: %s, dpkg says %s", p[0], p[1], got, answers[i])
		}
	}
}

func randomVersion(rnd *rand.Rand) string {
	parts := []string{"0", "1", "10", "01", "7", ".", ".", "+", "~", "a", "b1", "rc", "deb13u", "really", "-"}
	v := fmt.Sprint(rnd.IntN(3))
	for range rnd.IntN(7) {
		v += parts[rnd.IntN(len(parts))]
	}
	if rnd.IntN(4) == 0 {
		v = fmt.Sprint(rnd.IntN(3)) + ":" + v
	}
	return strings.TrimRight(v, "-") + "-" + fmt.Sprint(rnd.IntN(3))
}

// mutate changes one byte or appends a tail, so that the pair stays comparable.
func mutate(rnd *rand.Rand, v string) string {
	switch rnd.IntN(3) {
	case 0:
		return v + []string{"~", "+b1", ".1", "~bpo12+1", "0"}[rnd.IntN(5)]
	case 1:
		i := 1 + rnd.IntN(len(v)-2)
		if v[i] == ':' || i+1 < len(v) && v[i+1] == ':' {
			return v
		}
		return v[:i] + string("019a~+."[rnd.IntN(7)]) + v[i+1:]
	}
	return randomVersion(rnd)
}

func TestCheckVersion(t *testing.T) {
	for v, want := range map[string]string{
		"1": "", "1:2.0+dfsg-3~deb13u1": "", "1.0-1-1": "", "0~0": "", "1:1:1-1": "",
		"": "begin with a digit", "a": "begin with a digit", "1-": "revision is empty", ":1": "epoch", "x:1": "epoch", "9999999999:1": "epoch",
		"1 2": "character", "1_2": "character", "-1": "begin with a digit",
	} {
		err := CheckVersion(v)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", v, err)
		}
	}
}

func FuzzCompare(f *testing.F) {
	for _, row := range versionRows {
		f.Add(row.a, row.b, "1.0~")
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if Compare(a, b) != -Compare(b, a) {
			t.Errorf("%q and %q are not antisymmetric", a, b)
		}
		if Compare(a, b) <= 0 && Compare(b, c) <= 0 && Compare(a, c) > 0 {
			t.Errorf("%q, %q, %q are not transitive", a, b, c)
		}
	})
}
