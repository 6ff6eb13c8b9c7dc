package effects

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/tree"
)

const (
	certSource = "usr/share/ca-certificates"
	certDir    = "/etc/ssl/certs"
)

// certificates does what update-ca-certificates does in a fresh tree: every
// certificate of the packages and of /usr/local is enabled, named in
// /etc/ca-certificates.conf, linked from /etc/ssl/certs by its name and by the
// hash of its subject, and part of one bundle, byte for byte.
func certificates(w *world) error {
	if !w.has("usr/sbin/update-ca-certificates") {
		return nil
	}
	w.owner = "CA bundle"
	var names, local []string
	for p, e := range w.tree.All() {
		if rest, ok := strings.CutPrefix(p, certSource+"/"); ok && e.Kind != tree.Dir && strings.HasSuffix(p, ".crt") {
			names = append(names, rest)
		}
		if rest, ok := strings.CutPrefix(p, "usr/local/share/ca-certificates/"); ok && e.Kind != tree.Dir && strings.HasSuffix(p, ".crt") {
			local = append(local, rest)
		}
	}
	slices.Sort(names)
	slices.Sort(local)
	if err := w.write("etc/ca-certificates.conf", []byte(strings.Join(names, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	var links []certLink
	for _, n := range names {
		links = append(links, certLink{"/" + certSource + "/" + n, pemName(n)})
	}
	for _, n := range local {
		links = append(links, certLink{"/usr/local/share/ca-certificates/" + n, pemName(n)})
	}
	return w.linkCerts(links)
}

type certLink struct{ file, name string }

// pemName is the link's name: spaces and commas become "_", brackets "=".
func pemName(p string) string {
	base := strings.TrimSuffix(path.Base(p), ".crt")
	return strings.NewReplacer(" ", "_", ",", "_", "(", "=", ")", "=").Replace(base) + ".pem"
}

func (w *world) linkCerts(links []certLink) error {
	var bundle bytes.Buffer
	content := map[string][]byte{}
	for _, l := range links {
		b, err := w.read(l.file)
		if err != nil {
			return err
		}
		content[l.name] = b
		bundle.Write(b)
		if len(b) > 0 && b[len(b)-1] != '\n' {
			bundle.WriteByte('\n')
		}
		if err := w.symlink(l.file, certDir+"/"+l.name); err != nil {
			return err
		}
	}
	hashes := map[uint32]int{}
	for _, name := range sortedKeys(content) {
		hash, err := subjectHash(content[name])
		if err != nil {
			w.warn("%s: %v", name, err)
			continue
		}
		if err := w.symlink(name, fmt.Sprintf("%s/%08x.%d", certDir, hash, hashes[hash])); err != nil {
			return err
		}
		hashes[hash]++
	}
	w.report.done("%d CA certificates", len(links))
	return w.write(certDir+"/ca-certificates.crt", bundle.Bytes(), 0o644)
}

// subjectHash is OpenSSL's X509_NAME_hash: the first four bytes, little endian,
// of the SHA-1 of the subject's canonical encoding.
func subjectHash(file []byte) (uint32, error) {
	block, _ := pem.Decode(file)
	if block == nil {
		return 0, fmt.Errorf("no certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return 0, err
	}
	canon, err := canonicalName(cert.RawSubject)
	if err != nil {
		return 0, err
	}
	sum := sha1.Sum(canon)
	return binary.LittleEndian.Uint32(sum[:]), nil
}

// attribute is AttributeTypeAndValue of RFC 5280.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// canonicalName encodes a name as OpenSSL compares names: each set of
// attributes on its own, strings as UTF8String in lower case with single spaces
// and none at the ends.
func canonicalName(raw []byte) ([]byte, error) {
	var sets []asn1.RawValue
	if _, err := asn1.Unmarshal(raw, &sets); err != nil {
		return nil, err
	}
	var out []byte
	for _, set := range sets {
		var attrs []attribute
		if _, err := asn1.UnmarshalWithParams(set.FullBytes, &attrs, "set"); err != nil {
			return nil, err
		}
		var body []byte
		for _, a := range attrs {
			if text, ok := asn1Text(a.Value); ok {
				a.Value = asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(text)}
			}
			b, err := asn1.Marshal(a)
			if err != nil {
				return nil, err
			}
			body = append(body, b...)
		}
		b, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: body})
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

// asn1Text returns a string value in canonical form.
func asn1Text(v asn1.RawValue) (string, bool) {
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagT61String, 26:
	default:
		return "", false
	}
	lower := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, string(v.Bytes))
	return strings.Join(strings.FieldsFunc(lower, func(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }), " "), true
}
