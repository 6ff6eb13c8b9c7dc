package s3_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/source/nix/s3"
)

// The examples of "Authenticating Requests: Using the Authorization Header":
// GET Object, and GET Bucket Lifecycle and List Objects with parameters.
func TestSignExamples(t *testing.T) {
	c := s3.Credentials{Key: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for url, want := range map[string]string{
		"https://examplebucket.s3.amazonaws.com/test.txt":               "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
		"https://examplebucket.s3.amazonaws.com/?lifecycle":             "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
		"https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J":   "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
		"https://examplebucket.s3.amazonaws.com/?prefix=J&max-keys=2#x": "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
	} {
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(url, ".txt") {
			req.Header.Set("Range", "bytes=0-9")
		}
		req.Header.Set("User-Agent", "instar")
		s3.Sign(req, c, "us-east-1", at)
		if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for word, want := range map[string]string{
		"s3://nix-cache": "https://nix-cache.s3.us-east-1.amazonaws.com",
		"s3://nix-cache/a/b/?region=eu-west-1&compression=zstd":             "https://nix-cache.s3.eu-west-1.amazonaws.com/a/b",
		"s3://nix-cache?endpoint=127.0.0.1:9000&scheme=http&region=x":       "http://127.0.0.1:9000/nix-cache",
		"s3://nix-cache/p?endpoint=minio.example.org&profile=reader&region": "https://minio.example.org/nix-cache/p",
	} {
		b, err := s3.Parse(word)
		if err != nil || b.URL() != want {
			t.Errorf("%s: %s %v, want %s", word, b.URL(), err, want)
		}
	}
	for _, bad := range []string{"s3://", "s3://A", "s3://nix-cache?scheme=ftp", "s3://nix-cache?nonsense=1", "http://x", "s3://u:p@nix-cache"} {
		if _, err := s3.Parse(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestProfiles(t *testing.T) {
	all, err := s3.ParseProfiles("# c\n[default]\naws_access_key_id = a\naws_secret_access_key=b=\n\n[ci]\naws_access_key_id=c\naws_session_token = t\nregion = x\n")
	if err != nil {
		t.Fatal(err)
	}
	c := s3.Credentials{Profiles: all}
	for profile, key := range map[string]string{"": "a", "default": "a", "ci": "c"} {
		if got, err := c.For(profile); err != nil || got.Key != key {
			t.Errorf("%q: %v %v", profile, got.Key, err)
		}
	}
	if _, err := c.For("nobody"); err == nil {
		t.Error("a profile that is not there is found")
	}
	c.Key = "env"
	if got, _ := c.For(""); got.Key != "env" {
		t.Error("the environment does not come first")
	}
	for _, bad := range []string{"x", "a = b", "[x]\nnothing"} {
		if _, err := s3.ParseProfiles(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("s3://nix-cache/a?region=b&endpoint=c:9", "[default]\naws_access_key_id = a\n")
	f.Fuzz(func(t *testing.T, word, text string) {
		if b, err := s3.Parse(word); err == nil && strings.HasSuffix(b.URL(), "/") {
			t.Errorf("%s", b.URL())
		}
		s3.ParseProfiles(text)
	})
}
