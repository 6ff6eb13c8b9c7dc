package receive

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/update"
)

func TestNoProcessors(t *testing.T) {
	tasks := func(cpus ...int) []system.Container {
		c := system.Container{Name: "c"}
		for _, n := range cpus {
			c.Tasks = append(c.Tasks, system.Task{CPU: n})
		}
		return []system.Container{c}
	}
	for _, row := range []struct {
		name, present string
		c             system.Configuration
		want          []string
	}{
		{"no tasks", "0\n", system.Configuration{}, nil},
		{"enough", "0-3\n", system.Configuration{Containers: tasks(0, 3), RealTime: &system.RealTime{House: []int{1, 2}}}, nil},
		{"with a gap", "0-1,3\n", system.Configuration{Containers: tasks(0, 3), RealTime: &system.RealTime{}}, nil},
		{"a task elsewhere", "0-1,3\n", system.Configuration{Containers: tasks(2), RealTime: &system.RealTime{}}, []string{"with CPU 2, and this machine has CPUs 0-1,3"}},
		{"a partition, an interrupt and the house elsewhere", "0\n", system.Configuration{RealTime: &system.RealTime{
			House: []int{0, 1}, Partitions: []system.Partition{{CPUs: []int{2}}}, IRQs: []system.IRQ{{CPUs: []int{3, 2}}}}},
			[]string{"CPU 1, ", "CPU 2, ", "CPU 3, "}},
		{"nothing to be known", "", system.Configuration{Containers: tasks(0), RealTime: &system.RealTime{}}, []string{"cannot be known"}},
	} {
		sysfs := fstest.MapFS{}
		if row.present != "" {
			sysfs["devices/system/cpu/present"] = &fstest.MapFile{Data: []byte(row.present)}
		}
		got := noProcessors(sysfs, &system.Manifest{Configurations: []system.Configuration{row.c}})
		if len(got) != len(row.want) {
			t.Errorf("%s: %+v, want %q", row.name, got, row.want)
			continue
		}
		for i, p := range got {
			if p.Code != update.NoProcessor || p.Grave || !strings.Contains(p.Text, row.want[i]) {
				t.Errorf("%s: %+v, want %q", row.name, p, row.want[i])
			}
		}
	}
}
