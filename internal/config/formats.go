package config

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// A format is what a string must look like.
type format struct {
	want    string // "a name: …", completes "is not"
	hint    string
	pattern *regexp.Regexp               // nil where words are given
	words   []string                     // the only ones allowed
	check   func(string) (reason string) // beyond the pattern; may be nil
	fix     string                       // the hint when check fails
}

// formats are the values of the tags "is" and "keys".
var formats = map[string]format{
	"name":      {want: "a name", hint: "a name has lower-case letters, digits and dashes, begins with a letter and has at most 63 characters", pattern: regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)},
	"source":    {want: "a name", hint: "a name has lower-case letters, digits and dashes, begins with a letter and has at most 63 characters", pattern: regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`), check: notReserved},
	"interface": {want: "an interface name", hint: "an interface name has lower-case letters, digits, dashes and underscores, begins with a letter and has at most 15 characters", pattern: regexp.MustCompile(`^[a-z][a-z0-9_-]{0,14}$`), check: notLoopback},
	"hostname":  {want: "a host name", hint: "a host name has letters, digits, dashes and dots, and at most 64 characters", pattern: regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`), check: hostnameLength},
	"text":      {want: "text without spaces", pattern: regexp.MustCompile(`^\S+$`)},
	"relative":  {want: "a relative path", hint: "a path may not begin with /", pattern: regexp.MustCompile(`^[^/]`)},
	"absolute":  {want: "an absolute path", hint: "begin it with /", pattern: regexp.MustCompile(`^/`), check: clean},
	"archive":   {want: "an archive", hint: "use debian, debian-security or a URL with http or https", pattern: regexp.MustCompile(`^(debian|debian-security|https?://[^\s/]+\S*)$`), check: archiveURL},
	"suite":     {want: "a suite or component", pattern: regexp.MustCompile(`^[a-z0-9][A-Za-z0-9._/-]*$`)},
	"package":   {want: "a package name", hint: "a package name has lower-case letters, digits, dots, + and -", pattern: regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)},
	"selection": {want: "a package", hint: "write NAME, NAME=VERSION or NAME/SUITE", pattern: regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9][A-Za-z0-9.+:~-]*|/[a-z0-9][A-Za-z0-9._-]*)?$`)},
	"module":    {want: "a name of a module or driver", pattern: regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)},
	"argument":  {want: "one kernel argument", hint: "write each argument as an element of its own", pattern: regexp.MustCompile(`^[^\s"]([^\s"]|"[^"]*")*$`), check: notOurs},
	"console":   {want: "a console", hint: "write a terminal's name and options, as ttyS0,115200", pattern: regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*(,[0-9]+[a-z0-9]*)?$`)},
	"cidr":      {want: "an address with prefix length", hint: "write it as 192.0.2.10/24", pattern: regexp.MustCompile(`^[0-9A-Fa-f:.]+/[0-9]{1,3}$`), check: prefix, fix: "write it as 192.0.2.10/24"},
	"ip":        {want: "an IP address", hint: "write it as 192.0.2.1 or 2001:db8::1", pattern: regexp.MustCompile(`^[0-9A-Fa-f:.]+$`), check: address, fix: "write it as 192.0.2.1 or 2001:db8::1"},
	"mac":       {want: "a hardware address", hint: "write it as 52:54:00:12:34:56", pattern: regexp.MustCompile(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$`)},
	"glob":      {want: "a pattern", pattern: regexp.MustCompile(`^[^\s/]+$`), check: glob},
	"url":       {want: "an address to download from", hint: "use a URL with http or https", pattern: regexp.MustCompile(`^https?://[^\s/]+/\S*$`), check: hasHost},
	"owner":     {want: "an owner and group", hint: "write it as UID:GID, as 0:0", pattern: regexp.MustCompile(`^[0-9]+:[0-9]+$`), check: numbers},
	"user":      {want: "a user", hint: "write a name, a UID or UID:GID", pattern: regexp.MustCompile(`^([a-z_][a-z0-9_.-]*\$?|[0-9]+(:[0-9]+)?)$`), check: numbers},
	"group":     {want: "a group", hint: "write a name or a GID", pattern: regexp.MustCompile(`^([a-z_][a-z0-9_.-]*\$?|[0-9]+)$`), check: numbers},
	"prune":     {want: "a class or pattern of paths", hint: "use docs, man, locales, info, lintian, debug, hwdb, gconv, zoneinfo, terminfo, completions, headers, services, or a pattern that begins with /; before either may stand PACKAGE:", pattern: regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]+:)?(docs|man|locales|info|lintian|debug|hwdb|gconv|zoneinfo|terminfo|completions|headers|services|/.*)$`), check: glob},
	"paths":     {want: "a pattern of paths", hint: "begin it with /", pattern: regexp.MustCompile(`^/`), check: glob},
	"attribute": {want: "a name of an attribute", hint: "write the file's path below the device's directory in sysfs", pattern: regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./:-]*$`), check: clean},
	"variable":  {want: "a name of a variable", hint: "a variable has letters, digits and underscores, and begins with no digit", pattern: regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)},
	"endpoint":  {want: "a port or HOST:PORT", hint: "write it as 1883 or 127.0.0.1:1883", pattern: regexp.MustCompile(`^(([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):)?[0-9]{1,5}$`), check: port},
	"http":      {want: "a URL to ask", hint: "write it as http://127.0.0.1:80/", pattern: regexp.MustCompile(`^http://[^\s/]+\S*$`), check: hasHost},
	"sysctl":    {want: "a kernel parameter", hint: "write it as net.ipv4.ip_unprivileged_port_start", pattern: regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)+$`), check: ownSysctl, fix: "a container has net.*, fs.mqueue.*, kernel.shm*, kernel.msg*, kernel.sem and kernel.domainname of its own"},

	"image": {want: "the name of an image", hint: "write it as registry.example.org/panel:1.4 or registry.example.org/panel@sha256:…", pattern: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[A-Za-z0-9][A-Za-z0-9._-]*)*(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@sha256:[0-9a-f]{64})?$`)},

	"closure":  {want: "a store path", hint: "write /nix/store/HASH-NAME, or the relative path of a symlink to one", pattern: regexp.MustCompile(`^(/nix/store/[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+._?=-]+|[^/\s].*)$`)},
	"nixcache": {want: "a binary cache or store", hint: "write https://HOST, s3://BUCKET?region=REGION, file:DIR or store:DIR", pattern: regexp.MustCompile(`^(https?://[^\s/]+\S*|s3://[^\s/]+\S*|(file|store):\S+)$`), check: cacheURL},
	"nixkey":   {want: "a public key of a binary cache", hint: "write NAME:BASE64, as nix-store --generate-binary-cache-key prints it", pattern: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*:[A-Za-z0-9+/]{43}=$`)},
	"registry": {want: "a registry", hint: "write HOST or HOST:PORT", pattern: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?$`)},
	"mirror":   {want: "a place in a registry", hint: "write HOST, HOST:PORT or HOST:PORT/PATH", pattern: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*$`)},

	"key": {want: "the public half of a key", hint: "instar key new prints it: instar-public-1: and 43 letters, digits, - and _", pattern: regexp.MustCompile(`^instar-public-1:[A-Za-z0-9_-]{43}$`)},

	"date":     {want: "a day", hint: "write it as 2026-11-21", pattern: regexp.MustCompile(`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`)},
	"thread":   {want: "a thread's name", hint: "a thread's name has at most 15 printable characters", pattern: regexp.MustCompile(`^[!-~]([ -~]{0,13}[!-~])?$`)},
	"priority": {want: "a priority", hint: "write 1 to 99, or auto", pattern: regexp.MustCompile(`^(auto|[1-9][0-9]?)$`)},
	"task":     {want: "a task", hint: "write it as CONTAINER.TASK", pattern: regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}\.[a-z][a-z0-9-]{0,62}$`)},

	"capability": {want: "a capability", words: words(capabilities)},
	"signal":     {want: "a signal", words: words(signals)},
	"rlimit":     {want: "a resource limit", words: words(rlimits)},
}

