// Command instar-init is the first process of an instar machine, the
// supervisor of its containers and their runtime.
//
// As PID 1 without arguments it boots a device. As
//
//	instar-init run --store DIR --system HEX|ROOT --configuration NAME --state DIR --control PATH [--data DIR] [--network private|host] [--watch NAME,…]
//
// it runs the same system as containers on another Linux, as root, until
// SIGTERM, SIGINT or the control protocol's poweroff; the exit code is 0 when
// it was stopped cleanly.
//
// As "instar-init receive" it is the process beside PID 1 that takes an update
// from its standard input, and as "instar-init collect" the one that deletes what
// nothing needs; PID 1 starts both.
//
// On a machine with a host, whose init is systemd, it is called by that one: as
// the generator instar-generator it makes the units, "instar-init host" is the
// service of network and control protocol, and "instar-init start NAME" runs
// one container in the foreground.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/pid1/boot"
	"github.com/instar-os/instar/internal/pid1/receive"
)

func main() {
	code, err := start(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "instar-init: %v\n", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func start(args []string) (int, error) {
	switch {
	case len(args) > 0 && args[0] == "run":
		o, err := options(args[1:])
		if err != nil {
			return 2, err
		}
		// The same arguments again, for PID 1 of the new namespaces.
		return boot.Contain("/proc/self/exe", append([]string{os.Args[0], "contained"}, args[1:]...), o)
	case len(args) > 1 && args[0] == "contained" && os.Getpid() == 1:
		last := len(args) - 1
		o, err := options(args[1:last])
		if err != nil {
			return 2, err
		}
		o.Cgroup = args[last]
		return 0, boot.Contained(o, os.Stderr)
	case os.Getpid() == 1:
		return 1, boot.Device()
	case filepath.Base(os.Args[0]) == "instar-generator" && len(args) > 0:
		return 0, boot.Generate(args[0])
	case len(args) == 3 && args[0] == "calibrate":
		return 0, boot.CalibrateAlone(args[1], args[2], os.Stdout)
	case len(args) > 0 && (args[0] == "receive" || args[0] == "collect"):
		return receiving(args[0], args[1:])
	case len(args) == 1 && args[0] == "host":
		return 0, boot.Hosted(os.Stderr, os.Getenv("NOTIFY_SOCKET"))
	case len(args) == 2 && args[0] == "start":
		return boot.Unit(args[1], os.Getenv("NOTIFY_SOCKET"), os.Stdout, os.Stderr)
	}
	return 2, fmt.Errorf("not the first process of a machine; see instar-init run -h")
}

func options(args []string) (boot.Options, error) {
	var o boot.Options
	var name, network, watch string
	f := flag.NewFlagSet("instar-init run", flag.ContinueOnError)
	f.StringVar(&o.Store, "store", "", "directory of the store")
	f.StringVar(&name, "system", "", "digest of the system, or the name of a root of the store")
	f.StringVar(&o.Configuration, "configuration", "", "configuration to start (default: the system's default)")
	f.StringVar(&o.State, "state", "", "directory for mount points; it is made when missing")
	f.StringVar(&o.Control, "control", "", "path of the control socket")
	f.StringVar(&o.Data, "data", "", "directory that keeps the containers' data and logs (default: memory)")
	f.StringVar(&network, "network", "private", "private: nothing but loopback; host: the host's interfaces")
	f.StringVar(&watch, "watch", "", "containers, with commas between them, for whose files there are fanotify groups at the descriptors from 3 on")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if watch != "" {
		o.Watch = strings.Split(watch, ",")
	}
	if f.NArg() > 0 || o.Store == "" || o.State == "" || o.Control == "" {
		return o, fmt.Errorf("run needs --store, --system, --state and --control, and no further arguments")
	}
	if network != "private" && network != "host" {
		return o, fmt.Errorf("--network %s: want private or host", network)
	}
	o.HostNetwork = network == "host"
	var err error
	if root, rerr := os.ReadFile(filepath.Join(o.Store, "roots", filepath.Base(name))); rerr == nil {
		name = strings.TrimSpace(string(root))
	}
	o.System, err = digest.Parse(name)
	return o, err
}

// receiving takes an update, or collects garbage. What becomes of an update, it
// has said on its output.
func receiving(what string, args []string) (int, error) {
	var o receive.Options
	var name string
	f := flag.NewFlagSet("instar-init "+what, flag.ContinueOnError)
	f.StringVar(&o.Store, "store", "", "directory of the store")
	f.StringVar(&o.Disk, "disk", "", "disk of store, slots and record")
	f.StringVar(&name, "system", "", "digest of the system that runs")
	f.BoolVar(&o.Force, "force", false, "in spite of what can be overruled")
	f.StringVar(&o.Data, "data", "", "directory of the containers' data")
	f.BoolVar(&o.DryRun, "dry-run", false, "only say what would be done")
	err := f.Parse(args)
	if err == nil {
		o.System, err = digest.Parse(name)
	}
	switch {
	case err != nil:
		return 2, err
	case what == "collect":
		err := receive.Collect(context.Background(), o, os.Stdout)
		return 0, err
	case receive.Run(context.Background(), o, os.Stdin, os.Stdout) != nil:
		return 1, nil
	}
	return 0, nil
}
