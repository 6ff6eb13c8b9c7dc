package effects_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/source/dpkg/dpkgtest"
	"github.com/instar-os/instar/internal/source/dpkg/effects"
	"github.com/instar-os/instar/internal/tree"
)

type item = dpkgtest.Item

// made unpacks a package with a postinst, lines after "#!/bin/sh".
func made(t testing.TB, objects *dpkgtest.Memory, name, postinst string, items ...item) *dpkg.Package {
	t.Helper()
	var scripts []item
	if postinst != "" {
		scripts = []item{{Name: "./postinst", Body: "#!/bin/sh\n" + postinst}}
	}
	deb := dpkgtest.Deb("Package: "+name+"\nVersion: 1", scripts, items...)
	p, err := dpkg.Unpack(t.Context(), objects, bytes.NewReader(deb), int64(len(deb)), dpkgtest.Pin(name, "1", deb), 1)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// dump lists what the effects left beyond the layout, in short lines.
func dump(t testing.TB, objects *dpkgtest.Memory, tr *tree.Tree, prefix string) string {
	var lines []string
	for p, e := range tr.All() {
		if !strings.HasPrefix(p, prefix) {
			continue
		}
		l := fmt.Sprintf("%s %04o %d:%d", p, e.Mode, e.UID, e.GID)
		switch e.Kind {
		case tree.Symlink:
			l = p + " -> " + e.Target
		case tree.File:
			b, _ := objects.Bytes(e.Digest, 1<<20)
			l += fmt.Sprintf(" %q", b)
		}
		lines = append(lines, l)
	}
	return strings.Join(lines, "\n")
}

func apply(t testing.TB, objects *dpkgtest.Memory, have lock.Users, pkgs ...*dpkg.Package) (*tree.Tree, effects.Report, error) {
	t.Helper()
	tr, err := dpkg.Merge(pkgs)
	if err != nil {
		t.Fatal(err)
	}
	users, err := effects.Users(objects, pkgs, have)
	if err != nil {
		return nil, effects.Report{}, err
	}
	r, err := effects.Apply(t.Context(), objects, tr, pkgs, &users, effects.Options{Epoch: 86400})
	return tr, r, err
}

// TestScripts: what a script leaves below /x, and what of it is unexplained.
func TestScripts(t *testing.T) {
	for name, c := range map[string]struct {
		script, tree, open string
	}{
		"files":              {"mkdir -p /x/a\necho hi > /x/a/f\nln -s f /x/a/l\nchmod 600 /x/a/f\nchown root:42 /x/a/f", "x 0755 0:0\nx/a 0755 0:0\nx/a/f 0600 0:42 \"hi\\n\"\nx/a/l -> f", ""},
		"here-document":      {"A=b\ncat > /x <<E\n$A\nE", "x 0644 0:0 \"b\\n\"", ""},
		"fresh installation": {"if [ \"$1\" = configure ] && [ -z \"$2\" ]; then touch /x; else rm -rf /usr; fi", "x 0644 0:0 \"\"", ""},
		"upgrade only":       {"if [ -n \"$2\" ]; then evil; fi\nif dpkg --compare-versions \"$2\" lt-nl 3; then evil; fi", "", ""},
		"old versions too":   {"if dpkg --compare-versions \"$2\" lt 3; then touch /x; fi", "x 0644 0:0 \"\"", ""},
		"case":               {"case \"$1\" in\n configure|x) touch /x;;\n abort*) evil;;\n *) exit 1;;\nesac", "x 0644 0:0 \"\"", ""},
		"exit":               {"touch /x\nexit 0\nevil", "x 0644 0:0 \"\"", ""},
		"return":             {"f() { return 0; evil; }\nf\ntouch /x", "x 0644 0:0 \"\"", ""},
		"function arguments": {"f() { for i in \"$@\"; do touch \"/x$i\"; done; shift; touch /xx$1; }\nf 1 2", "x1 0644 0:0 \"\"\nx2 0644 0:0 \"\"\nxx2 0644 0:0 \"\"", ""},
		"tree decides":       {"if [ -d /usr ]; then touch /x1; fi\n[ -e /none ] || touch /x2\nif which no-such >/dev/null; then touch /x3; fi", "x1 0644 0:0 \"\"\nx2 0644 0:0 \"\"", ""},
		"loop":               {"for d in a b; do\n [ $d = a ] || continue\n mkdir /x$d\ndone", "xa 0755 0:0", ""},
		"unknown command":    {"frobnicate --all /x\ntouch /x", "x 0644 0:0 \"\"", "frobnicate --all /x"},
		"unknown condition":  {"if grep -q foo /etc/fstab; then touch /x; fi", "", "touch /x (under a condition that nothing here decides)"},
		"unknown removal":    {"grep -q foo /etc/fstab && rm -f /etc/fstab", "", "rm -f /etc/fstab (under a condition that nothing here decides)"},
		"and, or":            {"[ \"$1\" = x ] && evil\nfalse && evil || touch /x\ntrue || evil", "x 0644 0:0 \"\"", ""},
		"unknown word":       {"touch /x/$(head -c 4 /dev/urandom)", "", "touch /x/$(head -c 4 /dev/urandom)"},
		"in a substitution":  {"A=$(frob; echo 1)", "", "frob"},
		"in a pipeline":      {"echo a | frob | cat", "", "frob"},
		"sed -i":             {"sed -i s/a/b/ /etc/fstab", "", "sed -i s/a/b/ /etc/fstab"},
		"eval":               {"eval \"$X\"", "", "eval"},
		"source":             {". /etc/thing", "", ". /etc/thing"},
		"output elsewhere":   {"grep a /etc/b > /x", "", "grep a /etc/b > /x"},
		"capability":         {"setcap cap_net_raw+ep /bin/ping", "", "setcap cap_net_raw+ep /bin/ping"},
		"odd symbolic mode":  {"touch /x\nchmod u+s /x", "x 0644 0:0 \"\"", "chmod u+s /x"},
		"endless":            {"f() { f; }\nf", "", "the rest: functions call each other without end"},
		"growing word":       {"x=1\nfor i in " + strings.Repeat("a ", 64) + "; do x=$x$x; done\ntouch /y", "", ""},
		"growing arguments":  {"f() { [ -z \"$x\" ] || return 0; f \"$@\" \"$@\"; }\nf 1", "", "the rest: functions call each other without end"},
		"no shell":           {"", "", ""},
		"syntax":             {"if", "", "all of it: cannot be read: line 3: the script ends too early"},
	} {
		objects := &dpkgtest.Memory{}
		p := made(t, objects, "a", c.script+"\n")
		var open []string
		for _, s := range effects.Explain(p) {
			open = append(open, s.Effects...)
			if s.Name != "postinst" || len(s.SHA256) != 64 {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if got := strings.Join(open, "\n"); got != c.open {
			t.Errorf("%s: unexplained\n%s\nwant\n%s", name, got, c.open)
		}
		tr, _, err := apply(t, objects, lock.Users{}, p)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := dump(t, objects, tr, "x"); got != c.tree {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.tree)
		}
	}
	objects := &dpkgtest.Memory{}
	p := made(t, objects, "a", "x")
	p.Scripts["postinst"] = "#!/usr/bin/perl\nunlink;"
	if s := effects.Explain(p); len(s) != 1 || !strings.Contains(s[0].Effects[0], "is no shell script") {
		t.Errorf("a perl script: %+v", s)
	}
}

func TestUsers(t *testing.T) {
	objects := &dpkgtest.Memory{}
	a := made(t, objects, "a", "adduser --system --group --home /var/lib/a --comment 'An A' zed\ngetent group q || groupadd -r q\nadduser zed q\nuseradd -r -u 77 -g 42 -d /h -s /bin/sh fixed",
		item{Name: "usr/lib/sysusers.d/a.conf", Body: "# users\nu beta - \"B b\" /b -\ng gamma -\nm beta gamma\nu delta 150:gamma\n"})
	users, err := effects.Users(objects, []*dpkg.Package{a}, lock.Users{UIDs: map[string]uint32{"old": 100, "zed": 105}, GIDs: map[string]uint32{"zed": 105}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(users), "{map[beta:101 old:100 zed:105] map[beta:101 gamma:102 q:103 zed:105]}"; got != want {
		t.Errorf("numbers %s, want %s", got, want)
	}
	tr, _, err := apply(t, objects, users, a)
	if err != nil {
		t.Fatal(err)
	}
	got := dump(t, objects, tr, "etc/passwd") + "\n" + dump(t, objects, tr, "etc/group") + "\n" + dump(t, objects, tr, "var/lib/a")
	want := `etc/passwd 0644 0:0 "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n` +
		`beta:x:101:101:B b:/b:/usr/sbin/nologin\ndelta:x:150:102::/:/usr/sbin/nologin\nfixed:x:77:42::/h:/bin/sh\nzed:x:105:105:An A:/var/lib/a:/usr/sbin/nologin\n"` + "\n" +
		`etc/group 0644 0:0 "root:x:0:\nshadow:x:42:\nnogroup:x:65534:\nbeta:x:101:\ngamma:x:102:beta\nq:x:103:zed\nzed:x:105:\n"` + "\n" +
		`var/lib/a 0755 105:0`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, bad := range []string{"u a:b -", "x y -", "u \"a -", "m a b/c"} {
		p := made(t, objects, "b", "", item{Name: "usr/lib/sysusers.d/b.conf", Body: bad})
		if _, err := effects.Users(objects, []*dpkg.Package{p}, lock.Users{}); err == nil || !strings.Contains(err.Error(), "package b 1 amd64: sysusers.d line 1") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	full := lock.Users{UIDs: map[string]uint32{}}
	for n := uint32(100); n < 1000; n++ {
		full.UIDs[fmt.Sprint("u", n)] = n
	}
	if _, err := effects.Users(objects, []*dpkg.Package{a}, full); err == nil || !strings.Contains(err.Error(), "no number from 100 to 999 is left for beta, which a 1 amd64 asks for") {
		t.Errorf("a full range: %v", err)
	}
}

func TestTreeEffects(t *testing.T) {
	objects := &dpkgtest.Memory{}
	exe := func(name string) item { return item{Name: name, Body: "x", Mode: 0o755} }
	a := made(t, objects, "a", "update-alternatives --install /usr/bin/tool tool /usr/bin/tool.a 10 --slave /usr/share/man/man1/tool.1.gz tool.1.gz /usr/share/man/man1/a.1.gz\n"+
		"deb-systemd-helper enable on.service off.service 't@one.service'\nsystemctl daemon-reload\ndpkg-statoverride --update --add root 42 4750 /usr/bin/tool.a",
		exe("usr/bin/tool.a"), item{Name: "usr/share/man/man1/a.1.gz"},
		item{Name: "usr/lib/systemd/system/on.service", Body: "[Install]\nWantedBy=multi-user.target\nAlias=other.service\nAlso=also.socket\n"},
		item{Name: "usr/lib/systemd/system/also.socket", Body: "[Unit]\nWantedBy=no.target\n[Install]\nRequiredBy=x.target \\\n y.target\n"},
		item{Name: "usr/lib/systemd/system/off.service", Body: "[Install]\nWantedBy=multi-user.target\n"},
		item{Name: "usr/lib/systemd/system/t@.service", Body: "[Install]\nWantedBy=multi-user.target\n"},
		item{Name: "usr/lib/systemd/system-preset/50-a.preset", Body: "disable off.*\ndisable *\n"},
		item{Name: "usr/lib/tmpfiles.d/a.conf", Body: "d /var/y/z 0750 root 42 -\nL /var/y/l - - - - ../q\nf /var/y/f 0600 - - - con tent\nd /run/a 0755 - -\nd! /var/boot\nz /var/y/f 0640\nd /var/%b\n"})
	b := made(t, objects, "b", "update-alternatives --quiet --install /usr/bin/tool tool /usr/bin/tool.b 20 --slave /usr/share/man/man1/tool.1.gz tool.1.gz /none\n"+
		"update-alternatives --install /usr/bin/tool tool /usr/bin/absent 90", exe("usr/bin/tool.b"))
	for _, p := range []*dpkg.Package{a, b} {
		if open := effects.Explain(p); open != nil {
			t.Errorf("%s: %+v", p, open)
		}
	}
	tr, report, err := apply(t, objects, lock.Users{}, b, a)
	if err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string]string{
		"usr/bin/tool":          "usr/bin/tool -> /etc/alternatives/tool\nusr/bin/tool.a 4750 0:42 \"x\"\nusr/bin/tool.b 0755 0:0 \"x\"",
		"etc/alternatives/tool": "etc/alternatives/tool -> /usr/bin/tool.b",
		"etc/systemd/system/": "etc/systemd/system/multi-user.target.wants 0755 0:0\n" +
			"etc/systemd/system/multi-user.target.wants/on.service -> /usr/lib/systemd/system/on.service\n" +
			"etc/systemd/system/multi-user.target.wants/t@one.service -> /usr/lib/systemd/system/t@.service\n" +
			"etc/systemd/system/other.service -> /usr/lib/systemd/system/on.service\n" +
			"etc/systemd/system/x.target.requires 0755 0:0\netc/systemd/system/x.target.requires/also.socket -> /usr/lib/systemd/system/also.socket\n" +
			"etc/systemd/system/y.target.requires 0755 0:0\netc/systemd/system/y.target.requires/also.socket -> /usr/lib/systemd/system/also.socket",
		"var/y": "var/y 0755 0:0\nvar/y/f 0640 0:0 \"con tent\"\nvar/y/l -> ../q\nvar/y/z 0750 0:42",
		"var/b": "",
	} {
		if got := dump(t, objects, tr, prefix); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", prefix, got, want)
		}
	}
	if want := []string{"d /run/a 0755 - -"}; !slices.Equal(report.Runtime, want) {
		t.Errorf("left to the start: %q, want %q", report.Runtime, want)
	}
	if len(report.Warnings) > 0 {
		t.Errorf("warnings: %q", report.Warnings)
	}
}

func TestSecretsStayOut(t *testing.T) {
	objects := &dpkgtest.Memory{}
	p := made(t, objects, "a", "ssh-keygen -q -f /etc/ssh/ssh_host_rsa_key -N ''", item{Name: "etc/ssl/private/ssl-cert-snakeoil.key", Body: "key", Mode: 0o600})
	tr, report, err := apply(t, objects, lock.Users{}, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := tr.Get("etc/ssl/private/ssl-cert-snakeoil.key"); ok || len(report.Warnings) != 1 {
		t.Errorf("a key is in the tree; warnings %q", report.Warnings)
	}
	if _, ok := tr.Get("etc/ssh/ssh_host_rsa_key"); ok {
		t.Error("a host key was made")
	}
}

func TestMissingNumber(t *testing.T) {
	objects := &dpkgtest.Memory{}
	p := made(t, objects, "a", "adduser --system zed")
	tr, err := dpkg.Merge([]*dpkg.Package{p})
	if err != nil {
		t.Fatal(err)
	}
	_, err = effects.Apply(t.Context(), objects, tr, []*dpkg.Package{p}, &lock.Users{}, effects.Options{})
	if err == nil || !strings.Contains(err.Error(), "user zed of a 1 amd64 has no number in the lock") {
		t.Errorf("error %v", err)
	}
}

// FuzzEffects gives arbitrary scripts and declarations to everything that reads them.
func FuzzEffects(f *testing.F) {
	f.Add("for i in a \"$@\"; do adduser --system $i; x=${i:-$(cat)}; done", "u a - \"x\"", "d /a 0755 root root")
	f.Add("cat > /a <<E\n$x\nE\nmkdir -m 700 /b; cp /a /b; mv /a /c; ln -sf . /d; rm -rf /; install -d -o root /q", "m a b", "L /a - - - - b")
	f.Fuzz(func(t *testing.T, script, users, tmpfiles string) {
		objects := &dpkgtest.Memory{}
		p := made(t, objects, "a", script, item{Name: "usr/lib/sysusers.d/a.conf", Body: users},
			item{Name: "usr/lib/tmpfiles.d/a.conf", Body: tmpfiles}, item{Name: "usr/lib/systemd/system/a.service", Body: tmpfiles})
		effects.Explain(p)
		if tr, _, err := apply(t, objects, lock.Users{}, p); err == nil {
			if err := tr.Check(); err != nil {
				t.Error(err)
			}
		}
	})
}
