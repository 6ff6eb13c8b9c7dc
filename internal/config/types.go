package config

import "time"

// Definition is one machine as its author wrote it, checked and with units
// resolved. The struct tags are the single source of the parser, the JSON
// Schema and `instar explain`: "yaml" is the key (",required" where it must be
// there and not be empty), "doc" one or two sentences, "default" what an absent
// key means, "enum" the words allowed, "min" and "max" the range, "is" a format
// of formats.go, "or" another type that is accepted, "example" a value as it
// would be written. For lists and maps enum, min, max, is and or hold for the
// elements, "keys" is the format of a map's keys and "unique" refuses an
// element that stands in a list twice.
type Definition struct {
	Machine        string                   `yaml:"machine,required" is:"name" doc:"Name of the machine: lower-case letters, digits and dashes, beginning with a letter." example:"greenhouse"`
	Arch           []string                 `yaml:"arch" unique:"true" doc:"Architectures the machine is built for." enum:"amd64,arm64" default:"[amd64]"`
	Hostname       string                   `yaml:"hostname" is:"hostname" doc:"Host name of the machine. Default: the machine's name."`
	Include        []string                 `yaml:"include" is:"relative" unique:"true" doc:"Further definition files, relative to this one, whose keys are added to it. A key set in two of them is an error."`
	Patches        []string                 `yaml:"patches" is:"relative" unique:"true" doc:"Files laid over the definition in order: maps are merged, everything else is replaced, null removes a key."`
	Sources        map[string]Source        `yaml:"sources" keys:"source" doc:"Where inputs come from, by name."`
	Registries     map[string]Registry      `yaml:"registries" keys:"registry" doc:"How registries of OCI images are reached, by HOST or HOST:PORT. Credentials are not the definition's: those of podman and docker are used. Changes nothing of what a lock pins."`
	Kernel         Kernel                   `yaml:"kernel,required" doc:"The kernel and the modules of the initrd." example:"{from: debian, package: linux-image-cloud-amd64}"`
	Boot           Boot                     `yaml:"boot" doc:"Firmware, slots and the start of the machine."`
	Tools          Tools                    `yaml:"tools" doc:"Programs that instar itself runs while building and in instar vm."`
	RealTime       RealTime                 `yaml:"realtime" doc:"Processors, interrupts and overheads that the tasks of containers stand upon."`
	Network        map[string]Interface     `yaml:"network" keys:"interface" doc:"Network interfaces of the machine, by the name they get. None are configured that are not declared."`
	Prune          []string                 `yaml:"prune" is:"prune" unique:"true" doc:"What to leave out of every tree of packages and of OCI images, beside what the tree itself leaves out." example:"[docs, man, locales]"`
	Keep           []string                 `yaml:"keep" is:"paths" unique:"true" doc:"Patterns of paths that stay in every such tree, whatever prune says."`
	Trees          map[string]Tree          `yaml:"trees" keys:"name" doc:"File trees, by name."`
	Containers     map[string]Container     `yaml:"containers" keys:"name" doc:"Containers, by name."`
	Configurations map[string]Configuration `yaml:"configurations,required" keys:"name" doc:"Sets of containers that run together, by name." example:"{rescue: {fallback: true, containers: [ssh]}}"`
	Default        string                   `yaml:"default,required" is:"name" doc:"The configuration that is started when none is asked for." example:"day"`
	Budget         Budget                   `yaml:"budget" doc:"Largest sizes; a build that exceeds one fails and says which part is too large."`
	Update         Update                   `yaml:"update" doc:"Whose updates the machine takes. Without keys it takes none."`
	VM             VM                       `yaml:"vm" doc:"The virtual machine of instar vm."`

	// PruneAt and KeepAt are where the elements stand, "file:line". Not keys.
	PruneAt, KeepAt []string `yaml:"-" json:"-"`
}

// Source is a place that packages come from.
type Source struct {
	Archive    string   `yaml:"archive,required" is:"archive" doc:"debian for the Debian archive at the build host's usual address, debian-security for its security archive, or the URL of a Debian-format archive." example:"debian"`
	Suites     []string `yaml:"suites,required" is:"suite" unique:"true" doc:"Suites of the archive." example:"[trixie, trixie-updates]"`
	Components []string `yaml:"components" is:"suite" unique:"true" doc:"Components of each suite." default:"[main]"`
	Keyring    string   `yaml:"keyring" is:"relative" doc:"debian for the keys of the Debian archive, or a file of OpenPGP public keys." default:"debian"`
	Priority   int      `yaml:"priority" doc:"Preference among sources for the same package, as apt's pin priority: the highest wins, then the highest version." default:"500"`
	Expired    string   `yaml:"expired" doc:"What to do at lock time with a suite whose Valid-Until has passed." enum:"refuse,accept" default:"refuse"`
}

