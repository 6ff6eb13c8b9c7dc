package control

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// dump writes paragraphs as "name=value" with bars, one paragraph a line.
func dump(r io.Reader) string {
	var out strings.Builder
	for cr := NewReader(r); ; {
		p, err := cr.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			return out.String() + "error: " + err.Error()
		}
		for _, f := range p {
			fmt.Fprintf(&out, "%s=%q|", f.Name, f.Value)
		}
		out.WriteByte('\n')
	}
}

func TestReader(t *testing.T) {
	rows := []struct{ text, want string }{
		{"", ""},
		{"\n\n\n", ""},
		{"A: 1\nB:2", "A=\"1\"|B=\"2\"|\n"},
		{"A: 1\n\n\n\nB: 2\n\n", "A=\"1\"|\nB=\"2\"|\n"},
		{"A: first\n second\n\tthird\nB:\n x\n", "A=\"first\\n second\\n\\tthird\"|B=\"x\"|\n"},
		{"A:\nB: \t x \n", "A=\"\"|B=\"x\"|\n"},
		{"# comment\nA: 1\n# another\n 2\n#\n", "A=\"1\\n 2\"|\n"},
		{"#\n\n# only\n\nA: 1\n", "A=\"1\"|\n"},
		{" x\nA: 1\n", "error: line 1: a continuation of no field"},
		{"A: 1\n\nno field\n", "A=\"1\"|\nerror: line 3: \"no field\" is no field"},
		{"A: 1\n: 2\n", "error: line 2: \": 2\" is no field"},
		{"A B: 1\n", "error: line 1: \"A B: 1\" is no field"},
		{strings.Repeat("A:\n", maxFields+1), "error: line 1001: more than 1000 fields in a paragraph"},
	}
	for _, row := range rows {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
			if got := dump(wrap(strings.NewReader(row.text))); got != row.want {
				t.Errorf("%.40q:\ngot  %.200q\nwant %.200q", row.text, got, row.want)
			}
		}
	}
}

// Paragraphs that do not fit the buffer make it grow, up to the limit.
func TestReaderLarge(t *testing.T) {
	long := "A: " + strings.Repeat("x", 700<<10) + "\n"
	if got := dump(strings.NewReader(long + "\n" + long + "\nB: 1\n")); strings.Count(got, "x") != 2*700<<10 || !strings.HasSuffix(got, "\nB=\"1\"|\n") {
		t.Errorf("%d bytes: …%q", len(got), got[max(0, len(got)-20):])
	}
	if got := dump(strings.NewReader("A: 1\n\nB: " + strings.Repeat("x", maxParagraph+1))); got != "A=\"1\"|\nerror: line 3: a paragraph of more than 16777216 bytes" {
		t.Errorf("%.200q", got)
	}
	if got := dump(iotest.ErrReader(errors.New("broken pipe"))); got != "error: broken pipe" {
		t.Error(got)
	}
}

func TestGet(t *testing.T) {
	p, err := NewReader(strings.NewReader("Types: deb\nURIs: x\n")).Next()
	if err != nil || p.Get("uris") != "x" || p.Get("Types") != "deb" || p.Get("None") != "" {
		t.Errorf("%q %v", p, err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("A: 1\n 2\n\n# c\nB:\n"))
	f.Add([]byte("\n \nA:1\n#x\n y\n\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		whole := dump(strings.NewReader(string(data)))
		if byBytes := dump(iotest.OneByteReader(strings.NewReader(string(data)))); byBytes != whole {
			t.Errorf("%q\nby bytes %q", whole, byBytes)
		}
	})
}
