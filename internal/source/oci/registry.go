package oci

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/instar-os/instar/internal/source/fetch"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Scheme is the scheme of addresses within registries: oci://HOST/v2/NAME/blobs/….
// How a host is spoken to, and by which mirrors, is no part of an address, so
// that a lock and a vendor directory do not depend on it.
const Scheme = "oci"

// Registry is how one registry is reached.
type Registry struct {
	Mirrors []string // HOST[:PORT][/PATH], asked in order before the registry itself
	CA      []byte   // PEM of authorities beside the system's
	Plain   bool     // HTTP without TLS
}

// Registries answers requests for addresses of Scheme. Register it with an
// http.Transport (RegisterProtocol), and everything that downloads by HTTP, with
// its retries, resumption and verification, downloads from registries.
type Registries struct {
	Base      *http.Transport // proxies and time-outs; cloned, never used itself
	AuthFiles []string        // podman's auth.json, docker's config.json, the first that knows a registry counts
	CertDirs  []string        // directories as /etc/containers/certs.d

	mu      sync.Mutex
	known   map[string]Registry
	clients map[string]*auth.Client // by HOST/NAME: credentials may be a repository's own
}

// Use sets how registries are reached, by HOST[:PORT].
func (r *Registries) Use(known map[string]Registry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.clients = known, nil
}

// endpoint is one place that may have what is asked for.
type endpoint struct{ host, prefix string }

// RoundTrip implements http.RoundTripper. Mirrors that fail are passed over;
// the last answer is the registry's own.
func (r *Registries) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	for _, e := range r.mirrors(req) {
		resp, err := r.ask(req, e)
		if err == nil && resp.StatusCode < 400 {
			return resp, nil
		}
		if err == nil {
			resp.Body.Close()
		}
	}
	return r.ask(req, endpoint{host: req.URL.Host})
}

// mirrors are asked for what is there; nothing is sent to them.
func (r *Registries) mirrors(req *http.Request) []endpoint {
	if req.Method != http.MethodGet {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []endpoint
	for _, m := range r.known[req.URL.Host].Mirrors {
		h, prefix, _ := strings.Cut(m, "/")
		all = append(all, endpoint{h, prefix})
	}
	return all
}

// ask sends a request to one place.
func (r *Registries) ask(req *http.Request, e endpoint) (*http.Response, error) {
	name, rest, ok := splitPath(req.URL.Path)
	if !ok {
		return nil, fmt.Errorf("%s: no address within a registry", req.URL)
	}
	if e.prefix != "" {
		name = e.prefix + "/" + name
	}
	client, plain, err := r.client(e.host, name)
	if err != nil {
		return nil, err
	}
	actions := []string{auth.ActionPull}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		actions = append(actions, auth.ActionPush)
	}
	out := req.Clone(auth.WithScopesForHost(req.Context(), e.host, auth.ScopeRepository(name, actions...)))
	out.URL.Scheme, out.URL.Host, out.Host = "https", e.host, e.host
	if plain {
		out.URL.Scheme = "http"
	}
	out.URL.Path, out.URL.RawPath = "/v2/"+name+"/"+rest, ""
	if strings.HasPrefix(rest, "manifests/") && req.Method == http.MethodGet {
		out.Header.Set("Accept", strings.Join(manifestTypes, ", "))
	}
	resp, err := client.Do(out)
	if denied := denial(err); denied != "" {
		// An answer, unlike an error, is not asked for again and again.
		return &http.Response{StatusCode: http.StatusUnauthorized, Status: "401 Unauthorized: " + denied, Proto: "HTTP/1.1",
			ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
	}
	return resp, err
}

// denial returns why credentials did not do, "" for any other error.
func denial(err error) string {
	var answer *errcode.ErrorResponse
	switch {
	case err == nil:
		return ""
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return "the registry wants a user and password, and no configuration file has them; podman login or docker login writes one"
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return answer.Error()
	case errors.Is(err, errCredentials):
		return err.Error()
	}
	return ""
}

// splitPath takes /v2/NAME/(blobs|manifests|…)/REST apart.
func splitPath(p string) (name, rest string, ok bool) {
	p, ok = strings.CutPrefix(p, "/v2/")
	if !ok {
		return "", "", false
	}
	for _, part := range []string{"/blobs/", "/manifests/", "/tags/", "/referrers/"} {
		if i := strings.LastIndex(p, part); i > 0 {
			return p[:i], p[i+1:], true
		}
	}
	return "", "", false
}

// client returns the client for a repository and whether it speaks without TLS.
func (r *Registries) client(host, name string) (*auth.Client, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known[host]
	key := host + "/" + name
	if c := r.clients[key]; c != nil {
		return c, known.Plain, nil
	}
	t, err := r.transport(host, known)
	if err != nil {
		return nil, false, err
	}
	c := &auth.Client{
		Client: &http.Client{Transport: t}, Cache: auth.NewCache(), ClientID: "instar",
		Credential: func(ctx context.Context, asked string) (auth.Credential, error) {
			if asked != host {
				return auth.EmptyCredential, nil
			}
			return credential(ctx, r.AuthFiles, host, name)
		},
	}
	if r.clients == nil {
		r.clients = map[string]*auth.Client{}
	}
	r.clients[key] = c
	return c, known.Plain, nil
}

func (r *Registries) transport(host string, known Registry) (*http.Transport, error) {
	t := r.Base.Clone()
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	pems := [][]byte{}
	if len(known.CA) > 0 {
		pems = append(pems, known.CA)
	}
	for _, dir := range r.CertDirs {
		cas, pairs, err := readCertDir(filepath.Join(dir, host))
		if err != nil {
			return nil, fmt.Errorf("certificates of registry %s: %w", host, err)
		}
		pems = append(pems, cas...)
		config.Certificates = append(config.Certificates, pairs...)
	}
	if len(pems) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		for _, pem := range pems {
			if !pool.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("certificates of registry %s: a file holds no certificate in PEM", host)
			}
		}
		config.RootCAs = pool
	}
	t.TLSClientConfig = config
	return t, nil
}

