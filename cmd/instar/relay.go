package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/instar-os/instar/internal/vm"
	"github.com/instar-os/instar/internal/wire"
)

// relay offers the control protocol of a virtual machine to other commands of
// this host: it implements wire.Control by asking the machine's control port.
type relay struct{ v *vm.VM }

// bounded is a context for one question to the machine.
func bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), controlTimeout)
}

// Status returns what the machine says; a machine that does not answer is
// not healthy, and the reason is a warning.
func (r relay) Status() wire.Status {
	ctx, cancel := bounded()
	defer cancel()
	st, err := r.v.Control().Status(ctx)
	if err != nil {
		return wire.Status{Warnings: []string{fmt.Sprintf("the machine does not answer: %v", err)}}
	}
	return st
}

func (r relay) Logs(req wire.LogsRequest) (wire.LogsReply, error) {
	ctx, cancel := bounded()
	defer cancel()
	return r.v.Control().Logs(ctx, req)
}

func (r relay) Start(ctx context.Context, name string) error {
	return r.v.Control().Start(ctx, name)
}

func (r relay) Stop(ctx context.Context, name string) error {
	return r.v.Control().Stop(ctx, name)
}

func (r relay) Restart(ctx context.Context, name string) error {
	return r.v.Control().Restart(ctx, name)
}

// Data offers the data of the machine's containers.
func (r relay) Data() wire.DataControl { return wire.DataClient{Client: r.v.Control()} }

func (r relay) PowerOff() error {
	ctx, cancel := bounded()
	defer cancel()
	return r.v.Control().PowerOff(ctx)
}

func (r relay) Reboot() error {
	ctx, cancel := bounded()
	defer cancel()
	return r.v.Control().Reboot(ctx)
}

// serveControl makes the machine's control port reachable for ps, status, logs
// and stop at the usual path, until the returned function is called.
func (a *app) serveControl(machine string, v *vm.VM) (stop func(), err error) {
	dir := a.runDir(machine)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "control.sock")
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("machine %s runs already: %s answers; instar stop ends it", machine, path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { _ = wire.Listen(ctx, l, relay{v}) }) // its only error is the socket's end
	return func() { cancel(); serving.Wait() }, nil
}
