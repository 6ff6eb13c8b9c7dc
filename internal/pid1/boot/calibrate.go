package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/instar-os/instar/internal/pid1/tasks"
	"github.com/instar-os/instar/internal/wire"
)

// CalibrateAlone measures in this process, and writes what it has measured.
func CalibrateAlone(cpu, during string, to io.Writer) error {
	n, err := strconv.Atoi(cpu)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(during)
	if err != nil {
		return err
	}
	c, err := tasks.Calibrate(n, d)
	if err != nil {
		return err
	}
	return json.NewEncoder(to).Encode(c)
}

// Two at a time would measure each other.
var errCalibrating = errors.New("another calibration runs")

// Calibrate implements wire.Timekeeper. The process that measures is in the
// partition of its processor, where this one may not be.
func (m *machine) Calibrate(ctx context.Context, r wire.CalibrateRequest) (out wire.Calibration, err error) {
	if !m.calibrating.TryLock() {
		return out, errCalibrating
	}
	defer m.calibrating.Unlock()
	var said, failed bytes.Buffer
	read, write, err := os.Pipe()
	if err != nil {
		return out, err
	}
	defer read.Close()
	complaint, complain, err := os.Pipe()
	if err != nil {
		write.Close()
		return out, err
	}
	defer complaint.Close()
	attr := &os.ProcAttr{Files: []*os.File{nil, write, complain}, Sys: &syscall.SysProcAttr{}}
	if cgroup, err := m.calibrateCgroup(r.CPU); err == nil && cgroup != nil {
		defer cgroup.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(cgroup.Fd())
	}
	var p *os.Process
	err = m.reaper.Spawn(func() (int, error) {
		var err error
		if p, err = os.StartProcess("/proc/self/exe", []string{"instar-init", "calibrate", strconv.Itoa(r.CPU), r.For.String()}, attr); err != nil {
			return 0, err
		}
		return p.Pid, nil
	})
	write.Close()
	complain.Close()
	if err != nil {
		return out, fmt.Errorf("starting the process that measures: %w", err)
	}
	defer m.reaper.Forget(p.Pid)
	stop := context.AfterFunc(ctx, func() { p.Kill() })
	defer stop()
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(&said, read) })
	reading.Go(func() { io.Copy(&failed, complaint) })
	reading.Wait()
	st, err := p.Wait()
	if err == nil && !st.Success() {
		err = errors.New(strings.TrimPrefix(strings.TrimSpace(failed.String()), "instar-init: "))
	}
	if err != nil {
		return out, fmt.Errorf("calibrating CPU %d: %w", r.CPU, err)
	}
	return out, json.Unmarshal(said.Bytes(), &out)
}

// calibrateCgroup returns a cgroup in the partition of a processor, nil when it
// is in none.
func (m *machine) calibrateCgroup(cpu int) (*os.File, error) {
	rt := m.supervisor.Configuration().RealTime
	if rt == nil || m.contained {
		return nil, nil
	}
	for _, p := range rt.Partitions {
		if slices.Contains(p.CPUs, cpu) {
			dir := filepath.Join(cgroupDir+"-"+p.Name, "calibrate")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return nil, err
			}
			return os.Open(dir)
		}
	}
	return nil, nil
}
