package taskset

import (
	"reflect"
	"strings"
	"testing"
)

const asYAML = `protocol: ceiling
overheads: {switch: 2us, release: 500, measured: true}
tasks:
  - {name: control, cpu: 1, policy: fifo, priority: 80, wcet: 1ms, period: 10ms, deadline: 5ms, sections: [{resource: bus, length: 100us}]}
  - {name: log, cpu: 1, policy: deadline, wcet: 2ms, period: 50ms, jitter: 1ms}
`

const asCSV = `name, cpu, policy, priority, wcet, period, deadline, jitter
# the fast one
control, 1, fifo, 80, 1ms, 10ms, 5ms,
log, 1, deadline, , 2ms, 50ms, , 1ms
`

func TestForms(t *testing.T) {
	y, err := Parse("set.yaml", []byte(asYAML))
	if err != nil {
		t.Fatal(err)
	}
	if y.Overheads.Switch != 2000 || y.Overheads.Release != 500 || y.Tasks[0].Sections[0].Length != 100_000 || y.Tasks[1].Jitter != 1_000_000 {
		t.Errorf("%+v", y)
	}
	c, err := Parse("set.csv", []byte(asCSV))
	if err != nil {
		t.Fatal(err)
	}
	y.Tasks[0].Sections = nil
	if !reflect.DeepEqual(c.Tasks, y.Tasks) {
		t.Errorf("CSV gives %+v, YAML %+v", c.Tasks, y.Tasks)
	}
	j, err := Parse("set.json", []byte(`{"tasks":[{"name":"log","cpu":1,"policy":"deadline","wcet":"2ms","period":50000000,"jitter":"1ms"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(j.Tasks[0], y.Tasks[1]) {
		t.Errorf("JSON gives %+v, YAML %+v", j.Tasks[0], y.Tasks[1])
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"tasks: []": "there are no tasks",
		"tasks: [{name: a, policy: fifo, priority: 1, wcet: soon, period: 1ms}]":                                         `line 1: "soon" is no time`,
		"tasks: [{name: a, policy: fifo, priority: 1, wcet: 1ms, perod: 1ms}]":                                           "perod",
		"tasks: [{name: a, policy: fifo, priority: 100, wcet: 1, period: 2}]":                                            "priority 100",
		"tasks: [{name: a, policy: other, wcet: 1, period: 2}]":                                                          `policy "other"`,
		"tasks: [{name: a, policy: deadline, wcet: 1, period: 9999999h}]":                                                "is no time",
		"tasks: [{name: a, policy: deadline, wcet: 1, period: 2000h}, {name: a, policy: deadline, wcet: -1, period: 1}]": "there are two of that name",
	} {
		if _, err := Parse("x.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
	if _, err := Parse("x.csv", []byte("name,colour\na,b\n")); err == nil || !strings.Contains(err.Error(), `line 2: column "colour"`) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("x.yaml", []byte(asYAML))
	f.Add("x.csv", []byte(asCSV))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if s, err := Parse(name, data); err == nil && s.Check() != nil {
			t.Error("a set that is wrong was taken")
		}
	})
}
