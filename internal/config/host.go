package config

import "slices"

// Host is a file tree with an init of its own, which runs the machine in a
// configuration; the containers are units of it.
type Host struct {
	Trees []string `yaml:"trees,required" is:"name" unique:"true" doc:"Trees of its root file system, later ones over earlier ones." example:"[system]"`
	Init  string   `yaml:"init" is:"absolute" doc:"Its first process: systemd, by its path in the trees. For a closure of NixOS, unless something else is written, what its boot.json says." default:"/usr/lib/systemd/systemd"`
	Root  string   `yaml:"root" doc:"What becomes of writes to its root file system. ephemeral: they go to memory. kept: to the data partition, as long as its trees stay the same." enum:"ephemeral,kept" default:"ephemeral"`
	Agent string   `yaml:"agent" is:"endpoint" doc:"Address that instar-agent reports on over HTTP. Without it there is no agent." example:"127.0.0.1:9273"`
}

// host checks the host of a configuration.
func (c *checker) host(path string, cfg Configuration) {
	if cfg.Host == nil {
		return
	}
	at := path + ".host"
	for i, t := range cfg.Host.Trees {
		c.named(index(at+".trees", i), t, "tree", sorted(c.def.Trees))
	}
	if cfg.Fallback {
		c.wrongKey(at, "the fallback has a host", "the fallback is what runs when others do not, with nothing but instar-init below it; remove one of the two")
	}
	for i, name := range cfg.Containers {
		if slices.Contains(reservedUnits, name) {
			c.wrong(index(path+".containers", i), "a unit of the host is called instar-"+name, "give the container another name")
		}
	}
}

// reservedUnits are names that containers of a host cannot have: the units
// instar-NAME.service of instar itself.
var reservedUnits = []string{"agent"}
