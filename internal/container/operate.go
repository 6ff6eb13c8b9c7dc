package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// errNoCgroup says that what was asked for needs a cgroup.
var errNoCgroup = errors.New("it has no cgroup on this machine")

// freezePatience is how long processes may take to stand still.
const freezePatience = 2 * time.Second

// Freeze lets all processes of the sandbox stand still, or go on. It returns
// when they do: Documentation/admin-guide/cgroup-v2.rst, cgroup.freeze.
func (s *Sandbox) Freeze(frozen bool) error {
	if s.cgroup == nil {
		return errNoCgroup
	}
	want := int64(0)
	if frozen {
		want = 1
	}
	err := os.WriteFile(filepath.Join(s.cgroup.dir, "cgroup.freeze"), []byte(strconv.FormatInt(want, 10)), 0)
	if err != nil {
		return err
	}
	for until := time.Now().Add(freezePatience); s.cgroup.field("cgroup.events", "frozen") != want; {
		if time.Now().After(until) {
			return fmt.Errorf("its processes have not changed within %s", freezePatience)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// Processes returns the numbers of the sandbox's processes, as the machine
// sees them.
func (s *Sandbox) Processes() ([]int, error) {
	if s.cgroup == nil {
		return nil, errNoCgroup
	}
	b, err := os.ReadFile(filepath.Join(s.cgroup.dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for word := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Swap returns the swap in use, in bytes.
func (s *Sandbox) Swap() int64 {
	if s.cgroup == nil {
		return 0
	}
	return s.cgroup.value("memory.swap.current")
}
