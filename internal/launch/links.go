package launch

import (
	"fmt"
	"math"
	"strings"

	"github.com/instar-os/instar/internal/system"
	"golang.org/x/sys/unix"
)

// FirstDescriptor is Start's slot of the container's first descriptor beside
// the standard streams; the others follow.
const FirstDescriptor = FirstData

// linkEnv returns the variables by which the first process finds the files of
// its links: sd_listen_fds(3) for listeners. pid is its number.
func linkEnv(list []system.Descriptor, pid int) []string {
	var env, listeners []string
	for i, d := range list {
		if v := d.Variable(); v != "" {
			env = append(env, fmt.Sprintf("%s=%d", v, 3+i))
		} else {
			listeners = append(listeners, d.Link)
		}
	}
	if n := len(listeners); n > 0 {
		env = append(env, fmt.Sprintf("LISTEN_FDS=%d", n), "LISTEN_FDNAMES="+strings.Join(listeners, ":"), fmt.Sprint("LISTEN_PID=", pid))
	}
	return env
}

// streams puts standard input, output and error in place, the descriptors of
// links from 3 on, and closes every other descriptor at execve. Copies above
// them are made first, for a source may have one of the numbers itself.
func (b *builder) streams(links []system.Descriptor, files *system.Landlock) {
	n := 3 + len(links)
	copies := make([]Arg, n)
	for i := range copies {
		source := Stdin + i
		if i >= 3 {
			source = FirstDescriptor + i - 3
		}
		copies[i] = b.slot(b.do(fmt.Sprintf("copying descriptor for %d", i), Fcntl,
			held(source), imm(unix.F_DUPFD_CLOEXEC), imm(n)))
	}
	b.landlock(files)
	for i, fd := range copies {
		what := fmt.Sprintf("setting descriptor %d", i)
		if i >= 3 {
			what = fmt.Sprintf("setting descriptor %d, %s of link %s", i, links[i-3].Part, links[i-3].Link)
		}
		b.do(what, Dup3, fd, imm(i), imm(0))
	}
	b.do("closing other descriptors at exec", CloseRange, imm(n), imm(uint32(math.MaxUint32)), imm(unix.CLOSE_RANGE_CLOEXEC))
}
