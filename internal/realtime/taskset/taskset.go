// Package taskset reads sets of real-time tasks from files that people write:
// YAML, JSON or CSV. Times have a unit (2ms, 150us) or are nanoseconds.
package taskset

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/instar-os/instar/internal/realtime"
	"github.com/instar-os/instar/internal/realtime/chain"
	"github.com/instar-os/instar/internal/realtime/global"
)

// MaxSize is the largest file that Parse reads, in bytes.
const MaxSize = 8 << 20

// File is a set of tasks as it is written. At most one of Shared and After is
// given.
type File struct {
	realtime.Set
	Shared int               // processors on which every task may run; 0: each stays on its CPU
	After  map[string]string // the task whose end releases a task, by its name
	Chains []Chain
}

// Chain is a path of data through the tasks, with what must hold of it. Times are
// nanoseconds, 0 for no bound.
type Chain struct {
	Name     string
	Path     []string
	LET      bool // by logical execution times
	Reaction realtime.Time
	Age      realtime.Time
}

const maxChains = 1000

// Parse reads a set; name's ending says how it is written, and messages name it.
// All that is wrong with the set is in the error.
func Parse(name string, data []byte) (*File, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%s: %d bytes; at most %d are read", name, len(data), MaxSize)
	}
	read := readYAML
	if path.Ext(name) == ".csv" {
		read = readCSV
	}
	f, err := read(data)
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func (f *File) check() error {
	if err := f.checkChains(); err != nil {
		return err
	}
	switch {
	case f.Shared > 0 && len(f.Chains) > 0:
		return errors.New("chains through shared processors are not analysed: give each task its CPU")
	case f.Shared > 0 && len(f.After) > 0:
		return errors.New("tasks that release each other are not analysed on shared processors: give each its CPU")
	case f.Shared > 0 && f.Supply != realtime.Supply{}:
		return errors.New("a part of shared processors is not analysed: give each task its CPU")
	case f.Shared > 0:
		return f.Global().Check()
	case len(f.After) > 0:
		_, err := chain.Inherit(&f.Set, f.After)
		return err
	}
	return f.Set.Check()
}

func (f *File) checkChains() error {
	if len(f.Chains) > maxChains {
		return fmt.Errorf("%d chains; at most %d are analysed", len(f.Chains), maxChains)
	}
	for _, c := range f.Chains {
		if c.Name == "" || len(c.Path) == 0 || len(c.Path) > chain.MaxStages || c.Reaction < 0 || c.Age < 0 {
			return fmt.Errorf("chain %q: it needs a name and a path", c.Name)
		}
		for _, name := range c.Path {
			if !slices.ContainsFunc(f.Tasks, func(t realtime.Task) bool { return t.Name == name }) {
				return fmt.Errorf("chain %q: there is no task %q", c.Name, name)
			}
		}
	}
	return nil
}

// Global is the set of a file with shared processors.
func (f *File) Global() *global.Set {
	return &global.Set{CPUs: f.Shared, Tasks: f.Tasks, Overheads: f.Overheads}
}

// span is a time as it is written.
type span realtime.Time

// UnmarshalYAML implements yaml.Unmarshaler.
func (s *span) UnmarshalYAML(n *yaml.Node) error {
	v, err := parseTime(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: %q is no time: write 2ms, 150us or nanoseconds", n.Line, n.Value)
	}
	*s = span(v)
	return nil
}

func parseTime(text string) (realtime.Time, error) {
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		return v, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && (d == math.MaxInt64 || d == math.MinInt64) {
		err = errors.New("too long")
	}
	return realtime.Time(d), err
}

type document struct {
	Protocol  realtime.Protocol `yaml:"protocol"`
	Overheads struct {
		Switch   span `yaml:"switch"`
		Release  span `yaml:"release"`
		Measured bool `yaml:"measured"`
	} `yaml:"overheads"`
	Supply struct {
		Budget   span `yaml:"budget"`
		Period   span `yaml:"period"`
		Deadline span `yaml:"deadline"`
		Slot     bool `yaml:"slot"`
	} `yaml:"supply"`
	Shared int    `yaml:"shared"`
	Tasks  []task `yaml:"tasks"`
	Chains []struct {
		Name          string   `yaml:"name"`
		Path          []string `yaml:"path"`
		Communication string   `yaml:"communication"`
		Reaction      span     `yaml:"reaction"`
		Age           span     `yaml:"age"`
	} `yaml:"chains"`
}