// Registry is how a registry of OCI images is reached.
type Registry struct {
	Mirrors []string `yaml:"mirrors" is:"mirror" unique:"true" doc:"HOST, HOST:PORT or HOST/PATH, asked in order before the registry itself." example:"[\"cache.example.org:5000/hub\"]"`
	CA      string   `yaml:"ca" is:"relative" doc:"File of certificates in PEM, relative to the definition, whose authorities are believed beside the system's."`
	Plain   bool     `yaml:"plain" doc:"Speak HTTP without TLS." default:"false"`
}

// Kernel selects the kernel package and the modules of the initrd.
type Kernel struct {
	From    string   `yaml:"from,required" is:"name" doc:"Source of the kernel package." example:"debian"`
	Package PerArch  `yaml:"package,required" is:"package" doc:"Name of the kernel package, or a map from architecture to name." example:"{amd64: linux-image-cloud-amd64, arm64: linux-image-cloud-arm64}"`
	Modules Modules  `yaml:"modules" doc:"Kernel modules that the initrd loads."`
	Command []string `yaml:"command" is:"argument" doc:"Further kernel arguments." example:"[panic=10, quiet]"`
	Repack  bool     `yaml:"repack" doc:"Pack the kernel such that the device can do it as well, so that an update with another kernel holds what changed in it: less than 1 MB where it would be 12. Its distributor's signature is lost, and an update takes ten seconds and some 140 MB of the store more. For kernels of amd64 that are packed by zstd; others stay as they are."`
}

// Modules says which kernel modules the initrd holds.
type Modules struct {
	Set string   `yaml:"set" doc:"minimal: what booting needs on the declared firmware and in a virtual machine." enum:"minimal,none" default:"minimal"`
	Add []string `yaml:"add" is:"module" unique:"true" doc:"Further modules by name; what they depend on follows." example:"[i6300esb, usbserial]"`
	// Absent from the JSON when it is not set: it is part of a remembered initrd's name.
	Listed string `yaml:"listed" json:",omitempty" is:"relative" doc:"File with what lsmod has printed on the device: the modules that it lists are added." example:"device.lsmod"`
}

// Boot declares firmware and boot slots.
type Boot struct {
	Firmware    string        `yaml:"firmware" doc:"What starts the kernel. uefi: systemd-boot and unified kernel images. uboot: extlinux.conf, and U-Boot's redundant environment on the disk. raspberrypi: config.txt and autoboot.txt." enum:"uefi,uboot,raspberrypi" default:"uefi"`
	Switch      string        `yaml:"switch" doc:"How firmware is told which slot to start. table: by the partition table, which needs nothing of it. variables: by BootNext and BootOrder in its memory, so that it comes back from a trial by itself." enum:"table,variables" default:"table"`
	Trial       string        `yaml:"trial" doc:"What ends a trial when the system dies before its init runs, with switch: table. once: a variable of the firmware starts it, which the loader deletes each time. counter: the loader counts in the name of a file, for firmware that keeps no variables; under a loader that cannot, such a system is started again and again." enum:"once,counter" default:"once"`
	Files       string        `yaml:"files" is:"name" doc:"Tree whose files go into every slot beside kernel and initrd: device trees below dtb, firmware of a Raspberry Pi. For uboot and raspberrypi." example:"pi-firmware"`
	Environment Environment   `yaml:"environment" doc:"Where U-Boot keeps its environment. For uboot."`
	From        string        `yaml:"from" is:"name" doc:"Source of the boot loader's package. Default: the kernel's source."`
	Slots       int           `yaml:"slots" doc:"Number of boot slots." default:"2" min:"2" max:"8"`
	SlotSize    Size          `yaml:"slotSize" doc:"Size of a boot slot." default:"256MiB" min:"33MiB" max:"4GiB"`
	StoreSize   Size          `yaml:"storeSize" doc:"Size of the store partition. Default: this system, and room for another one of its size that shares nothing with it." min:"16MiB"`
	Console     []string      `yaml:"console" is:"console" unique:"true" doc:"Consoles of kernel and init, the last being /dev/console. Default: the serial port of the architecture's usual machines."`
	Watchdog    time.Duration `yaml:"watchdog" doc:"Time-out of the hardware watchdog; without it none is armed." example:"30s" min:"1s" max:"1h"`
	// WatchdogHealth has a name of its own because watchdog is often given alone.
	WatchdogHealth time.Duration `yaml:"watchdogHealth" doc:"Time for which the machine may be unhealthy, from its start or later, before the watchdog is left to reset it. Default: health is not the watchdog's." example:"5m" min:"1s" max:"24h"`
	Confirm        Confirm       `yaml:"confirm" doc:"When a system or configuration on trial has proven itself, and what becomes of one that has not."`
}

