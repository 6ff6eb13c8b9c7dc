// Package s3 reads buckets of Amazon's S3 and of servers like it: addresses as
// Nix writes them, and requests signed with Signature Version 4.
//
// Sources: the Nix manual, "S3 Binary Cache Store"; "Amazon Simple Storage
// Service API Reference", "Authenticating Requests: Using the Authorization
// Header"; "AWS General Reference", "Signing AWS API requests".
package s3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Bucket is where objects are.
type Bucket struct {
	Name     string
	Prefix   string // of all keys, without slashes around it
	Region   string
	Endpoint string // HOST[:PORT] of a server that is not Amazon's; "" for Amazon
	Scheme   string // https or http
	Profile  string // of the credentials' file; "" for default
}

// bucketName is what a bucket may be called.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// Parse reads s3://BUCKET[/PREFIX][?region=…&endpoint=…&scheme=…&profile=…].
// Parameters that only matter to a Nix that writes are accepted and ignored.
func Parse(s string) (Bucket, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "s3" || u.User != nil || u.Fragment != "" {
		return Bucket{}, fmt.Errorf("%q is not s3://BUCKET?region=REGION", s)
	}
	if !bucketName.MatchString(u.Host) {
		return Bucket{}, fmt.Errorf("%q: %q is no name of a bucket", s, u.Host)
	}
	b := Bucket{Name: u.Host, Prefix: strings.Trim(u.Path, "/"), Region: "us-east-1", Scheme: "https"}
	for key, all := range u.Query() {
		val := all[len(all)-1]
		switch key {
		case "region":
			b.Region = val
		case "endpoint":
			b.Endpoint = val
		case "scheme":
			b.Scheme = val
		case "profile":
			b.Profile = val
		case "compression", "parallel-compression", "secret-key", "multipart-upload", "buffer-size", "priority", "trusted", "want-mass-query", "write-nar-listing":
		default:
			return Bucket{}, fmt.Errorf("%q: parameter %q is not known", s, key)
		}
	}
	if !slices.Contains([]string{"http", "https"}, b.Scheme) {
		return Bucket{}, fmt.Errorf("%q: scheme %q is neither http nor https", s, b.Scheme)
	}
	return b, nil
}

// URL returns the address of the bucket's keys, without a slash at its end.
// Servers that are not Amazon's have the bucket in the path.
func (b Bucket) URL() string {
	u := url.URL{Scheme: b.Scheme, Host: b.Name + ".s3." + b.Region + ".amazonaws.com", Path: "/" + b.Prefix}
	if b.Endpoint != "" {
		u.Host, u.Path = b.Endpoint, "/"+b.Name+"/"+b.Prefix
	}
	return strings.TrimSuffix(u.String(), "/")
}

// Credentials of one who may read; the zero value is nobody, whose requests are
// not signed.
type Credentials struct {
	Key, Secret string
	Session     string                 // of temporary credentials
	Profiles    map[string]Credentials // by name, from a file
}

// For returns the credentials of a profile: of that name in the file, or
// without a name those of the environment, then "default" of the file.
func (c Credentials) For(profile string) (Credentials, error) {
	if profile == "" {
		if c.Key != "" {
			return c, nil
		}
		return c.Profiles["default"], nil
	}
	p, ok := c.Profiles[profile]
	if !ok {
		return c, fmt.Errorf("the credentials have no profile %q", profile)
	}
	return p, nil
}

// maxProfiles bounds a credentials' file.
const maxProfiles = 1000

// ParseProfiles reads a credentials' file: sections in brackets, KEY = VALUE.
func ParseProfiles(text string) (map[string]Credentials, error) {
	out := map[string]Credentials{}
	name := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' && strings.HasSuffix(line, "]") {
			name = strings.TrimSpace(line[1 : len(line)-1])
			if len(out) == maxProfiles {
				return nil, fmt.Errorf("credentials: more than %d profiles", maxProfiles)
			}
			out[name] = Credentials{}
			continue
		}
		key, val, ok := strings.Cut(line, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("credentials: line %d is neither [PROFILE] nor KEY = VALUE", i+1)
		}
		c := out[name]
		switch val = strings.TrimSpace(val); strings.TrimSpace(key) {
		case "aws_access_key_id":
			c.Key = val
		case "aws_secret_access_key":
			c.Secret = val
		case "aws_session_token":
			c.Session = val
		}
		out[name] = c
	}
	return out, nil
}

// Transport signs every request before Base sends it.
type Transport struct {
	Bucket      Bucket
	Credentials Credentials
	Base        http.RoundTripper
	Now         func() time.Time // nil: time.Now
}

// RoundTrip sends a signed copy of the request, unsigned without credentials.
// A body cannot be signed: S3 is only read.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	c, err := t.Credentials.For(t.Bucket.Profile)
	if err != nil {
		return nil, err
	}
	if req.Body != nil && req.Body != http.NoBody {
		return nil, errors.New("S3: a request with a body")
	}
	if c.Key == "" {
		return t.Base.RoundTrip(req)
	}
	now := time.Now
	if t.Now != nil {
		now = t.Now
	}
	req = req.Clone(req.Context())
	Sign(req, c, t.Bucket.Region, now())
	return t.Base.RoundTrip(req)
}

// emptyHash is the SHA-256 of no bytes, the body of every request that reads.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// stamp is the form of times.
const stamp = "20060102T150405Z"

// Sign puts the headers of Signature Version 4 on a request without a body. It
// signs host, x-amz-* and range.
func Sign(req *http.Request, c Credentials, region string, now time.Time) {
	at := now.UTC().Format(stamp)
	req.Header.Set("X-Amz-Date", at)
	req.Header.Set("X-Amz-Content-Sha256", emptyHash)
	if c.Session != "" {
		req.Header.Set("X-Amz-Security-Token", c.Session)
	}
	names, canonical := canonicalRequest(req)
	scope := at[:8] + "/" + region + "/s3/aws4_request"
	sum := sha256.Sum256([]byte(canonical))
	toSign := "AWS4-HMAC-SHA256\n" + at + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + c.Secret)
	for _, part := range strings.Split(scope, "/") {
		key = mac(key, part)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.Key+"/"+scope+
		",SignedHeaders="+names+",Signature="+hex.EncodeToString(mac(key, toSign)))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// canonicalRequest returns the names of the signed headers and the text that is
// hashed and signed.
func canonicalRequest(req *http.Request) (names, text string) {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	headers := map[string]string{"host": host}
	for name, values := range req.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") || name == "range" {
			headers[name] = strings.TrimSpace(strings.Join(values, ","))
		}
	}
	all := make([]string, 0, len(headers))
	for name := range headers {
		all = append(all, name)
	}
	slices.Sort(all)
	var lines strings.Builder
	for _, name := range all {
		lines.WriteString(name + ":" + headers[name] + "\n")
	}
	names = strings.Join(all, ";")
	path := escape(req.URL.Path, true)
	if path == "" {
		path = "/"
	}
	return names, strings.Join([]string{req.Method, path, query(req.URL.Query()), lines.String(), names, emptyHash}, "\n")
}

// query writes parameters in the order of their escaped names and values.
func query(q url.Values) string {
	var all []string
	for name, values := range q {
		for _, v := range values {
			all = append(all, escape(name, false)+"="+escape(v, false))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "&")
}

// escape writes all but the unreserved characters of RFC 3986 as %XX.
func escape(s string, slash bool) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 || slash && c == '/' {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
