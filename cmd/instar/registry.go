package main

import (
	"net/http"
	"os"
	"path/filepath"

	"github.com/instar-os/instar/internal/source/oci"
)

// registryTransport returns a transport of HTTP that knows registries as well,
// with the credentials and certificates that podman and docker use on this host.
func registryTransport() (http.RoundTripper, *oci.Registries) {
	base := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if d, ok := http.DefaultTransport.(*http.Transport); ok {
		base = d.Clone()
	}
	r := &oci.Registries{Base: base.Clone(), AuthFiles: authFiles(), CertDirs: []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}}
	if dir, err := os.UserConfigDir(); err == nil {
		r.CertDirs = append([]string{filepath.Join(dir, "containers/certs.d")}, r.CertDirs...)
	}
	base.RegisterProtocol(oci.Scheme, r)
	return base, r
}

// authFiles are the files with credentials, in podman's order and then docker's.
func authFiles() []string {
	if f := os.Getenv("REGISTRY_AUTH_FILE"); f != "" {
		return []string{f}
	}
	var out []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		out = append(out, filepath.Join(dir, "containers/auth.json"))
	}
	if dir, err := os.UserConfigDir(); err == nil {
		out = append(out, filepath.Join(dir, "containers/auth.json"))
	}
	docker := os.Getenv("DOCKER_CONFIG")
	if docker == "" {
		if home, err := os.UserHomeDir(); err == nil {
			docker = filepath.Join(home, ".docker")
		}
	}
	return append(out, filepath.Join(docker, "config.json"))
}
