package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// Limits of a report.
const (
	askTimeout = 5 * time.Second // for the supervisor's answer
	maxAsking  = 16              // requests that ask at the same time
)

// reporter answers HTTP requests from the supervisor's status.
type reporter struct {
	socket string
	asking chan struct{}
}

func (r *reporter) handler() http.Handler {
	r.asking = make(chan struct{}, maxAsking)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", r.with(writeStatus))
	mux.HandleFunc("GET /healthz", r.with(writeHealth))
	mux.HandleFunc("GET /metrics", r.with(writeMetrics))
	mux.HandleFunc("GET /metrics/tasks", r.tasks)
	return mux
}

// with asks for the status before it calls what shows it.
func (r *reporter) with(show func(http.ResponseWriter, wire.Status)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		select {
		case r.asking <- struct{}{}:
			defer func() { <-r.asking }()
		default:
			http.Error(w, "too many requests at the same time", http.StatusServiceUnavailable)
			return
		}
		st, err := r.status(req.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		show(w, st)
	}
}

// tasks shows what was measured of real-time tasks, as OpenMetrics.
func (r *reporter) tasks(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	default:
		http.Error(w, "too many requests at the same time", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), askTimeout)
	defer cancel()
	c, err := wire.Dial(ctx, r.socket)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer c.Close()
	got, err := c.RT(ctx, wire.RTRequest{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
	got.WriteMetrics(w)
	fmt.Fprintln(w, "# EOF")
}

// status asks over a connection of its own, so that a supervisor that was
// started again is found.
func (r *reporter) status(ctx context.Context) (wire.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, err := wire.Dial(ctx, r.socket)
	if err != nil {
		return wire.Status{}, err
	}
	defer c.Close()
	return c.Status(ctx)
}

func writeStatus(w http.ResponseWriter, st wire.Status) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(st) // a client that has gone needs no answer
}

func writeHealth(w http.ResponseWriter, st wire.Status) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if st.Healthy {
		fmt.Fprintln(w, "healthy")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	for _, reason := range reasons(st) {
		fmt.Fprintln(w, reason)
	}
}

// reasons says what keeps a machine from being healthy.
func reasons(st wire.Status) []string {
	var all []string
	add := func(kind, name, state, detail string) {
		line := kind + " " + name + " is " + state
		if detail != "" {
			line += ": " + strings.ReplaceAll(detail, "\n", " ")
		}
		all = append(all, line)
	}
	for _, c := range st.Containers {
		if c.State != wire.Healthy && c.State != wire.Done {
			add("container", c.Name, string(c.State), c.Detail)
		}
	}
	for _, i := range st.Interfaces {
		if i.State != "up" {
			add("interface", i.Name, i.State, i.Detail)
		}
	}
	return all
}
