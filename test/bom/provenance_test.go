package bom

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/trust"
)

// in-toto's own types take the statement, and openssl takes the signature.
func TestProvenance(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	k, err := trust.NewKey(strings.NewReader(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	key, statement := filepath.Join(dir, "key"), filepath.Join(dir, "statement.json")
	if err := os.WriteFile(key, k.File(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(root, "out/instar"), "-q", "-f", filepath.Join(root, "examples/greenhouse/instar.yaml"), "provenance", "make", "--key", key, "--to", statement)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(statement)
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		PayloadType, Payload string
		Signatures           []struct{ Sig string }
	}
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("openssl", func(t *testing.T) { openssl(t, dir, k, e.PayloadType, payload, e.Signatures[0].Sig) })
	t.Run("in-toto", func(t *testing.T) { attestation(t, dir, payload) })
}

func openssl(t *testing.T, dir string, k trust.Private, payloadType string, payload []byte, sig string) {
	public := k.Public()
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(public[:]))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(sig)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"public.pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "sig": raw,
		"message": fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "public.pem", "-in", "message", "-sigfile", "sig")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func attestation(t *testing.T, dir string, payload []byte) {
	program := filepath.Join(dir, "attestation")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "testdata/attestation"
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("in-toto's module is not to be had here: %v\n%s", err, out)
	}
	check := func(text []byte) ([]byte, error) {
		cmd := exec.Command(program)
		cmd.Stdin = bytes.NewReader(text)
		return cmd.CombinedOutput()
	}
	if out, err := check(payload); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, old := range []string{`"subject"`, `"builder"`, `"buildType"`} {
		if _, err := check(bytes.Replace(payload, []byte(old), []byte(`"other"`), 1)); err == nil {
			t.Errorf("a statement without %s is taken", old)
		}
	}
}
