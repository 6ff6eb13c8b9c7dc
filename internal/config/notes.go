package config

// Notes returns what a valid definition gives up, each with its remedy: what
// its author has declared, and should know when it happens.
func (d *Definition) Notes() []string {
	var all []string
	if d.Boot.Trial == "counter" {
		all = append(all, "boot.trial: counter: a system that dies before its init runs comes back only if the boot loader can rename files on its slot; "+
			"where it cannot, that system is started again and again until somebody cuts the power. Where firmware keeps variables, boot.trial: once has no such case")
	}
	if d.Boot.Watchdog == 0 && d.Boot.Trial == "counter" {
		all = append(all, "boot.watchdog is not set: a system on trial that hangs stays there")
	}
	return all
}
