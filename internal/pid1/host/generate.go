package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/instar-os/instar/internal/system"
)

// target is what starts the units.
const target = "multi-user.target"

// Generate returns the unit files of a configuration by their path below a
// generator's directory; a value that begins with "-> " is the target of a
// symbolic link. Sources: systemd.generator(7), systemd.service(5),
// systemd.resource-control(5) of systemd 257.
func Generate(c *system.Configuration, dir string) map[string]string {
	out := map[string]string{}
	add := func(name, text string) {
		out[name] = text
		out[target+".wants/"+name] = "-> ../" + name
	}
	add(service, serviceUnit(dir))
	for i := range c.Containers {
		add(unitName(c.Containers[i].Name), containerUnit(&c.Containers[i], c.Containers, dir))
	}
	if c.Host.Agent != "" {
		add("instar-agent.service", agentUnit(c.Host.Agent))
	}
	// What the root file system lies upon can only be unmounted when that has
	// gone, which the last step of systemd's shutdown sees to.
	out[mountUnit(dir+"/store")+".d/instar.conf"] = "[Unit]\nDefaultDependencies=no\n"
	if c.Host.Kept {
		out[mountUnit(dir+"/data")+".d/instar.conf"] = "[Unit]\nDefaultDependencies=no\n"
	}
	return out
}

// service is the unit of network and control protocol.
const service = "instar.service"

// mountUnit is the name of a mount's unit: systemd.unit(5), "String escaping".
func mountUnit(path string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.Trim(path, "/"), "-", `\x2d`), "/", "-") + ".mount"
}

func serviceUnit(dir string) string {
	return fmt.Sprintf(`[Unit]
Description=instar: network and control protocol
After=systemd-udevd.service
Before=network.target
Wants=network.target
RequiresMountsFor=%s/store %[1]s/data

[Service]
Type=notify
ExecStart=/%s host
Restart=always
RestartSec=1s
`, dir, system.HostInit)
}

// agentUnit gives the agent nothing but the network and the control socket.
func agentUnit(address string) string {
	if !strings.Contains(address, ":") {
		address = "127.0.0.1:" + address
	}
	return fmt.Sprintf(`[Unit]
Description=instar: reports over HTTP
After=%s
Wants=%[1]s

[Service]
ExecStart=/%s --listen %s
DynamicUser=yes
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
MemoryDenyWriteExecute=yes
Restart=always
RestartSec=1s
`, service, system.HostAgent, literal(address))
}

// literal writes an argument so that systemd takes it as it is.
func literal(s string) string { return strings.NewReplacer("%", "%%", "$", "$$").Replace(s) }

// containerUnit is a unit that runs one container. What limits the container
// has is set by instar-init below the unit's cgroup, which is delegated to it.
//
// What it needs it requires: it is stopped, started and started again with that.
// To what is never started again it is bound: it stops when that ends by itself.
// Both at once cannot be had, for what was stopped because it was bound is not
// started again with the other.
func containerUnit(c *system.Container, all []system.Container, dir string) string {
	after := []string{service}
	for _, name := range c.After {
		after = append(after, unitName(name))
	}
	lines := []string{
		"[Unit]",
		"Description=instar: container " + c.Name,
		"After=" + strings.Join(after, " "),
		"Wants=" + strings.Join(after, " "),
	}
	requires, bound := needs(c, all)
	if len(requires) > 0 {
		lines = append(lines, "Requires="+strings.Join(requires, " "))
	}
	if len(bound) > 0 {
		lines = append(lines, "BindsTo="+strings.Join(bound, " "))
	}
	lines = append(lines,
		"RequiresMountsFor="+dir+"/store "+dir+"/data",
		"StartLimitIntervalSec=0",
		"",
		"[Service]",
	)
	if c.OneShot {
		lines = append(lines, "Type=oneshot", "RemainAfterExit=yes", "TimeoutStartSec=infinity")
	} else {
		lines = append(lines, "Type=notify", "TimeoutStartSec="+startTime(c))
	}
	lines = append(lines,
		"NotifyAccess=main",
		"ExecStart=/"+system.HostInit+" start "+c.Name,
		"Delegate=yes",
		"DelegateSubgroup=supervisor",
		"KillMode=mixed",
		"TimeoutStopSec="+seconds(time.Duration(c.Stop.Longest())+stopGrace),
		"OOMPolicy=continue",
	)
	lines = append(lines, restart(c)...)
	return strings.Join(lines, "\n") + "\n"
}

// needs returns the units without which the container cannot be: those that it
// needs, and the service when that holds something of it.
func needs(c *system.Container, all []system.Container) (requires, bound []string) {
	if Holds(c) {
		requires = append(requires, service)
	}
	for i := range all {
		switch o := &all[i]; {
		case !slices.Contains(c.Needs, o.Name):
		case o.Restart.Policy == system.RestartNever:
			bound = append(bound, unitName(o.Name))
		default:
			requires = append(requires, unitName(o.Name))
		}
	}
	return requires, bound
}

// Holds says whether the service holds links or networks of the container.
func Holds(c *system.Container) bool {
	return len(c.Descriptors) > 0 || c.Network == system.MemberNetwork
}

// stopGrace is what instar-init may take beyond the container's own time.
const stopGrace = 15 * time.Second

// startTime is when a container that has not become healthy has failed to
// start: the time in which failures do not count, and those that do.
func startTime(c *system.Container) string {
	h := c.Health
	if h == nil || len(c.Prepare) > 0 {
		return "infinity"
	}
	return seconds(time.Duration(h.Within + int64(h.Retries)*(h.Interval+h.Timeout)))
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10) + "s"
}

// restart maps the policy and its delays, which double from Min to Max.
func restart(c *system.Container) []string {
	policy := map[system.RestartPolicy]string{
		system.RestartAlways: "always", system.RestartOnFailure: "on-failure", system.RestartNever: "no",
	}[c.Restart.Policy]
	if c.OneShot && policy == "always" {
		policy = "on-failure"
	}
	if policy == "no" || policy == "" {
		return []string{"Restart=no"}
	}
	out := []string{"Restart=" + policy, fmt.Sprintf("RestartSec=%dus", c.Restart.Min/1000)}
	steps := 0
	for d := c.Restart.Min; d > 0 && d < c.Restart.Max; d *= 2 {
		steps++
	}
	if steps > 0 {
		out = append(out, fmt.Sprintf("RestartMaxDelaySec=%dus", c.Restart.Max/1000), "RestartSteps="+strconv.Itoa(steps))
	}
	return out
}

// WriteUnits writes what Generate returned.
func WriteUnits(dir string, files map[string]string) error {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("writing unit %s: %w", name, err)
		}
		var err error
		if to, link := strings.CutPrefix(files[name], "-> "); link {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(files[name]), 0o644)
		}
		if err != nil {
			return fmt.Errorf("writing unit %s: %w", name, err)
		}
	}
	return nil
}
