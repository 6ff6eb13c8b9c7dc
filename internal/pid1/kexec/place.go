package kexec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// How parts are aligned, in bytes: an Image at its offset from 2 MiB, a device
// tree within its 2 MiB (Documentation/arch/arm64/booting.rst), the rest by the
// largest page.
const (
	imageAlign = 2 << 20
	treeAlign  = 2 << 20
	pageAlign  = 64 << 10
	window     = 32 << 30 // from the kernel to the initrd's end; 1 GiB blocks
	maxTree    = 2 << 20
)

// placed is a part at its place in physical memory.
type placed struct {
	data     []byte
	at, size uint64 // size: in memory, more than the data
}

// place puts kernel, initrd, device tree and the code that jumps, which comes
// last, into free memory, and says in the tree where the initrd is.
func place(kernel, initrd, tree []byte, iomem, command string, seed [8]byte) ([]placed, error) {
	offset, size, err := arm64Image(kernel)
	if err != nil {
		return nil, err
	}
	free, err := freeMemory(iomem)
	if err != nil {
		return nil, err
	}
	k := placed{data: kernel, size: up(size, pageAlign)}
	base, ok := take(&free, offset+k.size, imageAlign, 0)
	if !ok {
		return nil, fmt.Errorf("no free memory for a kernel of %d bytes", size)
	}
	k.at = base + offset
	i := placed{data: initrd, size: up(uint64(len(initrd)), pageAlign)}
	if i.at, ok = take(&free, i.size, pageAlign, base); !ok || i.at+i.size > base&^(1<<30-1)+window {
		return nil, fmt.Errorf("no free memory for an initrd of %d bytes", len(initrd))
	}
	changed, err := chosen(tree, command, i.at, i.at+uint64(len(initrd)), seed)
	if err != nil {
		return nil, err
	}
	t := placed{data: changed, size: up(uint64(len(changed)), pageAlign)}
	if t.at, ok = take(&free, treeAlign, treeAlign, base); !ok {
		return nil, errors.New("no free memory for the device tree")
	}
	j := placed{data: jump(k.at, t.at), size: pageAlign}
	if j.at, ok = take(&free, j.size, pageAlign, base); !ok {
		return nil, errors.New("no free memory for the first code")
	}
	return []placed{k, i, t, j}, nil
}

func up(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }

// arm64Image reads the header of an Image: where it wants to be and how much
// memory it takes.
func arm64Image(b []byte) (offset, size uint64, err error) {
	if len(b) < 64 || string(b[56:60]) != "ARM\x64" {
		return 0, 0, errors.New("the kernel is no arm64 Image")
	}
	offset, size = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	if size < uint64(len(b)) || size > maxPart || offset >= imageAlign || offset%pageAlign != 0 {
		return 0, 0, fmt.Errorf("the kernel's header has an offset of %#x and a size of %d bytes", offset, size)
	}
	return offset, size, nil
}

// jump is the code that the kernel which ends jumps to: arm64 instructions that
// set x0 to the device tree, x1 to x3 to 0, and go to the kernel.
func jump(kernel, tree uint64) []byte {
	var b []byte
	for _, instruction := range []uint32{
		0x580000d1, // ldr x17, 24
		0x580000e0, // ldr x0, 32
		0xaa1f03e1, // mov x1, xzr
		0xaa1f03e2, // mov x2, xzr
		0xaa1f03e3, // mov x3, xzr
		0xd61f0220, // br x17
	} {
		b = binary.LittleEndian.AppendUint32(b, instruction)
	}
	b = binary.LittleEndian.AppendUint64(b, kernel)
	return binary.LittleEndian.AppendUint64(b, tree)
}

// extent is a range of physical memory, end exclusive.
type extent struct{ begin, end uint64 }

// maxIomem is the longest /proc/iomem that is read, in bytes.
const maxIomem = 1 << 20

// freeMemory reads /proc/iomem: System RAM without what is reserved within it.
// The kernel that runs will be gone, so that its own place is free; what a part
// is laid over is copied when everything else has ended.
func freeMemory(iomem string) ([]extent, error) {
	if len(iomem) > maxIomem {
		return nil, fmt.Errorf("/proc/iomem of %d bytes", len(iomem))
	}
	var free []extent
	for line := range strings.Lines(iomem) {
		span, name, ok := strings.Cut(strings.TrimSpace(line), " : ")
		if !ok {
			continue
		}
		nested := strings.HasPrefix(line, " ")
		if !nested && name != "System RAM" || nested && name != "reserved" && name != "Crash kernel" {
			continue
		}
		first, last, ok := strings.Cut(span, "-")
		begin, err1 := strconv.ParseUint(first, 16, 63)
		end, err2 := strconv.ParseUint(last, 16, 63)
		if !ok || err1 != nil || err2 != nil || end < begin {
			return nil, fmt.Errorf("/proc/iomem: %q", line)
		}
		if e := (extent{begin, end + 1}); nested {
			free = without(free, e)
		} else {
			free = append(free, e)
		}
	}
	if len(free) == 0 || free[len(free)-1].end <= 1 {
		return nil, errors.New("/proc/iomem shows no memory")
	}
	return free, nil
}

// without takes a range out of ranges.
func without(free []extent, gone extent) []extent {
	var out []extent
	for _, f := range free {
		if before := (extent{f.begin, min(f.end, gone.begin)}); before.begin < before.end {
			out = append(out, before)
		}
		if after := (extent{max(f.begin, gone.end), f.end}); after.begin < after.end {
			out = append(out, after)
		}
	}
	return out
}

// take finds the lowest free range of a size at or behind a place, and takes it.
func take(free *[]extent, size, align, from uint64) (uint64, bool) {
	for _, f := range *free {
		begin := up(max(f.begin, from), align)
		if begin < f.end && f.end-begin >= size {
			*free = slices.Clip(without(*free, extent{begin, begin + size}))
			return begin, true
		}
	}
	return 0, false
}