// Environment is U-Boot's redundant environment, as its board was configured.
type Environment struct {
	Device string `yaml:"device" is:"name" doc:"U-Boot's name of the disk, interface and number." default:"mmc0" example:"virtio0"`
	Offset Size   `yaml:"offset" doc:"CONFIG_ENV_OFFSET, a multiple of 512: between the partition table and the first partition. The second copy, CONFIG_ENV_OFFSET_REDUND, follows the first." default:"512KiB" min:"34KiB" max:"1008KiB"`
	Size   Size   `yaml:"size" doc:"CONFIG_ENV_SIZE, a multiple of 512." default:"16KiB" min:"4KiB" max:"256KiB"`
}

// Tools says where the programs come from that instar runs.
type Tools struct {
	From string `yaml:"from" is:"name" doc:"Source of the tool packages, or host for what is installed on the build host. Default: the kernel's source."`
}

// Interface is one network interface. Either dhcp or addresses must be given.
type Interface struct {
	Match     Match    `yaml:"match,required" doc:"Which device it is, by stable attributes." example:"{driver: virtio_net}"`
	DHCP      bool     `yaml:"dhcp" doc:"Get an IPv4 address, the gateway and name servers by DHCP."`
	Addresses []string `yaml:"addresses" is:"cidr" unique:"true" doc:"Static addresses with prefix length." example:"[192.0.2.10/24]"`
	Gateway   string   `yaml:"gateway" is:"ip" doc:"Default gateway."`
	DNS       []string `yaml:"dns" is:"ip" unique:"true" doc:"Name servers."`
	MTU       int      `yaml:"mtu" doc:"MTU in bytes. Default: the device's." min:"576" max:"65535"`
	Optional  bool     `yaml:"optional" doc:"The machine is healthy without it."`
}

// Match selects a device; all attributes that are given must hold.
type Match struct {
	Driver string `yaml:"driver" is:"module" doc:"Kernel driver." example:"virtio_net"`
	MAC    string `yaml:"mac" is:"mac" doc:"Permanent hardware address." example:"52:54:00:12:34:56"`
	Path   string `yaml:"path" is:"text" doc:"End of the device's path in sysfs." example:"0000:00:02.0"`
	Name   string `yaml:"name" is:"glob" doc:"Kernel name, as a shell pattern." example:"eth*"`
}

