// Package reason holds the codes that say how a boot began and ended, and why a
// system was judged good or bad: one closed list for the flight recorder, the
// record of trials, and the commands that print them.
package reason

// Code is a word that programs branch on and people can read. Its detail, where
// there is one, is for people alone.
type Code string

// How a boot begins.
const (
	PowerOn  Code = "power-on" // nothing is known of a boot before, or that one powered off
	Reboot   Code = "reboot"   // somebody asked for it
	Kexec    Code = "kexec"    // the kernel before started this one, without firmware
	Watchdog Code = "watchdog" // the hardware reset the machine: nobody fed it
	Panic    Code = "panic"    // the kernel gave up and rebooted
	Reset    Code = "reset"    // the boot before has not ended: power was cut, or something reset the machine
	Trial    Code = "trial"    // of a system that has to prove itself
	Rollback Code = "rollback" // back to the last good system
	Fallback Code = "fallback" // nothing else could be started
	Started  Code = "started"  // as containers on another Linux
)

// How a boot ends, beside Reboot, Kexec, Watchdog, Panic and Reset.
const (
	PowerOff   Code = "power-off"   // somebody asked for it
	HandedOver Code = "handed-over" // the host's own init runs the machine
	Stopped    Code = "stopped"     // the containers on another Linux, or the host's service
	InitCrash  Code = "init-crash"  // instar-init panicked
	CannotRun  Code = "cannot-run"  // a step of the boot failed, and the fallback's too
)

// Why something did not work: of a boot that began the fallback, of a trial's
// verdict.
const (
	Confirmed      Code = "confirmed"               // the verdict good: healthy for as long as was declared
	ConfirmedByMan Code = "confirmed-by-operator"   // the verdict good
	ConfigFailed   Code = "configuration-failed"    // a configuration could not be started
	HealthTimeout  Code = "health-timeout"          // not healthy in time
	HealthLost     Code = "health-lost"             // healthy, but not for as long as was declared
	CrashLoop      Code = "crash-loop"              // a container keeps ending
	Loader         Code = "loader"                  // the loader did not start it as often as it should have
	NoBoot         Code = "no-boot"                 // it was tried and never reached init
	StoreDamaged   Code = "store-damaged"           // an object or manifest is not what its name says
	StoreMissing   Code = "store-missing"           // no partition holds the system
	DataUnreadable Code = "data-unreadable"         // the data partition cannot be mounted
	ModuleFailed   Code = "module-failed"           // a kernel module cannot be loaded
	RejectedByMan  Code = "rolled-back-by-operator" // somebody said so
	Superseded     Code = "superseded"              // another trial was staged before it was decided
	Unknown        Code = "unknown"                 // what a newer or older instar wrote, or nobody knows
)

// list says what each code means, in the order of the documentation.
var list = []struct {
	code    Code
	meaning string
}{
	{PowerOn, "started from power off, or nothing is known of a boot before"},
	{Reboot, "rebooted because somebody asked for it"},
	{Kexec, "the kernel before started this one, without firmware"},
	{Watchdog, "the hardware watchdog reset the machine"},
	{Panic, "the kernel panicked"},
	{Reset, "power was cut or something reset the machine: the boot has no last word"},
	{Trial, "a system on trial was booted"},
	{Rollback, "went back to the last good system"},
	{Fallback, "the fallback was started because nothing else could be"},
	{Started, "started as containers on another Linux"},
	{PowerOff, "powered off because somebody asked for it"},
	{HandedOver, "handed over to the host's own init"},
	{Stopped, "the service or the containers on another Linux were stopped"},
	{InitCrash, "instar-init crashed"},
	{CannotRun, "a step of the boot failed and so did the fallback"},
	{Confirmed, "healthy for as long as was declared"},
	{ConfirmedByMan, "an operator confirmed the system"},
	{ConfigFailed, "the configuration could not be started"},
	{HealthTimeout, "not healthy in the declared time"},
	{HealthLost, "healthy, but not for as long as was declared"},
	{CrashLoop, "a container keeps ending"},
	{Loader, "the boot loader fell back"},
	{NoBoot, "it was booted and never reached init"},
	{StoreDamaged, "an object or the manifest is damaged"},
	{StoreMissing, "no partition holds the system"},
	{DataUnreadable, "the data partition cannot be used"},
	{ModuleFailed, "a kernel module cannot be loaded"},
	{RejectedByMan, "an operator rolled the system back"},
	{Superseded, "another trial took its place before it was decided"},
	{Unknown, "nobody knows"},
}

// Known says whether a code stands in the list.
func (c Code) Known() bool {
	return c.Meaning() != ""
}

// Meaning is the code's sentence for people, "" when it does not stand in the
// list.
func (c Code) Meaning() string {
	for _, e := range list {
		if e.code == c {
			return e.meaning
		}
	}
	return ""
}

// All returns the codes in the order of the documentation.
func All() []Code {
	var all []Code
	for _, e := range list {
		all = append(all, e.code)
	}
	return all
}