// kinds are the words for trees that come from no archive.
var kinds = []string{"dir", "tarball", "file", "oci", "nix", "host"}

func notReserved(s string) string {
	for _, k := range kinds {
		if s == k {
			return "this word is taken: " + strings.Join(kinds, ", ") + " are no names of sources"
		}
	}
	return ""
}

func notLoopback(s string) string {
	if s == "lo" {
		return "the loopback interface is always there and is not declared"
	}
	return ""
}

func hostnameLength(s string) string {
	for _, label := range strings.Split(s, ".") {
		if len(label) > 63 {
			return "a part of the host name is longer than 63 characters"
		}
	}
	if len(s) > 64 {
		return "the host name is longer than 64 characters"
	}
	return ""
}

func clean(s string) string {
	if c := path.Clean(s); c != s {
		return "the path is not in its shortest form, " + c
	}
	return ""
}

func archiveURL(s string) string {
	if s == "debian" || s == "debian-security" {
		return ""
	}
	return hasHost(s)
}

func cacheURL(s string) string {
	if strings.HasPrefix(s, "http") {
		return hasHost(s)
	}
	return ""
}

func hasHost(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "":
		return "the URL cannot be read"
	case u.User != nil:
		return "a definition holds no passwords"
	case u.Port() != "" && !isPort(u.Port()):
		return "a port is between 1 and 65535"
	}
	return ""
}

// notOurs refuses the kernel arguments that the build itself sets.
func notOurs(s string) string {
	key, _, _ := strings.Cut(s, "=")
	switch {
	case strings.HasPrefix(key, "instar."):
		return key + " is set by the build"
	case key == "console":
		return "consoles are set by boot.console"
	case key == "--":
		return "arguments of init are set by the build"
	}
	return ""
}

func prefix(s string) string {
	if _, err := netip.ParsePrefix(s); err != nil {
		return "the address or its prefix length cannot be read"
	}
	return ""
}

func address(s string) string {
	if _, err := netip.ParseAddr(s); err != nil {
		return "the address cannot be read"
	}
	return ""
}

func glob(s string) string {
	if _, err := path.Match(s, ""); err != nil {
		return "the pattern has an open bracket or ends with a backslash"
	}
	return ""
}

// numbers checks user and group numbers; 2^32-1 means none (chown(2)).
func numbers(s string) string {
	for _, part := range strings.Split(s, ":") {
		if part == "" || part[0] < '0' || part[0] > '9' {
			continue
		}
		if n, err := strconv.ParseUint(part, 10, 32); err != nil || n == 1<<32-1 {
			return "a number of a user or group is at most 4294967294"
		}
	}
	return ""
}

func port(s string) string {
	if !isPort(s[strings.LastIndexByte(s, ':')+1:]) {
		return "a port is between 1 and 65535"
	}
	return ""
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
