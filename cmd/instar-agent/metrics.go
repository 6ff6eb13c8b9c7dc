package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/wire"
)

// A metric is one family of the Prometheus text format 0.0.4.
type metric struct {
	name, kind, help string
	samples          []sample
}

// A sample is one value with its labels, name and value in turns.
type sample struct {
	labels []string
	value  float64
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (m metric) write(w io.Writer) {
	if len(m.samples) == 0 {
		return
	}
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
	for _, s := range m.samples {
		var labels []string
		for i := 0; i+1 < len(s.labels); i += 2 {
			labels = append(labels, s.labels[i]+`="`+escape.Replace(s.labels[i+1])+`"`)
		}
		text := ""
		if len(labels) > 0 {
			text = "{" + strings.Join(labels, ",") + "}"
		}
		fmt.Fprintf(w, "%s%s %s\n", m.name, text, strconv.FormatFloat(s.value, 'g', -1, 64))
	}
}

func one(v float64) []sample { return []sample{{value: v}} }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func writeMetrics(w http.ResponseWriter, st wire.Status) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	for _, m := range metrics(st) {
		m.write(w)
	}
}

func metrics(st wire.Status) []metric {
	info := []string{"machine", st.Machine, "system", st.System, "configuration", st.Configuration, "kernel", st.Kernel}
	each := func(value func(wire.ContainerStatus) (float64, bool)) []sample {
		var all []sample
		for _, c := range st.Containers {
			if v, ok := value(c); ok {
				all = append(all, sample{[]string{"container", c.Name}, v})
			}
		}
		return all
	}
	var states, links []sample
	for _, c := range st.Containers {
		states = append(states, sample{[]string{"container", c.Name, "state", string(c.State)}, 1})
	}
	for _, i := range st.Interfaces {
		links = append(links, sample{[]string{"interface", i.Name}, truth(i.State == "up")})
	}
	return []metric{
		{"instar_info", "gauge", "What runs; always 1.", []sample{{info, 1}}},
		{"instar_healthy", "gauge", "Whether the machine is healthy.", one(truth(st.Healthy))},
		{"instar_uptime_seconds", "gauge", "Time since the kernel started.", one(st.Uptime.Seconds())},
		{"instar_ready_seconds", "gauge", "Time from the kernel's start to init's.", one(st.Ready.Seconds())},
		{"instar_warnings", "gauge", "Number of things that could not be enforced.", one(float64(len(st.Warnings)))},
		{"instar_container_state", "gauge", "The state that a container is in; always 1.", states},
		{"instar_container_restarts_total", "counter", "Starts after the first one.",
			each(func(c wire.ContainerStatus) (float64, bool) { return float64(c.Restarts), true })},
		{"instar_container_memory_bytes", "gauge", "Memory that a container uses.",
			each(func(c wire.ContainerStatus) (float64, bool) { return float64(c.Memory), c.Memory > 0 })},
		{"instar_container_start_seconds", "gauge", "Time from the decision to start to the program's.",
			each(func(c wire.ContainerStatus) (float64, bool) { return c.StartTime.Seconds(), c.StartTime > 0 })},
		{"instar_container_exit_code", "gauge", "Exit code of the last end; 128+n for signal n.",
			each(func(c wire.ContainerStatus) (float64, bool) {
				if c.ExitCode == nil {
					return 0, false
				}
				return float64(*c.ExitCode), true
			})},
		{"instar_interface_up", "gauge", "Whether a network interface is up.", links},
	}
}
