package fetch

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// NotFound says that the server does not have a file (404, 410).
type NotFound struct {
	What, URL string
}

func (e *NotFound) Error() string {
	return fmt.Sprintf("the archive no longer has %s: %s is not there", e.What, e.URL)
}

// Missing says that a file is not in the cache and the network may not be used.
type Missing struct {
	What, URL, Dir string
}

func (e *Missing) Error() string {
	return fmt.Sprintf("%s is not in the cache %s, and downloads are switched off; it must be fetched once from %s", e.What, e.Dir, e.URL)
}

// Mismatch says that a server sent other content than was asked for.
type Mismatch struct {
	What, URL string
	Field     string // "SHA-256" or "size"
	Want, Got string
}

func (e *Mismatch) Error() string {
	return fmt.Sprintf("%s from %s is not what was asked for: %s is %s instead of %s", e.What, e.URL, e.Field, e.Got, e.Want)
}

// temporary marks an error after which another attempt makes sense.
type temporary struct{ err error }

func (e *temporary) Error() string { return e.err.Error() }
func (e *temporary) Unwrap() error { return e.err }

func (r Request) name() string {
	if r.What != "" {
		return r.What
	}
	return r.URL
}

// joinSorted joins errors in an order that does not depend on the downloads'.
func joinSorted(errs []error) error {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// unreachable says that no answer came, which may be otherwise next time,
// unless it is the server's certificate that is not believed.
func unreachable(err error) error {
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return err
	}
	return &temporary{err}
}
