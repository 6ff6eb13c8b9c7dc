package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Limits of a listing of loaded modules; the largest seen have a few hundred.
const (
	maxListing = 1 << 20
	maxListed  = 4096
)

var listedName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,56}$`) // MODULE_NAME_LEN, linux/module.h

// ParseListing returns the modules that lsmod(8) has printed, or that stood in
// /proc/modules, sorted. Lines that begin with # are comments, for what somebody
// takes out of it.
func ParseListing(text []byte) ([]string, error) {
	if len(text) > maxListing {
		return nil, fmt.Errorf("a listing of %d bytes, more than the limit of %d", len(text), maxListing)
	}
	var out []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxListing+1)
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") || words[0] == "Module" && len(words) > 1 && words[1] == "Size" {
			continue
		}
		if len(words) < 2 || !listedName.MatchString(words[0]) {
			return nil, fmt.Errorf("line %d is not a line of lsmod: %.60q", n, lines.Text())
		}
		if _, err := strconv.ParseUint(words[1], 10, 64); err != nil {
			return nil, fmt.Errorf("line %d is not a line of lsmod: no size in %.60q", n, lines.Text())
		}
		if out = append(out, normal(words[0])); len(out) > maxListed {
			return nil, fmt.Errorf("more than %d modules", maxListed)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, errors.New("it lists no modules")
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