// Tree is a file tree from a source.
type Tree struct {
	From       string   `yaml:"from,required" is:"name" doc:"dir, tarball, file, oci or nix, or the name of a source." example:"debian"`
	Packages   []string `yaml:"packages" is:"selection" unique:"true" doc:"Packages with what they depend on. NAME, NAME=VERSION or NAME/SUITE. For package sources." example:"[mosquitto, ca-certificates]"`
	Essential  bool     `yaml:"essential" doc:"Include the archive's Essential packages. Without it only what the packages depend on is there." default:"false"`
	Without    []string `yaml:"without" is:"package" unique:"true" doc:"Packages to leave out though others depend on them." example:"[perl-base]"`
	Recommends bool     `yaml:"recommends" doc:"Follow Recommends as well as Depends."`
	Effects    string   `yaml:"effects" doc:"declared: the effects of maintainer scripts are computed by rules, and lock fails on a script no rule explains. none: no effects at all." enum:"declared,none" default:"declared"`
	Accept     []string `yaml:"accept" is:"package" unique:"true" doc:"Packages whose unexplained maintainer scripts are known to be needless here." example:"[dbus]"`
	Path       PerArch  `yaml:"path" is:"relative" doc:"File or directory, relative to the definition, or a map from architecture to path. For dir, tarball and file, and for an OCI image in a layout directory or in an archive that docker or podman wrote."`
	Image      string   `yaml:"image" is:"image" doc:"Of an OCI image: its name, as HOST/NAME:TAG or HOST/NAME@sha256:DIGEST; with path, the tag or name within the layout or archive, where there are several. The lock pins the content. For oci." example:"registry.example.org/panel:1.4"`
	Closure    PerArch  `yaml:"closure" is:"closure" doc:"Of a Nix closure: the store path at its root, or a symlink to it such as the result of nix build, relative to the definition; or a map from architecture to one of them. All that it refers to comes with it. For nix." example:"/nix/store/7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27"`
	Caches     []string `yaml:"caches" is:"nixcache" unique:"true" doc:"Where store paths come from; the first that has one gives it. http://, https://, file: and s3:// are binary caches, store: is a directory with a nix/store in it. For nix." default:"[store:/]" example:"[https://cache.nixos.org]"`
	Keys       []string `yaml:"keys" is:"nixkey" unique:"true" doc:"Public keys that binary caches are believed by, as Nix' trusted-public-keys. For nix." example:"[\"cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=\"]"`
	Unsigned   string   `yaml:"unsigned" doc:"What to do at lock time with a path of a binary cache that none of the keys has signed. The lock pins its content either way. For nix." enum:"refuse,accept" default:"refuse"`
	URL        PerArch  `yaml:"url" is:"url" doc:"Address to download from, instead of path, or a map from architecture to address. For tarball and file. The lock pins the content."`
	To         string   `yaml:"to" is:"absolute" doc:"Directory within the tree that the content goes to; for file, the file's path; for nix, a symlink to the closure's root." default:"/"`
	Strip      int      `yaml:"strip" doc:"Leading path components to drop. For tarball." min:"0" max:"16"`
	Mode       Mode     `yaml:"mode" doc:"Mode of the file. For file. Default: 0755 when it is executable, else 0644." example:"\"0755\""`
	Owner      string   `yaml:"owner" is:"owner" doc:"Numeric owner and group of everything. For dir and file." default:"0:0"`
	Prune      []string `yaml:"prune" is:"prune" unique:"true" doc:"What to leave out: a class (docs, man, locales, info, lintian, debug, hwdb, gconv, zoneinfo, terminfo, completions, headers, services) or a pattern of paths in which ** stands for any directories. With PACKAGE: before it, of that package alone. A pattern that means nothing is an error." example:"[docs, locales, /usr/share/icons/**, \"perl-base:/usr/share/perl/**\"]"`
	Keep       []string `yaml:"keep" is:"paths" unique:"true" doc:"Patterns of paths that prune does not remove."`

	// PruneAt and KeepAt are where the elements stand, "file:line". Not keys.
	PruneAt, KeepAt []string `yaml:"-" json:"-"`
}

