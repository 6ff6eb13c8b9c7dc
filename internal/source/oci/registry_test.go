package oci

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/source/fetch"
	"github.com/instar-os/instar/internal/source/oci/ocitest"
	"github.com/instar-os/instar/internal/tree"
)

// client returns a fetch client whose transport knows registries.
func client(t *testing.T, r *Registries) *fetch.Client {
	t.Helper()
	r.Base = &http.Transport{}
	base := &http.Transport{}
	base.RegisterProtocol(Scheme, r)
	return &fetch.Client{Dir: t.TempDir(), HTTP: &http.Client{Transport: base}, Attempts: 3}
}

func pull(t *testing.T, f *fetch.Client, name string) (*tree.Tree, error) {
	t.Helper()
	ref, err := ParseReference(name)
	if err != nil {
		return nil, err
	}
	r := &Remote{Ref: ref, Fetch: f}
	top, err := r.Resolve(t.Context())
	if err != nil {
		return nil, err
	}
	img, err := Choose(t.Context(), r, top, "amd64")
	if err != nil {
		return nil, err
	}
	return img.Read(t.Context(), r, ReadOptions{Objects: openStore(t), Parallel: 2})
}

// certificate writes an authority that is its own server for 127.0.0.1.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	return write("ca.crt", "CERTIFICATE", der), write("server.pem", "PRIVATE KEY", private)
}

// debianRegistry runs Debian's docker-registry with TLS and a user, user:secret.
func debianRegistry(t *testing.T) (host, ca string) {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("needs docker-registry")
	}
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("needs skopeo")
	}
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = l.Addr().String()
	l.Close()
	// bcrypt of "secret"
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("user:"+bcryptSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\n"+
		"http: {addr: %q, tls: {certificate: %s, key: %s}}\nauth: {htpasswd: {realm: test, path: %s}}\n", filepath.Join(dir, "data"), host, cert, key, users)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 600 {
		if c, err := net.Dial("tcp", host); err == nil {
			c.Close()
			return host, cert
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("docker-registry does not listen after a minute")
	return "", ""
}

const bcryptSecret = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"

func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

func authJSON(t *testing.T, v ocitest.Map) []string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "auth.json")
	if err := os.WriteFile(p, ocitest.JSON(t, v), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{filepath.Join(t.TempDir(), "absent.json"), p}
}

func TestDebianRegistry(t *testing.T) {
	host, ca := debianRegistry(t)
	layout := filepath.Join(t.TempDir(), "layout")
	ocitest.Layout(t, layout, ocitest.Image{Tag: "1", Compression: "gzip", Layers: twoLayers(t)})
	name := host + "/team/panel:1"
	if out, err := exec.Command("skopeo", "--insecure-policy", "copy", "--dest-cert-dir", filepath.Dir(ca), "--dest-creds", "user:secret",
		"oci:"+layout+":1", "docker://"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]Registry{host: {CA: pem}}
	good := authJSON(t, ocitest.Map{"auths": ocitest.Map{host: ocitest.Map{"auth": basic("user", "secret")}}})
	// The helper is a program of that name on PATH.
	bin := t.TempDir()
	helper := "#!/bin/sh\nread h\necho '{\"ServerURL\": \"'$h'\", \"Username\": \"user\", \"Secret\": \"secret\"}'\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-own"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	certs := t.TempDir()
	if err := os.MkdirAll(filepath.Join(certs, host), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(certs, host, "own.crt"), pem, 0o644); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		r     *Registries
		known map[string]Registry
		want  string // in the error; "" for none
	}{
		"auth of the registry":     {&Registries{AuthFiles: good}, known, ""},
		"auth of a part of it":     {&Registries{AuthFiles: authJSON(t, ocitest.Map{"auths": ocitest.Map{host + "/team": ocitest.Map{"auth": basic("user", "secret")}, host: ocitest.Map{"auth": basic("x", "y")}}})}, known, ""},
		"docker's way of writing":  {&Registries{AuthFiles: authJSON(t, ocitest.Map{"auths": ocitest.Map{"https://" + host + "/v1/": ocitest.Map{"username": "user", "password": "secret"}}})}, known, ""},
		"helper of the registry":   {&Registries{AuthFiles: authJSON(t, ocitest.Map{"credHelpers": ocitest.Map{host: "own"}})}, known, ""},
		"helper of all registries": {&Registries{AuthFiles: authJSON(t, ocitest.Map{"credsStore": "own"})}, known, ""},
		"authority of the host":    {&Registries{AuthFiles: good, CertDirs: []string{certs}}, nil, ""},
		"no credentials":           {&Registries{}, known, "wants a user and password"},
		"wrong credentials":        {&Registries{AuthFiles: authJSON(t, ocitest.Map{"auths": ocitest.Map{host: ocitest.Map{"auth": basic("user", "x")}}})}, known, "401 Unauthorized"},
		"no such helper":           {&Registries{AuthFiles: authJSON(t, ocitest.Map{"credsStore": "absent"})}, known, "docker-credential-absent"},
		"a helper elsewhere":       {&Registries{AuthFiles: authJSON(t, ocitest.Map{"credsStore": "../own"})}, known, "no name of a credential helper"},
		"unknown authority":        {&Registries{AuthFiles: good}, nil, "certificate"},
	} {
		f := client(t, c.r)
		c.r.Use(c.known)
		got, err := pull(t, f, name)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", what, err)
		case c.want == "" && paths(got) != wantPaths:
			t.Errorf("%s: %s", what, paths(got))
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q", what, err, c.want)
		}
	}
}

