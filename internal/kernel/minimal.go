package kernel

import "slices"

// required is what every machine needs beside what its disk hangs on: the file
// systems of images (erofs, overlay), of store and data (ext4) and of the boot
// slots (vfat with the character sets that Debian's kernels default to), the
// firmware's variables, and packet sockets for DHCP.
var required = []string{
	"erofs", "overlay", "ext4", "vfat", "nls_cp437", "nls_ascii", "efivarfs", "af_packet",
}

// optional is loaded where the kernel has it. Virtual machines: disk, network,
// console and entropy by virtio over PCI and MMIO, watchdog, firmware
// configuration. Real machines: NVMe, AHCI and USB disks with their hosts, the
// eMMC of small boards. The quotas of the data partition, and what keeps the
// last messages of a dying kernel in the firmware. Real network cards are
// declared with modules.add, as there are too many to guess.
//
// Checksums come first: libcrc32c asks for one by an alias when it is loaded,
// and in Debian's generic and PREEMPT_RT kernels that is a module.
var optional = []string{
	"crc32c_generic",
	"virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng",
	"virtio_scsi", "sd_mod", "nvme", "ahci", "xhci_pci", "uas", "usb_storage", "mmc_block", "sdhci_pci",
	"sdhci_acpi", "qemu_fw_cfg", "i6300esb", "quota_v2", "efi_pstore",
}

// optionalOf is what one architecture has in addition: the real-time clocks of
// arm64 machines, which are built in on amd64.
var optionalOf = map[string][]string{
	"arm64": {"rtc_pl031", "rtc_efi"},
}

// Candidates returns all names that Minimal chooses from, in their order: what
// a cache of its results has to know.
func Candidates(arch string) []string {
	return slices.Concat(optional, optionalOf[arch], required)
}

// Minimal returns the names of the modules that booting needs on machines of an
// architecture with UEFI firmware, virtual or simple real ones. What the kernel
// must have stands in it always; what helps only some machines where this
// kernel has it.
func (s *Set) Minimal(arch string) []string {
	var names []string
	for _, list := range [][]string{optional, optionalOf[arch]} {
		for _, n := range list {
			if s.Has(n) {
				names = append(names, n)
			}
		}
	}
	return append(names, required...)
}