// Container is file trees and how to start what is in them.
type Container struct {
	Trees        []string          `yaml:"trees,required" is:"name" unique:"true" doc:"Trees, later ones over earlier ones." example:"[broker, conf]"`
	Prune        []string          `yaml:"prune" is:"prune" unique:"true" doc:"What to leave out of all its trees laid over each other: classes and patterns as a tree's." example:"[\"/usr/bin/*\", \"libc6:gconv\"]"`
	Keep         []string          `yaml:"keep" is:"paths" unique:"true" doc:"Patterns of paths that neither prune nor recorded removes."`
	Recorded     PerArch           `yaml:"recorded" is:"relative" doc:"File that instar record wrote, or a map from architecture to file: of packages and images only what it names stays, with all that it needs, and keep." example:"broker.recorded"`
	Smoke        []string          `yaml:"smoke" doc:"Command on the build host that tries the container while it is recorded, in the definition's directory and on the machine's network. It ends with 0." example:"[sh, smoke/broker.sh]"`
	Command      []string          `yaml:"command" doc:"Program, with its absolute path in the container, and arguments. Default: the entrypoint and cmd of its OCI image; a container without one must have it." example:"[/usr/sbin/mosquitto, -c, /etc/mosquitto/mosquitto.conf]"`
	Args         []string          `yaml:"args" doc:"Arguments in the place of the cmd of its OCI image, whose entrypoint stays." example:"[--verbose]"`
	Prepare      [][]string        `yaml:"prepare" doc:"Commands run to success, in order, before the command and in the same sandbox."`
	Env          map[string]string `yaml:"env" keys:"variable" doc:"Environment, beside PATH, HOME, HOSTNAME and USER, and over that of its OCI image."`
	Dir          string            `yaml:"dir" is:"absolute" doc:"Working directory. Of an OCI image: the image's." default:"/"`
	User         string            `yaml:"user" is:"user" or:"integer" min:"0" max:"4294967294" doc:"User by name from the container's own /etc/passwd, or UID or UID:GID. Of an OCI image: the image's." default:"0"`
	Groups       []string          `yaml:"groups" is:"group" or:"integer" min:"0" max:"4294967294" unique:"true" doc:"Supplementary groups by name or number. Default: those of /etc/group."`
	Root         string            `yaml:"root" doc:"Whether the root file system may be written; ephemeral writes go to memory." enum:"read-only,ephemeral" default:"read-only"`
	Tmpfs        []Tmpfs           `yaml:"tmpfs" doc:"Memory file systems beside /tmp and /run, which every container has."`
	Data         []Data            `yaml:"data" doc:"Directories that last, kept per container, and by default per configuration, on the data partition."`
	Network      string            `yaml:"network" doc:"none: only loopback. host: the machine's interfaces." enum:"none,host" default:"none"`
	UserNS       string            `yaml:"userns" doc:"private: users and groups of its own, a range of the machine's that no other container has; root in it is nobody outside. host: the machine's users and groups." enum:"private,host" default:"private"`
	Capabilities []string          `yaml:"capabilities" is:"capability" unique:"true" doc:"Capabilities that are kept. All others are dropped." example:"[NET_BIND_SERVICE]"`
	Seccomp      string            `yaml:"seccomp" doc:"System call filter." enum:"default,unconfined" default:"default"`
	CDI          []string          `yaml:"cdi" is:"relative" unique:"true" doc:"Container Device Interface files (JSON) whose device nodes, variables, groups and mounts it gets; FILE#DEVICE selects one of several devices." example:"[gpu.json#0]"`
	Init         bool              `yaml:"init" doc:"Start a minimal first process, which takes the ends of orphans and passes signals on; the command is process 2. Without it the command is process 1."`
	Stdin        bool              `yaml:"stdin" doc:"Keep the command's standard input open for instar attach, whether somebody is attached or not. Without it there is nothing to read."`
	TTY          bool              `yaml:"tty" doc:"Give the command a terminal for its standard streams, which instar attach joins."`
	Control      bool              `yaml:"control" doc:"Give access to the supervisor's socket, /run/instar/control.sock."`
	Memory       Size              `yaml:"memory" doc:"Largest memory, cgroup memory.max." min:"1MiB" example:"64MiB"`
	Swap         Size              `yaml:"swap" doc:"Largest swap beside memory, cgroup memory.swap.max. Default: none."`
	OOMScore     int               `yaml:"oomScore" doc:"Added to the badness of its processes when the whole machine has no memory left; the highest are killed first." default:"0" min:"-1000" max:"1000"`
	Pids         int               `yaml:"pids" doc:"Largest number of processes." default:"1024" min:"1" max:"4194304"`
	CPU          CPU               `yaml:"cpu" doc:"Share of the processors."`
	IO           IO                `yaml:"io" doc:"Share of the disks."`
	Rlimits      map[string]int64  `yaml:"rlimits" keys:"rlimit" min:"0" doc:"Resource limits (soft and hard) by name: nofile, nproc, core, memlock, …"`
	Sysctls      map[string]string `yaml:"sysctls" keys:"sysctl" doc:"Kernel parameters of its own namespaces: net.*, fs.mqueue.*, kernel.shm*, kernel.msg*, kernel.sem, kernel.domainname." example:"{net.ipv4.ip_unprivileged_port_start: \"80\"}"`
	Landlock     *Landlock         `yaml:"landlock" doc:"The only files that its programs may use, whatever modes say. Without it: all that modes allow."`
	Logs         Logs              `yaml:"logs" doc:"How much of its output is kept."`
	OneShot      bool              `yaml:"oneshot" doc:"The command ends by itself; its success counts as health."`
	Restart      Restart           `yaml:"restart" doc:"When to start it again. A plain word gives the policy."`
	Health       *Health           `yaml:"health" doc:"How to find out that it does its work. Without it, and without one of its OCI image, running is healthy."`
	Stop         Stop              `yaml:"stop" doc:"How it is asked to end."`
	After        []string          `yaml:"after" is:"name" unique:"true" doc:"Containers that must be healthy before it is started."`
	Needs        []string          `yaml:"needs" is:"name" unique:"true" doc:"Containers as after; it is also stopped when one of them stops or ends, and started again with it."`
	Tasks        []Task            `yaml:"tasks" doc:"Threads that must be in time. The build proves that they are, in every configuration that has the container, or refuses."`
	Locked       bool              `yaml:"locked" doc:"Its memory stays in memory: all of what memory allows it is kept from being reclaimed, and its programs may lock as much (mlockall). Needs memory."`
	HugePages    Size              `yaml:"hugePages" doc:"Memory in huge pages of 2 MiB that the machine sets aside at boot, for programs that ask for them." min:"2MiB" example:"16MiB"`

	// At is where the container's name stands, "file:line". Not a key.
	At string `yaml:"-"`
	// PruneAt and KeepAt are where the elements stand, "file:line", and
	// RecordedAt is the key's place. Not keys.
	PruneAt, KeepAt []string `yaml:"-" json:"-"`
	RecordedAt      string   `yaml:"-" json:"-"`
	// Given are the keys, of those that an image may set, that the definition sets. Not a key.
	Given []string `yaml:"-" json:",omitempty"`
}

