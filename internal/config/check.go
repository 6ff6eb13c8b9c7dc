package config

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// A checker finds what is wrong between keys that are right by themselves.
type checker struct {
	*decoder
	def *Definition
}

// has reports whether a file sets the key.
func (c *checker) has(path string) bool {
	_, ok := c.places[path]
	return ok
}

// wrong reports an error at a key's value, or at the nearest key around it.
// A key that is wrong by itself has one error, and needs no second.
func (c *checker) wrong(path, reason, hint string) {
	if c.isBad(path) {
		return
	}
	for at := path; ; {
		if p, ok := c.places[at]; ok {
			c.add(p.value, path, reason, hint)
			return
		}
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
}

// wrongKey is wrong, at the key instead of the value.
func (c *checker) wrongKey(path, reason, hint string) {
	if p, ok := c.places[path]; ok && !c.isBad(path) {
		c.add(p.key, path, reason, hint)
	}
}

// missing reports a key that must be there beside those that are.
func (c *checker) missing(path, key, hint string) {
	if !c.isBad(path + "." + key) {
		c.add(c.places[path].key, path+"."+key, "is missing", hint)
	}
}

func sorted[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	sort.Strings(all)
	return all
}

// named reports a name that is none of those declared.
func (c *checker) named(path, name, what string, declared []string) bool {
	if slices.Contains(declared, name) {
		return true
	}
	if name != "" && !c.isBad(what+"s") {
		hint := oneOf(name, declared)
		if len(declared) == 0 {
			hint = "declare it under " + what + "s"
		}
		c.wrong(path, fmt.Sprintf("there is no %s %q", what, name), hint)
	}
	return false
}

func (c *checker) definition() {
	c.sources()
	for _, name := range sorted(c.def.Network) {
		c.network(join("network", name), c.def.Network[name])
	}
	c.sameDevice()
	c.keeps("")
	for _, name := range sorted(c.def.Trees) {
		c.tree(join("trees", name), c.def.Trees[name])
	}
	for _, name := range sorted(c.def.Containers) {
		c.keeps(join("containers", name))
		c.perArch(join("containers", name)+".recorded", c.def.Containers[name].Recorded)
		c.container(join("containers", name), c.def.Containers[name])
	}
	c.configurations()
	c.realtime()
	c.checks()
	c.cycles()
	c.firmware()
	for _, name := range sorted(c.def.Budget.Containers) {
		c.named(join("budget.containers", name), name, "container", sorted(c.def.Containers))
	}
	if slot, size := c.def.Budget.Slot, c.def.Boot.SlotSize; slot > size {
		c.wrong("budget.slot", fmt.Sprintf("%s is more than boot.slotSize, %s", slot, size), "lower it, or make the slots larger")
	}
	if store, size := c.def.Budget.Store, c.def.Boot.StoreSize; size > 0 && store > size {
		c.wrong("budget.store", fmt.Sprintf("%s is more than boot.storeSize, %s", store, size), "lower it, or make the store larger")
	}
}

// firmware checks that what is said of trials is for the firmware that is there.
func (c *checker) firmware() {
	b := c.def.Boot
	if b.Firmware == "uefi" && b.Trial == "counter" && b.Switch != "table" {
		c.wrong("boot.trial", "with switch: "+b.Switch+" nothing is counted by the loader: firmware tries a slot once", "leave it out")
	}
	if b.Firmware == "uefi" {
		for _, key := range []string{"files", "environment"} {
			if path := join("boot", key); c.has(path) {
				c.wrong(path, "it is not for firmware: uefi", "leave it out")
			}
		}
		return
	}
	for path, changed := range map[string]bool{"boot.switch": b.Switch != "table", "boot.trial": b.Trial != "once"} {
		if changed {
			c.wrong(path, "it is for firmware: uefi alone", "leave it out: "+b.Firmware+" has one way, and tries a slot by itself")
		}
	}
	if b.Files != "" {
		c.named("boot.files", b.Files, "tree", sorted(c.def.Trees))
	}
	e := b.Environment
	switch {
	case b.Firmware != "uboot" && c.has("boot.environment"):
		c.wrong("boot.environment", "it is for firmware: uboot alone", "leave it out")
	case strings.TrimRight(e.Device, "0123456789") == e.Device:
		c.wrong("boot.environment.device", fmt.Sprintf("%q has no number", e.Device), "as mmc0, the first memory card")
	case e.Offset%512 != 0 || e.Size%512 != 0:
		c.wrong("boot.environment", fmt.Sprintf("%s and %s are not both multiples of 512", e.Offset, e.Size), "U-Boot's environments begin and end on sectors")
	case e.Offset+2*e.Size > 1<<20:
		c.wrong("boot.environment", fmt.Sprintf("two environments of %s at %s reach beyond 1 MiB, where the first partition begins", e.Size, e.Offset), "use a smaller offset")
	}
}

// sources checks the references to sources outside of trees.
func (c *checker) sources() {
	declared := sorted(c.def.Sources)
	c.named("kernel.from", c.def.Kernel.From, "source", declared)
	c.perArch("kernel.package", c.def.Kernel.Package)
	c.named("boot.from", c.def.Boot.From, "source", declared)
	if c.def.Tools.From != "host" {
		c.named("tools.from", c.def.Tools.From, "source", declared)
	}
}

// perArch checks that a map by architecture has all that the machine has.
func (c *checker) perArch(path string, p PerArch) {
	if _, one := p[""]; one || len(p) == 0 {
		return
	}
	for _, arch := range c.def.Arch {
		if _, ok := p[arch]; !ok && arch != "" {
			c.wrong(path, "has no value for "+arch, "the machine is built for "+strings.Join(c.def.Arch, ", "))
		}
	}
}

func (c *checker) network(path string, n Interface) {
	switch {
	case n.DHCP && len(n.Addresses) > 0:
		c.wrong(path+".dhcp", "stands beside addresses", "use one of them")
	case !n.DHCP && len(n.Addresses) == 0 && !c.isBad(path+".dhcp"):
		c.wrongKey(path, "has neither dhcp nor addresses", "write dhcp: true, or addresses: [192.0.2.10/24]")
	case n.DHCP && n.Gateway != "":
		c.wrong(path+".gateway", "stands beside dhcp", "DHCP gives the gateway; remove one of them")
	case n.Gateway != "":
		c.gateway(path, n)
	}
	if n.Match == (Match{}) && !c.within(path+".match") {
		c.wrong(path+".match", "selects nothing", "give one of driver, mac, path, name")
	}
}

// within reports whether something below path is wrong.
func (c *checker) within(path string) bool {
	for p := range c.bad {
		if strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[") {
			return true
		}
	}
	return false
}

// gateway checks that the gateway can be reached from one of the addresses.
func (c *checker) gateway(path string, n Interface) {
	gw, err := netip.ParseAddr(n.Gateway)
	if err != nil || gw.IsLinkLocalUnicast() || c.within(path+".addresses") {
		return
	}
	for _, a := range n.Addresses {
		if p, err := netip.ParsePrefix(a); err == nil && p.Contains(gw) {
			return
		}
	}
	c.wrong(path+".gateway", n.Gateway+" is in the network of none of the addresses", "check the prefix length")
}

// sameDevice reports interfaces that would be the same device.
func (c *checker) sameDevice() {
	seen := map[Match]string{}
	for _, name := range sorted(c.def.Network) {
		m := c.def.Network[name].Match
		if first, ok := seen[m]; ok && m != (Match{}) {
			c.wrong(join("network", name)+".match", "selects the same device as "+first, "")
			continue
		}
		seen[m] = name
	}
}

func (c *checker) configurations() {
	names := sorted(c.def.Configurations)
	var fallbacks []string
	for _, name := range names {
		cfg := c.def.Configurations[name]
		path := join("configurations", name)
		if cfg.Fallback {
			fallbacks = append(fallbacks, name)
		}
		c.host(path, cfg)
		for i, ct := range cfg.Containers {
			if c.named(index(path+".containers", i), ct, "container", sorted(c.def.Containers)) {
				c.after(index(path+".containers", i), name, cfg, ct)
			}
		}
		c.networks(name, cfg)
		c.links(name, cfg)
		c.devices(name, cfg)
	}
	for i, name := range fallbacks {
		if i > 0 {
			c.wrong(join("configurations", name)+".fallback", fallbacks[0]+" is the fallback already", "exactly one configuration is")
		}
	}
	if len(fallbacks) == 0 && len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return c.isBad(join("configurations", n) + ".fallback") }) {
		c.wrongKey("configurations", "none is the fallback", "give the one that always works fallback: true")
	}
	if c.named("default", c.def.Default, "configuration", names) && len(names) > 1 && slices.Contains(fallbacks, c.def.Default) {
		c.wrong("default", c.def.Default+" is the fallback", "the fallback is started when others fail; name another configuration")
	}
}

// after checks that what a container waits for runs in the same configuration.
func (c *checker) after(path, configuration string, cfg Configuration, name string) {
	for _, w := range waits(name, c.def.Containers[name]) {
		other := w.name
		if _, ok := c.def.Containers[other]; ok && !slices.Contains(cfg.Containers, other) {
			c.wrong(path, fmt.Sprintf("%s is started after %s, which %s does not run", name, other, configuration), "add "+other+" to the configuration")
		}
	}
}

// cycles reports containers that wait for each other, each circle once.
func (c *checker) cycles() {
	const open, done = 1, 2
	state := map[string]int{}
	var way []string
	var visit func(name string)
	visit = func(name string) {
		state[name] = open
		way = append(way, name)
		for _, w := range waits(name, c.def.Containers[name]) {
			next := w.name
			switch state[next] {
			case open:
				circle := append(slices.Clone(way[slices.Index(way, next):]), next)
				c.wrong(w.at, "containers wait for each other: "+strings.Join(circle, " -> "), "remove one of them from "+w.key)
			case 0:
				visit(next)
			}
		}
		way = way[:len(way)-1]
		state[name] = done
	}
	for _, name := range sorted(c.def.Containers) {
		if state[name] == 0 {
			visit(name)
		}
	}
}