type task struct {
	Name          string          `yaml:"name"`
	CPU           int             `yaml:"cpu"`
	Policy        realtime.Policy `yaml:"policy"`
	WCET          span            `yaml:"wcet"`
	BCET          span            `yaml:"bcet"`
	Period        span            `yaml:"period"`
	After         string          `yaml:"after"`
	Deadline      span            `yaml:"deadline"`
	Jitter        span            `yaml:"jitter"`
	Clock         string          `yaml:"clock"`
	Offset        span            `yaml:"offset"`
	Priority      int             `yaml:"priority"`
	NonPreemptive span            `yaml:"nonPreemptive"`
	Suspension    span            `yaml:"suspension"`
	Suspensions   int             `yaml:"suspensions"`
	Sections      []struct {
		Resource string `yaml:"resource"`
		Length   span   `yaml:"length"`
	} `yaml:"sections"`
}

func readYAML(data []byte) (*File, error) {
	var d document
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	s := &File{Shared: d.Shared, After: map[string]string{}}
	s.Protocol = d.Protocol
	s.Overheads = realtime.Overheads{Switch: realtime.Time(d.Overheads.Switch), Release: realtime.Time(d.Overheads.Release), Measured: d.Overheads.Measured}
	s.Supply = realtime.Supply{Budget: realtime.Time(d.Supply.Budget), Period: realtime.Time(d.Supply.Period), Deadline: realtime.Time(d.Supply.Deadline), Slot: d.Supply.Slot}
	for _, t := range d.Tasks {
		out := realtime.Task{Name: t.Name, CPU: t.CPU, Policy: t.Policy, WCET: realtime.Time(t.WCET), Period: realtime.Time(t.Period),
			Deadline: realtime.Time(t.Deadline), Jitter: realtime.Time(t.Jitter), Priority: t.Priority,
			BCET: realtime.Time(t.BCET), Clock: t.Clock, Offset: realtime.Time(t.Offset), NonPreemptive: realtime.Time(t.NonPreemptive), Suspension: realtime.Time(t.Suspension), Suspensions: t.Suspensions}
		for _, c := range t.Sections {
			out.Sections = append(out.Sections, realtime.Section{Resource: c.Resource, Length: realtime.Time(c.Length)})
		}
		s.Tasks = append(s.Tasks, out)
		if t.After != "" {
			s.After[t.Name] = t.After
		}
	}
	for _, c := range d.Chains {
		if c.Communication != "" && c.Communication != "implicit" && c.Communication != "let" {
			return nil, fmt.Errorf("chain %q: communication %q is neither implicit nor let", c.Name, c.Communication)
		}
		s.Chains = append(s.Chains, Chain{c.Name, c.Path, c.Communication == "let", realtime.Time(c.Reaction), realtime.Time(c.Age)})
	}
	return s, nil
}

// readCSV reads a table whose first line names the columns. Locks, supplies and
// tasks that release each other cannot be written in it.
func readCSV(data []byte) (*File, error) {
	r := csv.NewReader(bytes.NewReader(data))
	r.TrimLeadingSpace, r.Comment = true, '#'
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("no line that names the columns: %w", err)
	}
	s := &File{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		var t realtime.Task
		for i, column := range head {
			if err := set(&t, strings.TrimSpace(column), strings.TrimSpace(row[i])); err != nil {
				line, _ := r.FieldPos(i)
				return nil, fmt.Errorf("line %d: %w", line, err)
			}
		}
		s.Tasks = append(s.Tasks, t)
	}
}

func set(t *realtime.Task, column, value string) (err error) {
	times := map[string]*realtime.Time{"wcet": &t.WCET, "bcet": &t.BCET, "offset": &t.Offset, "period": &t.Period, "deadline": &t.Deadline, "jitter": &t.Jitter,
		"nonPreemptive": &t.NonPreemptive, "suspension": &t.Suspension}
	numbers := map[string]*int{"cpu": &t.CPU, "priority": &t.Priority, "suspensions": &t.Suspensions}
	switch {
	case column == "name":
		t.Name = value
	case column == "clock":
		t.Clock = value
	case column == "policy":
		t.Policy = realtime.Policy(value)
	case times[column] != nil && value != "":
		if *times[column], err = parseTime(value); err != nil {
			return fmt.Errorf("column %s: %q is no time: write 2ms, 150us or nanoseconds", column, value)
		}
	case numbers[column] != nil && value != "":
		if *numbers[column], err = strconv.Atoi(value); err != nil {
			return fmt.Errorf("column %s: %q is no number", column, value)
		}
	case times[column] == nil && numbers[column] == nil:
		return fmt.Errorf("column %q is not known: name, cpu, policy, wcet, period, deadline, jitter, priority, nonPreemptive, suspension and suspensions are", column)
	}
	return nil
}