// Landlock are files that a container may use, each with all that is below it.
type Landlock struct {
	Read  []string `yaml:"read" is:"absolute" unique:"true" doc:"Paths to be read, executed and listed, with all that is below them." example:"[/usr, /etc]"`
	Write []string `yaml:"write" is:"absolute" unique:"true" doc:"Paths below which files are changed, made and removed as well." example:"[/dev, /tmp, /var/lib/mosquitto]"`
}

// Tmpfs is a memory file system.
type Tmpfs struct {
	Path string `yaml:"path,required" is:"absolute" doc:"Absolute path in the container." example:"/var/lib/mosquitto"`
	Size Size   `yaml:"size" doc:"Largest size." default:"16MiB" min:"4KiB"`
	Mode Mode   `yaml:"mode" doc:"Mode of its root." default:"\"0755\""`

	NoExec bool `yaml:"noexec" doc:"Programs in it cannot be executed."`
	Inodes int  `yaml:"inodes" doc:"Largest number of files. Default: no limit beside the size." min:"1"`
}

// Data is a directory that lasts.
type Data struct {
	Path    string `yaml:"path,required" is:"absolute" doc:"Absolute path in the container." example:"/var/lib/mosquitto"`
	Version int    `yaml:"version" doc:"Version of the data's format." default:"1" min:"1"`
	Mode    Mode   `yaml:"mode" doc:"Mode of the directory when it is made." default:"\"0750\""`
	Scope   string `yaml:"scope" doc:"configuration: each configuration has a directory of its own. machine: all configurations that run the container share one, which lets it run on while the machine switches between them." enum:"configuration,machine" default:"configuration"`

	Size      Size      `yaml:"size" doc:"Largest size of its files together; writing beyond it fails. Default: no limit." min:"64KiB" example:"64MiB"`
	OnOlder   string    `yaml:"onOlder" doc:"What to do when a newer version has written the data. refuse: the container does not start. restore: the newest snapshot of this version or an older one takes the data's place, which becomes a snapshot." enum:"refuse,restore" default:"refuse"`
	Snapshots Snapshots `yaml:"snapshots" doc:"Former states of the data that are kept. One is made before a newer version first writes."`
}

// Snapshots are former states of data.
type Snapshots struct {
	Keep   int  `yaml:"keep" doc:"How many are kept; the oldest go first." default:"2" min:"1" max:"100"`
	Budget Size `yaml:"budget" doc:"Largest size of all of them. A container whose data does not fit is not upgraded. Default: no limit." min:"4KiB" example:"128MiB"`
}

// CPU is a share of the processors.
type CPU struct {
	Weight int     `yaml:"weight" doc:"Weight against other containers, cgroup cpu.weight." default:"100" min:"1" max:"10000"`
	Limit  float64 `yaml:"limit" doc:"Largest number of CPUs, as 0.5. Default: no limit." min:"0.01" max:"1024"`
}

// Restart is a restart policy. It may be written as a plain word.
type Restart struct {
	Policy string        `yaml:"policy" doc:"After which ends it is started again. Default: always, for oneshot on-failure." enum:"always,on-failure,never"`
	Min    time.Duration `yaml:"min" doc:"First delay; each further start doubles it." default:"100ms" min:"1ms"`
	Max    time.Duration `yaml:"max" doc:"Longest delay." default:"30s" max:"1h"`
}