// readCertDir reads *.crt, authorities, and *.cert with *.key, which this host
// shows (containers-certs.d(5)). A directory that is not there has none.
func readCertDir(dir string) (cas [][]byte, pairs []tls.Certificate, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(files)
	for _, f := range files {
		switch filepath.Ext(f) {
		case ".crt":
			b, err := os.ReadFile(f)
			if err != nil {
				return nil, nil, err
			}
			cas = append(cas, b)
		case ".cert":
			pair, err := tls.LoadX509KeyPair(f, strings.TrimSuffix(f, ".cert")+".key")
			if err != nil {
				return nil, nil, err
			}
			pairs = append(pairs, pair)
		}
	}
	return cas, pairs, nil
}

// Remote is a repository of a registry. It implements Place.
type Remote struct {
	Ref   Reference
	Fetch *fetch.Client // whose transport knows Registries
}

// Resolve says which manifest the reference names now.
func (r *Remote) Resolve(ctx context.Context) (Descriptor, error) {
	if sum := r.Ref.SHA256; sum != "" {
		path, err := r.Fetch.Get(ctx, fetch.Request{URL: r.Ref.Manifest(sum), SHA256: sum, What: r.Ref.Name})
		if err != nil {
			return Descriptor{}, err
		}
		st, err := os.Stat(path)
		if err != nil {
			return Descriptor{}, err
		}
		return ManifestOf(sum, st.Size()), nil
	}
	b, err := r.Fetch.GetFresh(ctx, r.Ref.Tagged(), maxManifest)
	if err != nil {
		return Descriptor{}, err
	}
	sum := sha256.Sum256(b)
	return ManifestOf(hex.EncodeToString(sum[:]), int64(len(b))), nil
}

// Open implements Place.
func (r *Remote) Open(ctx context.Context, d Descriptor) (io.ReadCloser, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	path, err := r.Fetch.Get(ctx, r.Ref.Request(d))
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}
