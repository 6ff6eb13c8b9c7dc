// The runtime need not read control groups to know on how many CPUs it runs:
// instar-oci waits more than it works.
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command instar-oci is an OCI runtime: what podman and containerd start.
//
// It is instar oci without the rest of instar, whose libraries take longer to
// begin than a container does.
package main

import (
	"os"

	"github.com/instar-os/instar/cmd/instar-oci/command"
)

// version is set by the linker.
var version = "devel"

func main() { os.Exit(command.Main(os.Args[1:], version)) }