// fake is a registry that wants tokens, cuts answers and fails on demand.
type fake struct {
	*httptest.Server
	blobs  map[string][]byte
	tags   map[string]string // NAME:TAG to digest
	prefix string            // of every repository
	token  bool
	cut    int64 // of the first answer with a blob, bytes that are sent

	mu     sync.Mutex
	asked  []string
	ranges []string
	tokens int
}

func newFake(t *testing.T, tag string, img ocitest.Image) *fake {
	t.Helper()
	top, blobs := img.Encode(t)
	f := &fake{blobs: blobs, tags: map[string]string{tag: top["digest"].(string)}}
	f.start(t)
	return f
}

func (f *fake) start(t *testing.T) {
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
}

func (f *fake) host() string { return strings.TrimPrefix(f.URL, "http://") }

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.URL.Path == "/token" {
		f.tokens++
		if user, password, _ := r.BasicAuth(); user != "user" || password != "secret" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"token": "T" + r.URL.Query().Get("scope")})
		return
	}
	f.asked = append(f.asked, r.URL.Path)
	name, rest, _ := splitPath(r.URL.Path)
	if f.token && r.Header.Get("Authorization") != "Bearer Trepository:"+name+":pull" {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="s",scope="repository:%s:pull"`, f.URL, name))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name, ok := strings.CutPrefix(name, f.prefix)
	kind, what, _ := strings.Cut(rest, "/")
	if kind == "manifests" && !strings.HasPrefix(what, "sha256:") {
		what = f.tags[name+":"+what]
	}
	b, found := f.blobs[what]
	if !ok || !found {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if kind == "blobs" {
		f.ranges = append(f.ranges, r.Header.Get("Range"))
		if f.cut > 0 && int64(len(b)) > f.cut {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			w.Write(b[:f.cut])
			f.cut = 0
			panic(http.ErrAbortHandler)
		}
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(b)))
}

func plain(f ...*fake) map[string]Registry {
	out := map[string]Registry{}
	for _, x := range f {
		out[x.host()] = Registry{Plain: true}
	}
	return out
}

func TestToken(t *testing.T) {
	f := newFake(t, "panel:latest", ocitest.Image{Compression: "gzip", Layers: twoLayers(t)})
	f.token = true
	r := &Registries{AuthFiles: authJSON(t, ocitest.Map{"auths": ocitest.Map{f.host(): ocitest.Map{"auth": basic("user", "secret")}}})}
	c := client(t, r)
	r.Use(plain(f))
	got, err := pull(t, c, f.host()+"/panel")
	if err != nil || paths(got) != wantPaths {
		t.Fatalf("%v", err)
	}
	if f.tokens != 1 {
		t.Errorf("%d tokens were asked for, want one for all requests", f.tokens)
	}
	r = &Registries{AuthFiles: authJSON(t, ocitest.Map{"auths": ocitest.Map{f.host(): ocitest.Map{"auth": basic("user", "wrong")}}})}
	c = client(t, r)
	r.Use(plain(f))
	if _, err := pull(t, c, f.host()+"/panel"); err == nil || !strings.Contains(err.Error(), "401 Unauthorized") || !strings.Contains(err.Error(), "403") {
		t.Errorf("wrong password: %v", err)
	}
}

// A transfer that is cut goes on where it was.
func TestResume(t *testing.T) {
	layers := [][]byte{ocitest.Tar(t, ocitest.File("a", strings.Repeat("0123456789", 50_000)))}
	f := newFake(t, "panel:1", ocitest.Image{Layers: layers})
	f.cut = 100_000
	r := &Registries{}
	c := client(t, r)
	r.Use(plain(f))
	if _, err := pull(t, c, f.host()+"/panel:1"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.ranges, ","); !strings.Contains(got, "bytes=") {
		t.Errorf("ranges that were asked for: %q", got)
	}
}

func TestMirrors(t *testing.T) {
	img := ocitest.Image{Layers: twoLayers(t)}
	origin, mirror, empty := newFake(t, "panel:1", img), newFake(t, "panel:1", img), newFake(t, "other:1", ocitest.Image{})
	mirror.prefix = "hub/"
	use := func(mirrors ...string) (*fetch.Client, string) {
		r := &Registries{}
		c := client(t, r)
		known := plain(origin, mirror, empty)
		known[origin.host()] = Registry{Plain: true, Mirrors: mirrors}
		r.Use(known)
		return c, origin.host() + "/panel:1"
	}
	// One mirror is unreachable, one has nothing, the third has all.
	c, name := use("127.0.0.1:1", empty.host(), mirror.host()+"/hub")
	if got, err := pull(t, c, name); err != nil || paths(got) != wantPaths {
		t.Fatal(err)
	}
	if len(origin.asked) != 0 || len(mirror.asked) == 0 || len(empty.asked) == 0 {
		t.Errorf("asked: origin %q, mirror %q, empty %q", origin.asked, mirror.asked, empty.asked)
	}
	// Without a mirror that has it, the registry itself is asked.
	c, name = use(empty.host())
	if got, err := pull(t, c, name); err != nil || paths(got) != wantPaths {
		t.Fatal(err)
	}
	if len(origin.asked) == 0 {
		t.Error("the registry itself was not asked")
	}
	// What is in the cache is found without a network, by tag and by digest.
	c.Offline = true
	origin.Close()
	for _, n := range []string{name, strings.TrimSuffix(name, ":1") + "@" + origin.tags["panel:1"]} {
		if got, err := pull(t, c, n); err != nil || paths(got) != wantPaths {
			t.Errorf("offline, %s: %v", n, err)
		}
	}
}

// A registry cannot give another manifest than the digest names.
func TestLyingRegistry(t *testing.T) {
	f := newFake(t, "panel:1", ocitest.Image{Layers: twoLayers(t)})
	want := f.tags["panel:1"]
	f.blobs[want] = append(f.blobs[want], ' ')
	r := &Registries{}
	c := client(t, r)
	r.Use(plain(f))
	if _, err := pull(t, c, f.host()+"/panel@"+want); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("error %v", err)
	}
}

func TestReferences(t *testing.T) {
	sum := strings.Repeat("a", 64)
	for s, want := range map[string]Reference{
		"registry.example.org/a/b":               {Host: "registry.example.org", Path: "a/b", Tag: "latest"},
		"registry.example.org:5000/a:1.2":        {Host: "registry.example.org:5000", Path: "a", Tag: "1.2"},
		"registry.example.org/a@sha256:" + sum:   {Host: "registry.example.org", Path: "a", SHA256: sum},
		"registry.example.org/a:1@sha256:" + sum: {Host: "registry.example.org", Path: "a", SHA256: sum},
	} {
		want.Name = s
		if got, err := ParseReference(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"a", "registry.example.org/", "registry.example.org/A:1", "registry.example.org/a@sha256:x", "registry.example.org/../a"} {
		if got, err := ParseReference(s); err == nil {
			t.Errorf("%s is read as %+v", s, got)
		}
	}
}
