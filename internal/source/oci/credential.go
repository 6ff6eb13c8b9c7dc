package oci

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// errCredentials says that credentials are configured and cannot be had.
var errCredentials = errors.New("credentials cannot be had")

// authFile is docker's config.json, of which podman's auth.json is a subset
// (containers-auth.json(5)).
type authFile struct {
	Auths       map[string]authEntry `json:"auths"`
	CredHelpers map[string]string    `json:"credHelpers"`
	CredsStore  string               `json:"credsStore"`
}

type authEntry struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// maxAuthFile is the largest file of credentials in bytes.
const maxAuthFile = 4 << 20

// credential looks for a registry, or a part of it that holds the repository,
// in each file in turn. None is no error: many registries need none.
func credential(ctx context.Context, files []string, host, name string) (auth.Credential, error) {
	for _, file := range files {
		f, err := readAuthFile(file)
		if err == nil {
			var c auth.Credential
			if c, err = f.find(ctx, host, name); err == nil && c != auth.EmptyCredential {
				return c, nil
			}
		}
		if err != nil {
			return auth.EmptyCredential, fmt.Errorf("%w: %s: %w", errCredentials, file, err)
		}
	}
	return auth.EmptyCredential, nil
}

func readAuthFile(name string) (*authFile, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &authFile{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readLimited(f, maxAuthFile)
	if err != nil {
		return nil, err
	}
	var a authFile
	if len(strings.TrimSpace(string(b))) == 0 {
		return &a, nil
	}
	return &a, json.Unmarshal(b, &a)
}

// find goes from the repository up to the registry, then asks the helper of all
// registries.
func (f *authFile) find(ctx context.Context, host, name string) (auth.Credential, error) {
	address := credentials.ServerAddressFromHostname(host)
	for _, h := range []string{host, address} {
		if helper := f.CredHelpers[h]; helper != "" {
			return ask(ctx, helper, address)
		}
	}
	for key := host + "/" + name; ; {
		for k, e := range f.Auths {
			if k == key || key == host && plainHost(k) == plainHost(address) {
				if c, err := e.credential(); err != nil || c != auth.EmptyCredential {
					return c, err
				}
			}
		}
		i := strings.LastIndexByte(key, '/')
		if i < 0 {
			break
		}
		key = key[:i]
	}
	if f.CredsStore != "" {
		return ask(ctx, f.CredsStore, address)
	}
	return auth.EmptyCredential, nil
}

// plainHost is a registry without what docker writes around it: https://HOST/v1/.
func plainHost(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	for _, end := range []string{"/", "/v1", "/v2"} {
		key = strings.TrimSuffix(key, end)
	}
	return key
}

func (e authEntry) credential() (auth.Credential, error) {
	c := auth.Credential{Username: e.Username, Password: e.Password, RefreshToken: e.IdentityToken, AccessToken: e.RegistryToken}
	if e.Auth == "" {
		return c, nil
	}
	b, err := base64.StdEncoding.DecodeString(e.Auth)
	if err != nil {
		return c, fmt.Errorf("auth is no base64: %w", err)
	}
	user, password, ok := strings.Cut(strings.TrimRight(string(b), "\x00"), ":")
	if !ok {
		return c, errors.New("auth is not USER:PASSWORD")
	}
	c.Username, c.Password = user, password
	return c, nil
}

// helperName is what may follow docker-credential- in a program's name.
var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// ask runs docker-credential-HELPER.
func ask(ctx context.Context, helper, address string) (auth.Credential, error) {
	if !helperName.MatchString(helper) {
		return auth.EmptyCredential, fmt.Errorf("%q is no name of a credential helper", helper)
	}
	c, err := credentials.NewNativeStore(helper).Get(ctx, address)
	if err != nil {
		return c, fmt.Errorf("docker-credential-%s: %w", helper, err)
	}
	return c, nil
}
