// Package licence reads what Debian packages say of their licences and says it
// in SPDX's words: an expression of identifiers, with references to texts that
// SPDX has no identifier for. It never guesses: a text that is not in the form
// that machines read is a reference to that text.
//
// Sources: Machine-readable debian/copyright file, version 1.0 (DEP-5); SPDX
// 2.3, annex D (licence expressions).
package licence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/source/deb/control"
)

// MaxSize is the largest file that Parse reads, in bytes. The largest of
// Debian 13 has 2.4 MB.
const MaxSize = 8 << 20

// Bounds of what one package may say.
const (
	maxParagraphs = 20_000
	maxTerms      = 1_000
	maxSynopsis   = 4 << 10 // bytes of a short name with its operators
)

// Licence is what a package says of its licences.
type Licence struct {
	// Expression is an SPDX licence expression; "" when nothing is said.
	Expression string
	// References are the LicenseRef-… of Expression, by name.
	References map[string]Text
}

// Text is a licence that SPDX has no identifier for.
type Text struct {
	Name string // as the package calls it
	Text string // what it says; "" when the package names it and says no more
}

// Parse reads /usr/share/doc/PACKAGE/copyright. A file that is not in DEP-5's
// form gives a reference to its whole text. Any bytes give a valid expression.
func Parse(b []byte) Licence {
	if len(b) > MaxSize || len(bytes.TrimSpace(b)) == 0 {
		return Licence{}
	}
	b = bytes.ToValidUTF8(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\uFFFD"))
	f, err := read(b)
	if err != nil || len(f.said) == 0 {
		whole := Licence{References: map[string]Text{}}
		whole.Expression = whole.refer("copyright", string(b))
		return whole
	}
	return f.licence()
}

// file is what a DEP-5 file says.
type file struct {
	said  []string          // short names of the licences of files, with operators
	texts map[string]string // of licences, by short name in lower case
}

var errForm = errors.New("not in DEP-5's form")

// read collects the licences that paragraphs of files name, and the texts. The
// header's licence counts when no paragraph of files has one.
func read(b []byte) (*file, error) {
	f := &file{texts: map[string]string{}}
	header := ""
	r := control.NewReader(bytes.NewReader(b))
	for n := 0; ; n++ {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || n > maxParagraphs || n == 0 && !strings.Contains(p.Get("Format"), "copyright-format") {
			return nil, errForm
		}
		name, text, _ := strings.Cut(p.Get("License"), "\n")
		name = strings.Join(strings.Fields(name), " ")
		if text = unfold(text); name != "" && text != "" && f.texts[strings.ToLower(name)] == "" {
			f.texts[strings.ToLower(name)] = text
		}
		switch {
		case name == "":
		case n == 0:
			header = name
		case p.Get("Files") != "" && !slices.Contains(f.said, name):
			f.said = append(f.said, name)
		}
		if len(f.said) > maxTerms || len(name) > maxSynopsis {
			return nil, errForm
		}
	}
	if len(f.said) == 0 && header != "" {
		f.said = []string{header}
	}
	return f, nil
}

// unfold undoes the form of continuation lines: one blank in front, a dot for an
// empty line.
func unfold(s string) string {
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		line = strings.TrimPrefix(line, " ")
		if strings.TrimSpace(line) == "." {
			line = ""
		}
		out = append(out, strings.TrimRight(line, " \t"))
	}
	return strings.Trim(strings.Join(out, "\n"), "\n")
}

// licence joins all that was said: whoever takes the package must keep each.
func (f *file) licence() Licence {
	l := Licence{References: map[string]Text{}}
	var terms []string
	for _, s := range f.said {
		for _, t := range f.terms(s, &l) {
			if !slices.Contains(terms, t) {
				terms = append(terms, t)
			}
		}
	}
	slices.Sort(terms)
	l.Expression = conjunction(terms)
	return l
}

var (
	alsoWord = regexp.MustCompile(`(?i)\s+and\s+`)
	orWord   = regexp.MustCompile(`(?i)\s+or\s+`)
	commaAnd = regexp.MustCompile(`(?i),\s*and\s+`)
)

// terms translates one synopsis into terms that must all be kept. "A or B, and
// C" has two: a comma makes the operator before it bind closer; without one,
// "and" binds closer than "or".
func (f *file) terms(s string, l *Licence) []string {
	if parts := commaAnd.Split(s, -1); len(parts) > 1 {
		var all []string
		for _, p := range parts {
			all = append(all, f.terms(p, l)...)
		}
		return all
	}
	var choices []string
	for _, alternative := range orWord.Split(s, -1) {
		var all []string
		for _, name := range alsoWord.Split(alternative, -1) {
			all = append(all, f.one(strings.Trim(name, " ,"), l))
		}
		slices.Sort(all)
		if all = slices.Compact(all); !orWord.MatchString(s) {
			return all
		}
		choices = append(choices, conjunction(all))
	}
	for i, c := range choices {
		if strings.Contains(c, " AND ") {
			choices[i] = "(" + c + ")"
		}
	}
	return []string{strings.Join(choices, " OR ")}
}

// conjunction joins terms that must all be kept.
func conjunction(terms []string) string {
	if len(terms) == 1 {
		return terms[0]
	}
	out := slices.Clone(terms)
	for i, t := range out {
		if strings.Contains(t, " OR ") {
			out[i] = "(" + t + ")"
		}
	}
	return strings.Join(out, " AND ")
}

// one translates a short name, with an exception or without. What has no
// identifier becomes a reference.
func (f *file) one(name string, l *Licence) string {
	plain, exception, with := cutWith(name)
	id := identifier(plain)
	if with {
		if e := exceptionID(exception); id != "" && e != "" && !strings.Contains(id, " ") {
			return id + " WITH " + e
		}
		return l.refer(name, f.text(name))
	}
	if id == "" {
		return l.refer(name, f.text(name))
	}
	return id
}

func cutWith(name string) (licence, exception string, ok bool) {
	i := strings.Index(strings.ToLower(name), " with ")
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+len(" with "):], true
}

// text finds the text of a licence by its short name.
func (f *file) text(name string) string { return f.texts[strings.ToLower(name)] }

var notInRef = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// refer returns a name for a text: its own, and the beginning of its SHA-256.
func (l *Licence) refer(name, text string) string {
	sum := sha256.Sum256([]byte(name + "\x00" + text))
	short := strings.Trim(notInRef.ReplaceAllString(name, "-"), "-.")
	if len(short) > 40 {
		short = strings.Trim(short[:40], "-.")
	}
	if short == "" {
		short = "text"
	}
	ref := "LicenseRef-" + short + "-" + hex.EncodeToString(sum[:6])
	l.References[ref] = Text{name, text}
	return ref
}
