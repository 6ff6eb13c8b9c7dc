package kernel

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/instar-os/instar/internal/pe"
)

// Offsets in the headers of a PE image.
const (
	peOffset     = 0x3c
	peOptional   = 24 // behind PE\0\0
	peCodeSize   = 4  // in the optional header
	peEntry      = 16
	peImageSize  = 56
	peChecksum   = 64
	peSecurity   = 112 + 8*4
	peEntrySize  = 40 // of the section table
	sectVirtual  = 8
	sectAddress  = 12
	sectRaw      = 16
	sectRawPlace = 20
)

// sections corrects what firmware reads of an image: addresses are places of the
// file. Memory without content grows with the memory that is asked for, where
// the image declares it so.
func (k *image) sections(b []byte, grown int64) error {
	m, err := pe.Parse(k.b)
	if err != nil {
		return err
	}
	head := int64(le.Uint32(b[peOffset:]))
	opt := head + peOptional
	table := opt + int64(le.Uint16(b[head+20:]))
	add := func(at, n int64) { le.PutUint32(b[at:], uint32(int64(le.Uint32(b[at:]))+n)) }
	if table+int64(len(m.Sections))*peEntrySize > k.base || table < opt+peSecurity+8 {
		return errors.New("its headers are not in front of its code")
	}
	if int64(le.Uint32(b[opt+peEntry:])) < k.tail {
		return errors.New("firmware enters it before its payload")
	}
	add(opt+peEntry, k.by)
	add(opt+peCodeSize, k.by)
	le.PutUint32(b[opt+peChecksum:], 0)
	clear(b[opt+peSecurity : opt+peSecurity+8])
	end := int64(0)
	for i, s := range m.Sections {
		e := table + int64(i)*peEntrySize
		begin, file := int64(s.VirtualAddress), int64(s.RawOffset)
		switch {
		case s.RawSize > 0 && begin != file:
			return fmt.Errorf("section %s is not where it is in the file", s.Name)
		case begin <= k.at && begin+int64(s.RawSize) > k.tail:
			add(e+sectVirtual, k.by)
			add(e+sectRaw, k.by)
		case begin >= k.tail:
			add(e+sectAddress, k.by)
			if s.RawSize > 0 {
				add(e+sectRawPlace, k.by)
			} else {
				add(e+sectVirtual, grown-k.by)
			}
		case begin+int64(s.VirtualSize) > k.at:
			return fmt.Errorf("section %s ends in the payload", s.Name)
		}
		if s.Name == ".compat" {
			if err := k.compat(b[begin : begin+int64(s.RawSize)]); err != nil {
				return err
			}
		}
		end = max(end, int64(le.Uint32(b[e+sectAddress:]))+int64(le.Uint32(b[e+sectVirtual:])))
	}
	le.PutUint32(b[opt+peImageSize:], uint32(roundUp(end, int64(m.SectionAlign))))
	return nil
}

// compat corrects the entry points for other machines: type, size, machine,
// address (UEFI mixed mode, arch/x86/boot/header.S).
func (k *image) compat(list []byte) error {
	if len(list) < 12 || !bytes.HasPrefix(list, []byte{1, 8, 0x4c, 1}) || list[8] != 0 {
		return errors.New("its entry points for other machines are not known")
	}
	at := int64(le.Uint32(list[4:]))
	if at < k.tail {
		return errors.New("an entry point before its payload")
	}
	le.PutUint32(list[4:], uint32(at+k.by))
	return nil
}