// Health is a check; exactly one of tcp, http, exec and file is given.
type Health struct {
	TCP      string        `yaml:"tcp" is:"endpoint" or:"integer" min:"1" max:"65535" doc:"Port, or HOST:PORT, that accepts connections." example:"1883"`
	HTTP     string        `yaml:"http" is:"http" doc:"URL that answers with 2xx or 3xx." example:"http://127.0.0.1:80/"`
	Exec     []string      `yaml:"exec" doc:"Command, run within the container, that ends with 0."`
	File     string        `yaml:"file" is:"absolute" doc:"Absolute path in the container that exists."`
	Interval time.Duration `yaml:"interval" doc:"Time between checks once it is healthy." default:"5s" min:"100ms"`
	Timeout  time.Duration `yaml:"timeout" doc:"Time after which one check has failed." default:"2s" min:"10ms"`
	Within   time.Duration `yaml:"within" doc:"Time after a start in which failures do not count." default:"30s"`
	Retries  int           `yaml:"retries" doc:"Failures in a row that make it unhealthy." default:"3" min:"1" max:"100"`
}

// Stop is how a container ends.
type Stop struct {
	Signal  string        `yaml:"signal" is:"signal" doc:"First signal." default:"TERM" example:"QUIT"`
	Timeout time.Duration `yaml:"timeout" doc:"Time until the first step of then, or without one until it is killed." default:"10s" max:"1h"`
	Then    []StopStep    `yaml:"then" doc:"Further signals, in order, while it has not ended. After the last one's wait it is killed." example:"[{signal: INT, wait: 2s}, {signal: QUIT}]"`
}

// StopStep is a further signal to a container that has not ended.
type StopStep struct {
	Signal string        `yaml:"signal,required" is:"signal" doc:"The signal." example:"QUIT"`
	Wait   time.Duration `yaml:"wait" doc:"Time until the next step, after the last one until it is killed." default:"5s" max:"1h"`
}

// Configuration is a set of containers that run together.
type Configuration struct {
	Fallback   bool               `yaml:"fallback" doc:"This is the configuration that always works. Exactly one is."`
	Containers []string           `yaml:"containers,required" is:"name" unique:"true" doc:"Containers it runs." example:"[broker, panel]"`
	Command    []string           `yaml:"command" is:"argument" doc:"Further kernel arguments in this configuration."`
	Host       *Host              `yaml:"host" doc:"A file tree with its own init, which runs the machine; the containers are units of it. Without it instar-init runs the machine."`
	Devices    []Device           `yaml:"devices" doc:"Devices of the machine that its containers own. A container can use none that is not declared."`
	Networks   map[string]Network `yaml:"networks" keys:"interface" doc:"Networks between its containers, by name. Containers are on none that does not name them."`
	Links      []Link             `yaml:"links" doc:"Channels between its containers, which are there before them and survive them."`
	Chains     []Chain            `yaml:"chains" doc:"Paths of data through its tasks, with bounds that the build proves."`
	Checks     []Check            `yaml:"checks" doc:"What must hold in it before it is confirmed, beside boot.confirm.checks."`
}

// Budget holds largest sizes; zero is no limit.
type Budget struct {
	Slot  Size `yaml:"slot" doc:"Bytes used in a boot slot. Default: the slot's size."`
	Store Size `yaml:"store" doc:"Bytes of the store partition's content."`
	Total Size `yaml:"total" doc:"Slot and store together."`

	Containers map[string]Size `yaml:"containers" keys:"name" doc:"Bytes of a container's files, each content once, by container." example:"{broker: 16MiB}"`
}

// VM is how instar vm runs the machine.
type VM struct {
	Memory  Size           `yaml:"memory" doc:"Memory of the virtual machine." default:"512MiB" min:"64MiB"`
	CPUs    int            `yaml:"cpus" doc:"Processors." default:"1" min:"1" max:"64"`
	Disk    Size           `yaml:"disk" doc:"Size of its disk; the data partition takes what is left. Default: what the image needs and 64 MiB of data."`
	Forward map[string]int `yaml:"forward" keys:"name" min:"1" max:"65535" doc:"Ports of the machine reachable from the host's loopback: name to port of the machine. The host's port is chosen and printed." example:"{mqtt: 1883}"`
}
