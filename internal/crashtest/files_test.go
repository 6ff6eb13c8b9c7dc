package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/instar-os/instar/internal/crashtest"
)

func text(name string, n int) []byte { return bytes.Repeat([]byte(name+"\n"), n/(len(name)+1)+1)[:n] }

// noise is content that nothing compresses, always the same for a seed.
func noise(seed, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// oneOf reads a file and says which of the contents it has; absent is nil.
func oneOf(path string, contents map[string][]byte) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = nil, nil
	} else if b == nil {
		b = []byte{}
	}
	if err != nil {
		return "", err
	}
	for name, c := range contents {
		if bytes.Equal(b, c) && (b == nil) == (c == nil) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s is torn: %d bytes, beginning %.40q", filepath.Base(path), len(b), b)
}

// acknowledged fails when what was acknowledged is not what is there.
func acknowledged(s *crashtest.State, got string) (string, error) {
	if s.Has("new") && got != "new" {
		return "", fmt.Errorf("the new state was acknowledged and the %s one is there", got)
	}
	return got, nil
}

func fileScenarios() []*crashtest.Scenario {
	return []*crashtest.Scenario{writeFile(), writeNew(), severalWrites(), rename(), remove(), mkdirAll()}
}

func writeFile() *crashtest.Scenario {
	was, is := text("old", 1500), text("new", 2700)
	return &crashtest.Scenario{
		Name:  "durable: replace a file",
		Setup: func(e *crashtest.Env) error { return os.WriteFile(e.Dir+"/f", was, 0o644) },
		Run: func(e *crashtest.Env) error {
			if err := e.FS.WriteFile(e.Dir+"/f", 0o640, is); err != nil {
				return err
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			got, err := oneOf(s.Dir+"/f", map[string][]byte{"old": was, "new": is})
			if err != nil {
				return "", err
			}
			info, err := os.Stat(s.Dir + "/f")
			if want := map[string]fs.FileMode{"old": 0o644, "new": 0o640}[got]; err != nil || info.Mode() != want {
				return "", fmt.Errorf("the %s file has mode %v, %v", got, info.Mode(), err)
			}
			return acknowledged(s, got)
		},
	}
}

func writeNew() *crashtest.Scenario {
	is := text("new", 700)
	return &crashtest.Scenario{
		Name: "durable: a new file",
		Run: func(e *crashtest.Env) error {
			p, err := e.FS.Create(e.Dir, 0o644)
			if err != nil {
				return err
			}
			for _, part := range [][]byte{is[:100], is[100:600], is[600:]} {
				if _, err := p.Write(part); err != nil {
					return errors.Join(err, p.Abort())
				}
			}
			if err := p.Commit(e.Dir + "/f"); err != nil {
				return err
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			got, err := oneOf(s.Dir+"/f", map[string][]byte{"old": nil, "new": is})
			if err != nil {
				return "", err
			}
			return acknowledged(s, got)
		},
	}
}

// severalWrites replaces two files in turn, many times.
func severalWrites() *crashtest.Scenario {
	const rounds = 6
	content := func(f string, n int) []byte { return text(fmt.Sprintf("%s%d", f, n), 600+100*n) }
	return &crashtest.Scenario{
		Name: "durable: two files in turn",
		Run: func(e *crashtest.Env) error {
			for n := range rounds {
				for _, f := range []string{"a", "b"} {
					if was, err := os.ReadFile(e.Dir + "/" + f); err == nil && len(was) >= len(content(f, n)) {
						continue // it was cut later than this; what is there may not last yet
					}
					if err := e.FS.WriteFile(e.Dir+"/"+f, 0o600, content(f, n)); err != nil {
						return err
					}
					e.Ack("%s %d", f, n)
				}
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			found := map[string]int{}
			for _, f := range []string{"a", "b"} {
				all := map[string][]byte{"-1": nil}
				for n := range rounds {
					all[fmt.Sprint(n)] = content(f, n)
				}
				got, err := oneOf(s.Dir+"/"+f, all)
				if err != nil {
					return "", err
				}
				var n int
				if _, err := fmt.Sscan(got, &n); err != nil {
					return "", err
				}
				found[f] = n
			}
			last := map[string]int{"a": -1, "b": -1}
			for _, a := range s.Acked {
				var f string
				var n int
				if _, err := fmt.Sscanf(a, "%s %d", &f, &n); err != nil {
					continue
				}
				last[f] = n
			}
			for f, n := range found {
				if n < last[f] {
					return "", fmt.Errorf("%s was acknowledged in version %d and has %d", f, last[f], n)
				}
			}
			switch {
			case found["a"] == rounds-1 && found["b"] == rounds-1:
				return "new", nil
			case found["a"] == -1 && found["b"] == -1:
				return "old", nil
			}
			return "between", nil
		},
	}
}

func rename() *crashtest.Scenario {
	c := text("content", 900)
	return &crashtest.Scenario{
		Name: "durable: rename to another directory",
		Setup: func(e *crashtest.Env) error {
			if err := os.Mkdir(e.Dir+"/to", 0o755); err != nil {
				return err
			}
			if err := os.Mkdir(e.Dir+"/from", 0o755); err != nil {
				return err
			}
			return os.WriteFile(e.Dir+"/from/f", c, 0o644)
		},
		Run: func(e *crashtest.Env) error {
			err := e.FS.Rename(e.Dir+"/from/f", e.Dir+"/to/f")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err != nil { // it was cut after the rename
				if err := errors.Join(e.FS.SyncDir(e.Dir+"/to"), e.FS.SyncDir(e.Dir+"/from")); err != nil {
					return err
				}
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			from, err := oneOf(s.Dir+"/from/f", map[string][]byte{"no": nil, "yes": c})
			if err != nil {
				return "", err
			}
			to, err := oneOf(s.Dir+"/to/f", map[string][]byte{"no": nil, "yes": c})
			if err != nil {
				return "", err
			}
			switch from + to {
			case "nono":
				return "", errors.New("the file is lost")
			case "noyes":
				return "new", nil
			case "yesyes":
				return acknowledged(s, "between")
			}
			return acknowledged(s, "old")
		},
	}
}

func remove() *crashtest.Scenario {
	c := text("content", 900)
	return &crashtest.Scenario{
		Name:  "durable: remove",
		Setup: func(e *crashtest.Env) error { return os.WriteFile(e.Dir+"/f", c, 0o644) },
		Run: func(e *crashtest.Env) error {
			if err := e.FS.Remove(e.Dir + "/f"); err != nil {
				return err
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			got, err := oneOf(s.Dir+"/f", map[string][]byte{"new": nil, "old": c})
			if err != nil {
				return "", err
			}
			return acknowledged(s, got)
		},
	}
}

func mkdirAll() *crashtest.Scenario {
	c := text("content", 300)
	return &crashtest.Scenario{
		Name: "durable: directories, and a file in them",
		Run: func(e *crashtest.Env) error {
			dir := e.Dir + "/a/b/c"
			if err := e.FS.MkdirAll(dir, 0o777); err != nil {
				return err
			}
			e.Ack("directories")
			if err := e.FS.WriteFile(dir+"/f", 0o644, c); err != nil {
				return err
			}
			e.Ack("new")
			return nil
		},
		Check: func(s *crashtest.State) (string, error) {
			got, err := oneOf(s.Dir+"/a/b/c/f", map[string][]byte{"old": nil, "new": c})
			if err != nil {
				return "", err
			}
			for _, d := range []string{"a", "a/b", "a/b/c"} {
				info, err := os.Stat(filepath.Join(s.Dir, d))
				if err != nil && s.Has("directories") {
					return "", fmt.Errorf("an acknowledged directory is lost: %w", err)
				}
				if err == nil && s.Has("directories") && info.Mode().Perm() != 0o777 {
					return "", fmt.Errorf("%s has mode %v", d, info.Mode())
				}
			}
			return acknowledged(s, got)
		},
	}
}
