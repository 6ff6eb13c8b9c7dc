package launch

import "github.com/instar-os/instar/internal/launch/seccomp"

// DefaultSeccomp returns the default system call filter for containers of an
// architecture that keep capabilities, as an array of struct sock_filter.
func DefaultSeccomp(arch string, caps []string) ([]byte, error) {
	filter, err := seccomp.Default(arch, caps)
	if err != nil {
		return nil, err
	}
	return seccomp.Encode(filter), nil
}
