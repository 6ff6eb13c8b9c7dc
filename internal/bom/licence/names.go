package licence

import (
	"regexp"
	"strings"
)

// known are identifiers of SPDX that packages of Debian use, in SPDX's
// spelling. A test compares them with the list of the schema.
const known = `0BSD AFL-2.1 AFL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-1.0 Apache-1.1 Apache-2.0 APSL-2.0
Artistic-1.0 Artistic-1.0-Perl Artistic-2.0 Beerware BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent BSD-3-Clause
BSD-3-Clause-LBNL BSD-3-Clause-Clear BSD-4-Clause BSD-4-Clause-UC BSD-Source-Code BSL-1.0 bzip2-1.0.6 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0
CC-BY-4.0 CC-BY-SA-2.0 CC-BY-SA-2.5 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDDL-1.0 CDDL-1.1 CECILL-2.1 CPL-1.0 curl EPL-1.0 EPL-2.0
EUPL-1.2 FSFAP FSFUL FSFULLR FTL GFDL-1.1-only GFDL-1.1-or-later GFDL-1.2-only GFDL-1.2-or-later GFDL-1.3-only GFDL-1.3-or-later
GFDL-1.3-no-invariants-only GFDL-1.3-no-invariants-or-later GFDL-1.2-no-invariants-or-later GPL-1.0-only GPL-1.0-or-later GPL-2.0-only
GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later HPND HPND-sell-variant ICU IJG Info-ZIP ISC JSON LGPL-2.0-only LGPL-2.0-or-later
LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later Libpng libpng-2.0 libtiff LPPL-1.3c MIT MIT-0 MIT-CMU MIT-Modern-Variant
MPL-1.0 MPL-1.1 MPL-2.0 MS-PL NCSA NTP OFL-1.0 OFL-1.1 OLDAP-2.8 OpenSSL PHP-3.01 PostgreSQL PSF-2.0 Python-2.0 QPL-1.0 RSA-MD Ruby
SGI-B-2.0 Sleepycat SMLNJ SSH-OpenSSH SSH-short TCL TCP-wrappers Unicode-DFS-2015 Unicode-DFS-2016 Unicode-3.0 Unlicense Vim W3C WTFPL
X11 Xnet Zlib zlib-acknowledgement ZPL-2.0 ZPL-2.1 blessing Spencer-94 Spencer-99 Latex2e TU-Berlin-1.0 TU-Berlin-2.0 NLOD-2.0 UPL-1.0
Linux-man-pages-copyleft Linux-man-pages-1-para BSD-4.3TAHOE mpich2 OGL-UK-3.0 BlueOak-1.0.0`

// ids are the known identifiers by their lower case.
var ids = func() map[string]string {
	m := map[string]string{}
	for id := range strings.FieldsSeq(known) {
		m[strings.ToLower(id)] = id
	}
	return m
}()

// others are short names of DEP-5, and what packages write instead of them, in
// lower case. Perl's means a choice.
var others = map[string]string{
	"expat": "MIT", "mit/x11": "X11", "mit-license": "MIT", "mit-style": "",
	"artistic": "Artistic-1.0", "artistic-1": "Artistic-1.0",
	"perl": "Artistic-1.0-Perl OR GPL-1.0-or-later",
	"bsd":  "", "psf": "PSF-2.0", "psf-2": "PSF-2.0", "python": "Python-2.0", "zope": "", "cc0": "CC0-1.0", "cc-0": "CC0-1.0",
	"postgresql": "PostgreSQL", "boost": "BSL-1.0", "boost-1.0": "BSL-1.0", "openldap-2.8": "OLDAP-2.8", "unicode": "",
	"bsd-2": "BSD-2-Clause", "bsd-3": "BSD-3-Clause", "bsd-4": "BSD-4-Clause", "freetype": "FTL", "fsf-unlimited": "FSFULLR", "sleepycat": "Sleepycat", "public-domain": "",
}

// families are licences whose names have a version, as DEP-5 writes it: the
// least version, a plus for later ones.
var (
	familyForm = regexp.MustCompile(`^(gpl|lgpl|agpl|gfdl(?:-niv)?)-?v?([0-9](?:\.[0-9])?)(?:\.0)*(\+|-or-later|-only)?$`)
	plainForm  = regexp.MustCompile(`^(apache|mpl|epl|cddl|ofl|sil-ofl|bsl|lppl|cpl|cc-by|cc-by-sa|php|zpl|artistic|afl|w3c)-?v?([0-9])(?:\.0)?$`)
)

var families = map[string]string{"gpl": "GPL", "lgpl": "LGPL", "agpl": "AGPL", "gfdl": "GFDL", "gfdl-niv": "GFDL"}

// identifier translates a short name without an exception, "" when SPDX has no
// word for it.
func identifier(name string) string {
	low := strings.ToLower(strings.TrimSpace(name))
	if id, ok := others[low]; ok {
		return id
	}
	if id, ok := ids[low]; ok {
		return id
	}
	if m := familyForm.FindStringSubmatch(low); m != nil {
		version := m[2]
		if !strings.Contains(version, ".") {
			version += ".0"
		}
		if m[1] == "gfdl-niv" {
			version += "-no-invariants"
		}
		end := "-only"
		if m[3] == "+" || m[3] == "-or-later" {
			end = "-or-later"
		}
		return ids[strings.ToLower(families[m[1]]+"-"+version+end)]
	}
	if m := plainForm.FindStringSubmatch(low); m != nil {
		return ids[strings.TrimPrefix(m[1], "sil-")+"-"+m[2]+".0"]
	}
	return ""
}

// exceptions are SPDX's, by words that name them in lower case.
var exceptions = map[string]string{
	"autoconf exception": "Autoconf-exception-generic", "autoconf-exception-2.0": "Autoconf-exception-2.0",
	"autoconf-exception-3.0": "Autoconf-exception-3.0", "autoconf-exception-generic": "Autoconf-exception-generic",
	"bison exception": "Bison-exception-2.2", "bison-exception": "Bison-exception-2.2", "bison-2.2 exception": "Bison-exception-2.2",
	"bison-exception-2.2": "Bison-exception-2.2", "classpath exception": "Classpath-exception-2.0",
	"classpath-exception-2.0": "Classpath-exception-2.0", "font exception": "Font-exception-2.0",
	"font-exception-2.0": "Font-exception-2.0", "gcc exception": "GCC-exception-3.1", "gcc-exception-3.1": "GCC-exception-3.1",
	"gcc-exception-2.0": "GCC-exception-2.0", "gcc runtime library exception": "GCC-exception-3.1",
	"libtool exception": "Libtool-exception", "libtool-exception": "Libtool-exception",
	"linux-syscall-note": "Linux-syscall-note", "llvm-exception": "LLVM-exception", "llvm exception": "LLVM-exception",
	"swift-exception": "Swift-exception", "ocaml-lgpl-linking-exception": "OCaml-LGPL-linking-exception",
}

// exceptionID translates an exception's name, with the word "exception" behind
// it or without.
func exceptionID(name string) string {
	low := strings.ToLower(strings.TrimSpace(name))
	if id := exceptions[low]; id != "" {
		return id
	}
	return exceptions[strings.TrimSuffix(low, " exception")]
}
