package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Confirm says when a boot has proven itself.
type Confirm struct {
	After  time.Duration `yaml:"after" doc:"Time for which everything must hold without a break until a system or configuration on trial is confirmed." default:"30s" min:"1s" max:"24h"`
	Within time.Duration `yaml:"within" doc:"Time after init's start by which it must be confirmed; then the machine goes back by itself." default:"5m" min:"2s" max:"48h"`
	Tries  int           `yaml:"tries" doc:"Boots that a system on trial has, should it crash, hang, or lose power before it is confirmed." default:"3" min:"1" max:"9"`
	Checks []Check       `yaml:"checks" doc:"What must hold beside the health of containers and interfaces, in every configuration that has what a check is about."`
}

// Check is one thing that must hold; exactly one of exec, link, interface, reach
// and task is given.
type Check struct {
	Container string        `yaml:"container" is:"name" doc:"Container that exec runs in." example:"broker"`
	Exec      []string      `yaml:"exec" doc:"Command, run within the container, that ends with 0."`
	Link      string        `yaml:"link" is:"name" doc:"Sampling link that must have been written to of late." example:"water-level"`
	Fresh     time.Duration `yaml:"fresh" doc:"Largest age of the link's last message." default:"10s" min:"100ms" max:"24h"`
	Interface string        `yaml:"interface" is:"interface" doc:"Network interface of the machine that must be up, though it be optional." example:"lan"`
	Reach     string        `yaml:"reach" is:"endpoint" doc:"ADDRESS:PORT that must accept a TCP connection from the machine." example:"192.0.2.1:22"`
	Task      string        `yaml:"task" is:"task" doc:"Task, as CONTAINER.TASK, that has run and keeps to what was proven: it misses no deadline, takes no longer than its bound and computes no more than its wcet." example:"irrigation.valve"`
	Timeout   time.Duration `yaml:"timeout" doc:"Time after which exec or reach has failed." default:"5s" min:"10ms" max:"1m"`
}

// checks checks boot.confirm and the checks of the configurations.
func (c *checker) checks() {
	at := "boot.confirm"
	if f := c.def.Boot.Confirm; f.After > f.Within {
		c.wrong(at+".within", fmt.Sprintf("%s is less than boot.confirm.after, %s", f.Within, f.After), "nothing could be confirmed; make it longer")
	}
	all := Configuration{Containers: sorted(c.def.Containers)}
	for _, name := range sorted(c.def.Configurations) {
		all.Links = append(all.Links, c.def.Configurations[name].Links...)
	}
	for i, ck := range c.def.Boot.Confirm.Checks {
		c.check(index(at+".checks", i), ck, all)
	}
	for _, name := range sorted(c.def.Configurations) {
		cfg := c.def.Configurations[name]
		for i, ck := range cfg.Checks {
			c.check(index(join("configurations", name)+".checks", i), ck, cfg)
		}
	}
}

func (c *checker) check(at string, ck Check, cfg Configuration) {
	var given []string
	for _, key := range []string{"exec", "link", "interface", "reach", "task"} {
		if c.has(at + "." + key) {
			given = append(given, key)
		}
	}
	switch {
	case len(given) == 0 && !c.within(at):
		c.wrong(at, "says not what to check", "give one of exec, link, interface, reach, task")
		return
	case len(given) > 1:
		c.wrongKey(at+"."+given[1], "stands beside "+given[0], "use exactly one of exec, link, interface, reach, task")
		return
	}
	switch {
	case len(ck.Exec) > 0:
		c.program(at+".exec", ck.Exec)
		if ck.Container == "" {
			c.wrongKey(at+".exec", "has no container to run in", "add container: NAME")
			return
		}
		c.named(at+".container", ck.Container, "container", cfg.Containers)
	case ck.Link != "":
		i := slices.IndexFunc(cfg.Links, func(l Link) bool { return l.Name == ck.Link })
		switch {
		case i < 0:
			c.wrong(at+".link", fmt.Sprintf("there is no link %q", ck.Link), "declare it under links of the configuration")
		case cfg.Links[i].Type != "sampling" && cfg.Links[i].Type != "":
			c.wrong(at+".link", "is a "+cfg.Links[i].Type+", whose messages have no age", "name a sampling link")
		}
	case ck.Task != "":
		ct, task, _ := strings.Cut(ck.Task, ".")
		if _, ok := c.taskOf(cfg, ct, task); !ok {
			c.wrong(at+".task", fmt.Sprintf("there is no task %q", ck.Task), "tasks are written CONTAINER.TASK; those of a container stand under its tasks")
		}
	case ck.Interface != "":
		if _, ok := c.def.Network[ck.Interface]; !ok {
			c.wrong(at+".interface", fmt.Sprintf("there is no interface %q", ck.Interface), "declare it under network")
		}
	}
	c.checkAddress(at, ck.Reach)
}

// checkAddress wants an IP address: PID 1 asks no name service.
func (c *checker) checkAddress(at, address string) {
	if _, err := netip.ParseAddrPort(address); address != "" && err != nil {
		c.wrong(at+".reach", "is not an IP address with a port", "write it as 192.0.2.1:22 or [2001:db8::1]:22")
	}
}
