// Package guide runs the commands of docs/guide.
//
// In a page, a block marked "sh" is run by bash -e in a directory of the page's
// own; a block marked "output" that follows it names lines, in order, that the
// commands must have printed, where "…" stands for anything. A block marked
// "yaml FILE" is written to FILE before the next commands.
package guide

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// needsRoot begins pages that cannot run without.
const needsRoot = "<!-- root -->"

// pageLimit is the longest that one page may take; a page boots at most once.
const pageLimit = 10 * time.Minute

type block struct {
	kind string // sh, output, yaml
	file string // of yaml
	line int
	text string
}

func TestGuide(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "out", "instar")); err != nil {
		t.Fatalf("the guide runs out/instar; make build makes it: %v", err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs/guide/*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages in docs/guide: %v", err)
	}
	for _, page := range pages {
		t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte(needsRoot)) && os.Getuid() != 0 {
				t.Skip("this page's commands need root")
			}
			run(t, root, page, blocks(t, page, string(text)))
		})
	}
}

// blocks returns the fenced blocks of a page in order.
func blocks(t *testing.T, page, text string) []block {
	t.Helper()
	var out []block
	var open *block
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open == nil:
			kind, file, _ := strings.Cut(strings.TrimSpace(fence), " ")
			open = &block{kind: kind, file: file, line: i + 2}
		case isFence:
			out = append(out, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: a block does not end", page, open.line)
	}
	return out
}

func run(t *testing.T, root, page string, all []block) {
	dir := t.TempDir()
	t.Cleanup(func() { endAll(t, dir) }) // before the directory goes
	env := append(os.Environ(),
		"PATH="+filepath.Join(root, "out")+":"+os.Getenv("PATH"),
		"EXAMPLES="+filepath.Join(root, "examples"),
		"XDG_RUNTIME_DIR="+shortDir(t))
	ran, printed := 0, ""
	for _, b := range all {
		switch b.kind {
		case "sh":
			printed = shell(t, page, b, dir, env)
			ran++
		case "output":
			expect(t, page, b, printed)
		case "yaml":
			if b.file == "" {
				continue // shown, not written
			}
			if err := os.WriteFile(filepath.Join(dir, b.file), []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if ran == 0 && filepath.Base(page) != "README.md" {
		t.Errorf("%s runs no command", page)
	}
}

// endAll ends what a page has started and not ended, as the machine of a page
// that fails: all that works in the page's directory.
func endAll(t *testing.T, dir string) {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Error(err)
	}
	for _, link := range links {
		if at, err := os.Readlink(link); err != nil || at != dir {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil {
			continue
		}
		if p, err := os.FindProcess(pid); err == nil {
			p.Kill() // it may have ended meanwhile
		}
	}
}

// shortDir is a directory for sockets, whose paths are limited to 107 bytes.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "g")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func shell(t *testing.T, page string, b block, dir string, env []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pageLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", b.text)
	cmd.Dir, cmd.Env = dir, env
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s:%d: %v\n%s\nprinted:\n%s", page, b.line, err, b.text, out)
	}
	t.Logf("%s:%d\n%s", filepath.Base(page), b.line, out)
	return string(out)
}

// expect looks for the block's lines, in order, in what was printed.
func expect(t *testing.T, page string, b block, printed string) {
	t.Helper()
	rest := strings.Split(printed, "\n")
	for i, want := range strings.Split(strings.TrimRight(b.text, "\n"), "\n") {
		if strings.TrimSpace(want) == "" || strings.TrimSpace(want) == "…" {
			continue
		}
		at := -1
		for j, line := range rest {
			if pattern(want).MatchString(line) {
				at = j
				break
			}
		}
		if at < 0 {
			t.Fatalf("%s:%d: not printed (or not in this order): %s\nprinted:\n%s", page, b.line+i, want, printed)
		}
		rest = rest[at+1:]
	}
}

// pattern turns a line into an expression: "…" is anything, runs of spaces are
// any number of spaces, because columns move.
func pattern(line string) *regexp.Regexp {
	var s strings.Builder
	for i, part := range strings.Split(strings.TrimSpace(line), "…") {
		if i > 0 {
			s.WriteString(".*")
		}
		words := strings.Fields(part)
		lead := strings.HasPrefix(part, " ") && i > 0
		for j, w := range words {
			if j > 0 || lead {
				s.WriteString(`\s+`)
			}
			s.WriteString(regexp.QuoteMeta(w))
		}
		if strings.HasSuffix(part, " ") && len(words) > 0 {
			s.WriteString(`\s*`)
		}
	}
	return regexp.MustCompile(fmt.Sprintf(`^\s*%s\s*$`, s.String()))
}

// The runner itself must be able to fail.
func TestPattern(t *testing.T) {
	for _, c := range []struct {
		want, line string
		ok         bool
	}{
		{"web  healthy  …", "web    healthy  3s  12", true},
		{"web  healthy", "web  unhealthy", false},
		{"… is valid: 1 containers …", "instar.yaml: machine x is valid: 1 containers in 2 configurations", true},
		{"a.b", "axb", false},
	} {
		if got := pattern(c.want).MatchString(c.line); got != c.ok {
			t.Errorf("pattern(%q) on %q: %v, want %v", c.want, c.line, got, c.ok)
		}
	}
}
