package effects_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/dpkg"
	"github.com/instar-os/instar/internal/source/dpkg/dpkgtest"
	"github.com/instar-os/instar/internal/source/dpkg/effects"
	"github.com/instar-os/instar/internal/tree"
)

// more are packages besides the benchmark's list whose scripts must be explained.
const more = `busybox-static dropbear-bin e2fsprogs libext2fs2t64 nginx nginx-common kmod linux-base initramfs-tools
	initramfs-tools-core libglib2.0-0t64 libibverbs1 klibc-utils systemd-boot-efi`

// heavy ones are left out of short runs.
const heavy = `linux-image-cloud-amd64 linux-image-6.12.107+deb13-cloud-amd64 ovmf qemu-efi-aarch64 qemu-system-arm qemu-system-x86`

const epoch = 1_750_000_000

// system is the list of the benchmark with more packages, unpacked once for all tests.
type system struct {
	objects *dpkgtest.Memory
	pkgs    []*dpkg.Package
}

var unpackOnce = sync.OnceValue(func() *system { return &system{objects: &dpkgtest.Memory{}} })

func realSystem(t *testing.T) *system {
	t.Helper()
	if testing.Short() {
		t.Skip("160 archives")
	}
	s := unpackOnce()
	if s.pkgs != nil {
		return s
	}
	archives := dpkgtest.Archives(t, slices.Concat(dpkgtest.Size145(), strings.Fields(more))...)
	pkgs, err := dpkg.UnpackAll(t.Context(), s.objects, nil, archives, 2)
	if err != nil {
		t.Fatal(err)
	}
	s.pkgs = pkgs
	return s
}

