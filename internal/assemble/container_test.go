package assemble

import (
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/tree"
)

// tiny is the smallest ELF file that debug/elf takes: a header without
// sections or segments.
func tiny(machine elf.Machine) string {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[16:], uint16(elf.ET_EXEC))
	binary.LittleEndian.PutUint16(b[18:], uint16(machine))
	binary.LittleEndian.PutUint32(b[20:], 1)
	binary.LittleEndian.PutUint16(b[52:], 64)
	binary.LittleEndian.PutUint16(b[54:], 56)
	binary.LittleEndian.PutUint16(b[58:], 64)
	return string(b)
}

// plant makes a tree of files: a path, and behind a space an octal mode, to a
// content; "->" makes a symlink.
func plant(t *testing.T, b *Builder, files map[string]string) *tree.Tree {
	t.Helper()
	out := tree.New()
	for name, body := range files {
		p, mode, _ := strings.Cut(name, " ")
		e := tree.Entry{Kind: tree.File, Mode: 0o644, Size: int64(len(body)), Owner: "test"}
		if mode == "x" {
			e.Mode = 0o755
		}
		if target, ok := strings.CutPrefix(body, "->"); ok {
			e = tree.Entry{Kind: tree.Symlink, Mode: 0o777, Target: target, Owner: "test"}
		} else if body != "" {
			d, err := b.Store.PutBytes([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			e.Digest = d
		}
		if err := out.Put(p, e); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestPrograms(t *testing.T) {
	b := newWorld(t).b
	amd64, arm64 := tiny(elf.EM_X86_64), tiny(elf.EM_AARCH64)
	for _, c := range []struct {
		name    string
		files   map[string]string
		program string
		want    string // in the error; "" for none
	}{
		{"static", map[string]string{"app x": amd64}, "/app", ""},
		{"behind links", map[string]string{"usr/bin/app x": amd64, "bin": "->usr/bin"}, "/bin/app", ""},
		{"absent", map[string]string{"usr/bin/app x": amd64}, "/app", "/app is in none of its trees; there is /usr/bin/app (of test)"},
		{"not executable", map[string]string{"app": amd64}, "/app", "not executable: mode 0644"},
		{"empty", map[string]string{"app x": ""}, "/app", "is empty"},
		{"a directory", map[string]string{"app/x": "x"}, "/app", "/app is a dir"},
		{"another architecture", map[string]string{"app x": arm64}, "/app", "EM_AARCH64, the machine is amd64"},
		{"no program", map[string]string{"app x": "hello"}, "/app", "neither a script nor an ELF executable"},
		{"script", map[string]string{"app x": "#!/bin/sh -e\n", "bin/sh x": amd64}, "/app", ""},
		{"script without interpreter", map[string]string{"app x": "#!/bin/sh\n"}, "/app", "interpreter of /app: /bin/sh is in none"},
		{"script that is its own", map[string]string{"app x": "#!/app\n"}, "/app", "no usable interpreter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := b.checkProgram(plant(t, b, c.files), c.program, "amd64", 0)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestAccounts(t *testing.T) {
	b := newWorld(t).b
	root := plant(t, b, map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:120:130:App:/var/lib/app:/bin/false\nbroken line\nbad:x:y:z::/:\n",
		"etc/group":  "root:x:0:\napp:x:130:\nmedia:x:44:app,other\ngpio:x:97:other\n",
	})
	a, err := readAccounts(b.Store, root)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spec string
		want account
		bad  string
	}{
		{"app", account{"app", 120, 130, "/var/lib/app"}, ""},
		{"0", account{"root", 0, 0, "/root"}, ""},
		{"120", account{"app", 120, 130, "/var/lib/app"}, ""},
		{"120:44", account{"app", 120, 44, "/var/lib/app"}, ""},
		{"650:651", account{"650", 650, 651, "/"}, ""},
		{"nobody", account{}, `has no "nobody"; it has app, root`},
		{"1:x", account{}, "not a group number"},
	} {
		got, err := a.user(c.spec)
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("user %q: %v, want %q", c.spec, err, c.bad)
			}
		} else if err != nil || got != c.want {
			t.Errorf("user %q: %+v, %v; want %+v", c.spec, got, err, c.want)
		}
	}
	u, _ := a.user("app")
	if got, err := a.groups(u, nil); err != nil || !slices.Equal(got, []uint32{44}) {
		t.Errorf("groups of app: %v, %v; want media's", got, err)
	}
	if got, err := a.groups(u, []string{"gpio", "7", "gpio"}); err != nil || !slices.Equal(got, []uint32{7, 97}) {
		t.Errorf("declared groups: %v, %v", got, err)
	}
	if _, err := a.groups(u, []string{"nope"}); err == nil {
		t.Error("an unknown group is accepted")
	}
}

func TestStartOrder(t *testing.T) {
	after := func(pairs ...string) map[string]system.Container {
		out := map[string]system.Container{}
		for _, p := range pairs {
			name, deps, _ := strings.Cut(p, "<")
			out[name] = system.Container{Name: name, After: strings.Fields(strings.ReplaceAll(deps, ",", " "))}
		}
		return out
	}
	for _, c := range []struct{ containers, want string }{
		{"c b a", "a b c"},
		{"a<c b c", "b c a"},
		{"a<b b<c c", "c b a"},
		{"a<elsewhere b", "a b"},
		{"a<b b<a", ""},
	} {
		set := after(strings.Fields(c.containers)...)
		var names []string
		for n := range set {
			names = append(names, n)
		}
		got, err := startOrder(names, set)
		if strings.Join(got, " ") != c.want && err == nil {
			t.Errorf("%s: %v, want %s", c.containers, got, c.want)
		}
		if (err != nil) != (c.want == "") {
			t.Errorf("%s: error %v", c.containers, err)
		}
	}
}

func TestDifference(t *testing.T) {
	one := &system.Manifest{Machine: "a", Default: "x"}
	two := &system.Manifest{Machine: "a", Default: "y"}
	if got := Difference(one, two); !strings.Contains(got, `"default": "x", | "default": "y",`) || strings.Count(got, "\n") != 0 {
		t.Errorf("difference: %q", got)
	}
	if got := Difference(one, one); got != "" {
		t.Errorf("difference of equals: %q", got)
	}
}
