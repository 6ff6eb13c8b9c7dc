// Command instar-agent reports the state of a machine over HTTP. It runs as a
// container that was given the supervisor's socket. As a server it does nothing
// but read.
//
//	instar-agent --listen :9273 --control /run/instar/control.sock
//
//	GET /status   the supervisor's status as JSON
//	GET /healthz  200 when the machine is healthy, else 503 with the reasons
//	GET /metrics  the same as metrics for Prometheus
//	GET /metrics/tasks  what was measured of real-time tasks, as OpenMetrics
//
// It also takes updates to the machine, from a web server (asking for the rest
// when the connection breaks), a file, or the standard input, and connects its
// standard streams with the socket, which is how instar send comes over ssh:
//
//	instar-agent update [--reboot] [--force] URL|FILE|-
//	instar-agent control
//
// SIGTERM and SIGINT end it after the requests under way.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Limits of the server.
const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 15 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 8 << 10 // bytes
	stopGrace     = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	run := report
	args := os.Args[1:]
	if len(args) > 0 && subcommands[args[0]] != nil {
		run, args = subcommands[args[0]], args[1:]
	}
	if err := run(ctx, args); err != nil {
		fmt.Fprintf(os.Stderr, "instar-agent: %v\n", err)
		os.Exit(1)
	}
}

// defaultControl is where a container that was given it finds the socket.
const defaultControl = "/run/instar/control.sock"

func report(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("instar-agent", flag.ContinueOnError)
	listen := f.String("listen", ":9273", "address to serve HTTP on")
	control := f.String("control", defaultControl, "the supervisor's socket")
	if err := f.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	return serve(ctx, l, &reporter{socket: *control})
}

// serve answers requests until ctx ends, and those under way a little longer.
func serve(ctx context.Context, l net.Listener, r *reporter) error {
	s := &http.Server{
		Handler:           r.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving HTTP: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	err := s.Shutdown(grace)
	if serving := <-ended; !errors.Is(serving, http.ErrServerClosed) {
		err = errors.Join(err, serving)
	}
	return err
}