// apply merges the packages and does their effects.
func (s *system) apply(t *testing.T, pkgs []*dpkg.Package) (*tree.Tree, effects.Report) {
	t.Helper()
	tr, err := dpkg.Merge(pkgs)
	if err != nil {
		t.Fatal(err)
	}
	users, err := effects.Users(s.objects, pkgs, lock.Users{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := effects.Apply(t.Context(), s.objects, tr, pkgs, &users, effects.Options{Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	return tr, r
}

// TestNothingUnexplained: the rules know every command of these packages.
func TestNothingUnexplained(t *testing.T) {
	s := realSystem(t)
	scripts := 0
	for _, p := range s.pkgs {
		scripts += len(p.Scripts)
		for _, o := range effects.Explain(p) {
			t.Errorf("%s %s:\n\t%s", p, o.Name, strings.Join(o.Effects, "\n\t"))
		}
	}
	if scripts < 80 {
		t.Errorf("only %d scripts were read", scripts)
	}
}

func TestHeavyUnexplained(t *testing.T) {
	if os.Getenv("INSTAR_HEAVY") == "" {
		t.Skip("INSTAR_HEAVY: downloads and unpacks 80 MB of packages for QEMU and the kernel")
	}
	pkgs, err := dpkg.UnpackAll(t.Context(), &dpkgtest.Memory{}, nil, dpkgtest.Archives(t, strings.Fields(heavy)...), 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pkgs {
		for _, o := range effects.Explain(p) {
			t.Errorf("%s %s:\n\t%s", p, o.Name, strings.Join(o.Effects, "\n\t"))
		}
	}
}

// TestApplyReal checks what matters of a whole system's effects, and that the
// order of packages changes nothing.
func TestApplyReal(t *testing.T) {
	s := realSystem(t)
	tr, report := s.apply(t, s.pkgs)
	for _, w := range report.Warnings {
		t.Errorf("warning: %s", w)
	}
	reversed := slices.Clone(s.pkgs)
	slices.Reverse(reversed)
	again, _ := s.apply(t, reversed)
	if tr.Len() != again.Len() {
		t.Errorf("%d entries in one order, %d in the other", tr.Len(), again.Len())
	}
	for p, e := range tr.All() {
		if o, _ := again.Get(p); !o.Equal(e) {
			t.Errorf("%s: %+v in one order, %+v in the other", p, e, o)
		}
		if strings.Contains(p, "ssh_host_") || strings.HasPrefix(p, "etc/ssl/private/") {
			t.Errorf("%s is a secret", p)
		}
	}
	for p, want := range map[string]string{
		"etc/alternatives/awk": "/usr/bin/mawk", "usr/bin/awk": "/etc/alternatives/awk", "usr/bin/pager": "/etc/alternatives/pager",
		"usr/sbin/rmt": "/etc/alternatives/rmt", "etc/localtime": "/usr/share/zoneinfo/Etc/UTC", "var/run": "/run", "var/spool/mail": "../mail",
		"etc/systemd/system/multi-user.target.wants/mosquitto.service": "/usr/lib/systemd/system/mosquitto.service",
		"etc/systemd/system/getty.target.wants/getty@tty1.service":     "/usr/lib/systemd/system/getty@.service",
		"etc/systemd/system/sshd.service":                              "/usr/lib/systemd/system/ssh.service",
		"etc/nginx/sites-enabled/default":                              "/etc/nginx/sites-available/default",
		"etc/dpkg/origins/default":                                     "debian",
		"etc/ssl/certs/ISRG_Root_X1.pem":                               "/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt",
		"etc/ssl/certs/4042bcee.0":                                     "ISRG_Root_X1.pem",
	} {
		if e, _ := tr.Get(p); e.Kind != tree.Symlink || e.Target != want {
			t.Errorf("/%s is %v to %q, want a link to %q", p, e.Kind, e.Target, want)
		}
	}
	for p, want := range map[string]uint16{"root/.bashrc": 0o644, "etc/profile": 0o644, "etc/nsswitch.conf": 0o644, "etc/ssh/sshd_config": 0o644,
		"etc/shadow": 0o640, "usr/bin/ssh-agent": 0o2755, "usr/lib/dbus-1.0/dbus-daemon-launch-helper": 0o4754, "etc/chrony/chrony.keys": 0o640,
		"etc/machine-id": 0o444, "var/mail": 0o2775, "var/log/wtmp": 0o664, "var/tmp": 0o1777, "var/log/nginx/access.log": 0o640} {
		if e, ok := tr.Stat(p); !ok || e.Mode != want {
			t.Errorf("/%s has mode %04o, want %04o", p, e.Mode, want)
		}
	}
	for _, p := range []string{"etc/systemd/system/sysinit.target.wants/nftables.service", "etc/systemd/system/multi-user.target.wants/chrony-wait.service"} {
		if _, ok := tr.Get(p); ok {
			t.Errorf("/%s: a unit that Debian leaves off is on", p)
		}
	}
	for p, want := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/bash\n", "etc/group": "shadow:x:42:\n", "etc/shadow": "root:*:20254:0:99999:7:::\n",
		"etc/pam.d/common-session":  "block)\nsession\t[default=1]\t\t\tpam_permit.so\n",
		"etc/pam.d/common-account":  "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so\n",
		"etc/pam.d/common-password": "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n",
		"etc/pam.d/common-auth":     "auth\t[success=1 default=ignore]\tpam_unix.so nullok\n", "etc/shells": "/usr/bin/bash\n",
		"etc/hosts.allow": "#", "etc/hosts": "127.0.0.1\tlocalhost\n",
	} {
		if b := s.content(t, tr, p); !strings.Contains(b, want) {
			t.Errorf("/%s has no %q:\n%s", p, want, b)
		}
	}
	if e, _ := tr.Stat("var/lib/mosquitto"); e.UID == 0 {
		t.Error("/var/lib/mosquitto belongs to root")
	}
}

func (s *system) content(t *testing.T, tr *tree.Tree, p string) string {
	t.Helper()
	e, ok := tr.Stat(p)
	if !ok || e.Kind != tree.File {
		t.Errorf("/%s is no file", p)
		return ""
	}
	if e.Size == 0 {
		return ""
	}
	b, err := s.objects.Bytes(e.Digest, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// extract writes the parts of a tree that a pattern keeps to disk.
func (s *system) extract(t *testing.T, tr *tree.Tree, keep func(p string, e tree.Entry) bool) string {
	t.Helper()
	dir := t.TempDir()
	for p, e := range tr.All() {
		to := filepath.Join(dir, p)
		var err error
		switch {
		case e.Kind == tree.Dir:
			err = os.MkdirAll(to, 0o755)
		case !keep(p, e):
		case e.Kind == tree.Symlink:
			err = os.Symlink(e.Target, to)
		case e.Kind == tree.File || e.Kind == tree.Hardlink:
			err = os.WriteFile(to, []byte(s.content(t, tr, p)), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestLdCacheAgainstLdconfig compares with what the host's ldconfig makes of the
// same tree.
func TestLdCacheAgainstLdconfig(t *testing.T) {
	ldconfig, err := exec.LookPath("ldconfig")
	if err != nil {
		t.Skip("ldconfig")
	}
	s := realSystem(t)
	tr, _ := s.apply(t, s.pkgs)
	dir := s.extract(t, tr, func(p string, e tree.Entry) bool {
		return strings.HasPrefix(p, "etc/ld.so") || strings.Contains(p, ".so") || e.Kind == tree.Symlink && !strings.Contains(p, "/")
	})
	ours := listCache(t, ldconfig, dir)
	if out, err := exec.Command(ldconfig, "-X", "-r", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	theirs := listCache(t, ldconfig, dir)
	if ours != theirs {
		have, want := strings.Split(ours, "\n"), strings.Split(theirs, "\n")
		for _, l := range have {
			if !slices.Contains(want, l) {
				t.Errorf("ours alone: %s", l)
			}
		}
		for _, l := range want {
			if !slices.Contains(have, l) {
				t.Errorf("ldconfig's alone: %s", l)
			}
		}
		t.Error("the caches differ")
	}
}

func listCache(t *testing.T, ldconfig, dir string) string {
	t.Helper()
	out, err := exec.Command(ldconfig, "-r", dir, "-p").Output()
	if err != nil {
		t.Fatal(err)
	}
	all, _, _ := bytes.Cut(out, []byte("Cache generated by"))
	return string(all)
}

// TestCertificatesAgainstTool compares the bundle and the links by hash with
// what update-ca-certificates and openssl make of the same certificates.
func TestCertificatesAgainstTool(t *testing.T) {
	for _, tool := range []string{"update-ca-certificates", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool)
		}
	}
	s := realSystem(t)
	tr, _ := s.apply(t, s.pkgs)
	dir := s.extract(t, tr, func(p string, e tree.Entry) bool {
		return strings.HasPrefix(p, "usr/share/ca-certificates/") || p == "etc/ca-certificates.conf"
	})
	cmd := exec.Command("update-ca-certificates", "--certsconf", dir+"/etc/ca-certificates.conf", "--certsdir", dir+"/usr/share/ca-certificates",
		"--localcertsdir", dir+"/none", "--etccertsdir", dir+"/etc/ssl/certs", "--hooksdir", "")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want, err := os.ReadFile(dir + "/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.content(t, tr, "etc/ssl/certs/ca-certificates.crt"); got != string(want) {
		t.Errorf("the bundle has %d bytes, update-ca-certificates made %d", len(got), len(want))
	}
	names, err := os.ReadDir(dir + "/etc/ssl/certs")
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]bool{}
	for _, n := range names {
		made[n.Name()] = true
		target, err := os.Readlink(filepath.Join(dir, "etc/ssl/certs", n.Name()))
		if err != nil {
			continue
		}
		e, _ := tr.Get("etc/ssl/certs/" + n.Name())
		if e.Target != strings.TrimPrefix(target, dir) {
			t.Errorf("%s: link to %q, want %q", n.Name(), e.Target, target)
		}
	}
	for _, n := range tr.Children("etc/ssl/certs") {
		if !made[n] {
			t.Errorf("%s: update-ca-certificates makes no such link", n)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	objects := &dpkgtest.Memory{}
	pkgs, err := dpkg.UnpackAll(b.Context(), objects, nil, dpkgtest.Archives(b, dpkgtest.Size145()...), 2)
	if err != nil {
		b.Fatal(err)
	}
	users, err := effects.Users(objects, pkgs, lock.Users{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		tr, err := dpkg.Merge(pkgs)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := effects.Apply(b.Context(), objects, tr, pkgs, &users, effects.Options{Epoch: epoch}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestForeignArchitecture: nothing of the host is used, so another architecture
// is no different.
func TestForeignArchitecture(t *testing.T) {
	s := &system{objects: &dpkgtest.Memory{}}
	var err error
	s.pkgs, err = dpkg.UnpackAll(t.Context(), s.objects, nil, dpkgtest.ArchivesOf(t, "arm64", "base-files", "base-passwd", "libc6", "libc-bin", "mawk", "zlib1g"), 2)
	if err != nil {
		t.Fatal(err)
	}
	tr, report := s.apply(t, s.pkgs)
	if len(report.Warnings) > 0 {
		t.Errorf("warnings: %q", report.Warnings)
	}
	if _, ok := tr.Get("lib64"); ok {
		t.Error("arm64 has a /lib64")
	}
	cache := s.content(t, tr, "etc/ld.so.cache")
	if !strings.HasPrefix(cache, "glibc-ld.so.cache1.1") || !strings.Contains(cache, "\x00/lib/aarch64-linux-gnu/libz.so.1\x00") ||
		!strings.Contains(cache, "\x03\x0a\x00\x00") {
		t.Errorf("ld.so.cache: %q", cache)
	}
	if got, ok := tr.Resolve("lib/ld-linux-aarch64.so.1"); !ok || got != "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1" {
		t.Errorf("the loader is %s", got)
	}
}
