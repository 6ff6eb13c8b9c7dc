package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/container"
	"github.com/instar-os/instar/internal/pid1/supervise"
	"github.com/instar-os/instar/internal/wire"
)

// Limits of what is read of a process.
const (
	maxProcesses = 1000
	maxCommand   = 4 << 10 // bytes of a command line
)

// clockTick is the unit of CPU times in /proc, USER_HZ, which is 100 on every
// architecture: proc_pid_stat(5).
const clockTick = 10 * time.Millisecond

// Freeze implements supervise.Operated.
func (b *box) Freeze(frozen bool) error {
	return b.life.during(func() error { return b.s.Freeze(frozen) })
}

// OOMKills implements supervise.Operated.
func (b *box) OOMKills() (n int64) {
	b.life.during(func() error {
		n = b.s.OOMKills()
		return nil
	})
	return n
}

// Usage implements supervise.Operated.
func (b *box) Usage() (u supervise.Usage) {
	b.life.during(func() error {
		st := b.s.Stats()
		u = supervise.Usage{CPU: st.CPU, Memory: st.Memory, Swap: b.s.Swap(), Pids: st.Pids, OOMKills: st.OOMKills}
		for _, d := range b.s.Disks() {
			u.Disks = append(u.Disks, wire.DiskStats{Disk: diskName(d.Disk), Read: d.Read, Written: d.Written, Reads: d.Reads, Writes: d.Writes,
				MaxRead: d.MaxRead, MaxWrite: d.MaxWrite, MaxReads: d.MaxReads, MaxWrites: d.MaxWrites})
		}
		return nil
	})
	return u
}

// diskName returns the kernel's name of a disk, or its number.
func diskName(d container.Disk) string {
	if to, err := os.Readlink("/sys/dev/block/" + d.String()); err == nil {
		return path.Base(to)
	}
	return d.String()
}

// Processes implements supervise.Operated.
func (b *box) Processes() (list []wire.ProcessStatus, err error) {
	var pids []int
	err = b.life.during(func() (err error) {
		pids, err = b.s.Processes()
		return err
	})
	list = []wire.ProcessStatus{}
	for _, pid := range pids[:min(len(pids), maxProcesses)] {
		if p, ok := processStatus(pid); ok { // others have ended meanwhile
			p.UID -= min(b.c.IDs.Base, p.UID)
			list = append(list, p)
		}
	}
	return list, err
}

func processStatus(pid int) (p wire.ProcessStatus, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil || parseStat(string(stat), &p) != nil {
		return p, false
	}
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return p, false
	}
	p.UID = st.Uid
	if line, err := os.ReadFile(dir + "/cmdline"); err == nil && len(line) > 0 {
		line = bytes.ReplaceAll(bytes.TrimRight(line[:min(len(line), maxCommand)], "\x00"), []byte{0}, []byte{' '})
		p.Command = strings.ToValidUTF8(string(line), "\uFFFD")
	}
	return p, true
}

// parseStat reads /proc/PID/stat: proc_pid_stat(5). The command stands in
// parentheses and may hold anything.
func parseStat(text string, p *wire.ProcessStatus) error {
	left, right := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if left < 1 || right < left {
		return fmt.Errorf("no process status: %.40q", text)
	}
	f := strings.Fields(text[right+1:])
	if len(f) < 22 {
		return fmt.Errorf("a process status of %d fields", len(f))
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(f[i], 10, 64) // the kernel's; others are 0
		return n
	}
	p.PID, _ = strconv.Atoi(strings.TrimSpace(text[:left]))
	p.Command = strings.ToValidUTF8("["+text[left+1:right]+"]", "\uFFFD")
	p.State, p.PPID = f[0], int(number(1))
	p.CPU = time.Duration(number(11)+number(12)) * clockTick
	p.Threads = int(number(17))
	p.Memory = number(21) * int64(os.Getpagesize())
	return nil
}
