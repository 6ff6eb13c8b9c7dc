package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/instar-os/instar/internal/cpio"
)

// Initrd packs init as /init and the modules as /modules/NNN-name.ko, NNN being
// the place in the load order, into a cpio archive. It is plain, so that updates
// see into it; package uki packs it.
func Initrd(init []byte, modules []Module) ([]byte, error) {
	if len(modules) > 1000 {
		return nil, fmt.Errorf("initrd with %d modules, more than 1000", len(modules))
	}
	files := []cpio.File{
		{Path: "init", Mode: 0o755, Size: int64(len(init)), Data: bytes.NewReader(init)},
		{Path: "modules", Mode: cpio.TypeDir | 0o755},
	}
	for i, m := range modules {
		files = append(files, cpio.File{
			Path: fmt.Sprintf("modules/%03d-%s.ko", i, m.Name), Mode: 0o644,
			Size: int64(len(m.Data)), Data: bytes.NewReader(m.Data),
		})
	}
	var b bytes.Buffer
	if err := cpio.Write(&b, files); err != nil {
		return nil, fmt.Errorf("making the initrd: %w", err)
	}
	return b.Bytes(), nil
}

// Release reads the release (uname -r) out of an x86 bzImage. Kernels of other
// architectures do not hold it in their headers.
//
// Source: Documentation/arch/x86/boot.rst, kernel_version.
func Release(vmlinuz []byte) (string, error) {
	const setup = 0x200
	if len(vmlinuz) < 0x260 || string(vmlinuz[0x202:0x206]) != "HdrS" {
		return "", errors.New("not an x86 bzImage")
	}
	at := setup + int(binary.LittleEndian.Uint16(vmlinuz[0x20e:]))
	if at == setup || at >= len(vmlinuz) {
		return "", errors.New("the bzImage says no version")
	}
	b := vmlinuz[at:min(len(vmlinuz), at+256)]
	s, _, ok := strings.Cut(string(b), " ")
	if !ok || strings.ContainsRune(s, 0) {
		return "", errors.New("the bzImage's version is cut off")
	}
	return s, nil
}
