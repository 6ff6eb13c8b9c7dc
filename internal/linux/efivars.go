package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// EFIGlobal is the vendor of the variables that UEFI itself defines.
const EFIGlobal = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

// EFIVars are the variables of one vendor, in a mounted efivarfs or a directory
// that stands for one.
type EFIVars struct{ Dir, Vendor string }

// maxEFIVariable is the largest variable in bytes that is read.
const maxEFIVariable = 64 << 10

func (v EFIVars) file(name string) string { return filepath.Join(v.Dir, name+"-"+v.Vendor) }

// Names returns the names of all variables of the vendor, in order.
func (v EFIVars) Names() ([]string, error) {
	files, err := os.ReadDir(v.Dir)
	if err != nil {
		return nil, fmt.Errorf("listing UEFI variables: %w", err)
	}
	var names []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), "-"+v.Vendor); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// Get returns a variable's value without its attributes, nil when there is no
// such variable.
func (v EFIVars) Get(name string) ([]byte, error) {
	b, err := os.ReadFile(v.file(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading UEFI variable %s: %w", name, err)
	case len(b) < 4 || len(b) > maxEFIVariable:
		return nil, fmt.Errorf("reading UEFI variable %s: %d bytes", name, len(b))
	}
	return b[4:], nil
}

// Set makes a variable last with a value. Firmware takes the one write whole or
// not at all.
func (v EFIVars) Set(name string, value []byte) error {
	text := EFIText{Dir: v.Dir, Name: name, Vendor: v.Vendor}
	err := text.mutable()
	if err == nil {
		err = writeOnce(text.path(), append(binary.LittleEndian.AppendUint32(nil, efiLasting), value...))
	}
	if err != nil {
		return fmt.Errorf("setting UEFI variable %s: %w", name, err)
	}
	return nil
}

// Delete removes a variable; it is no error when there is none.
func (v EFIVars) Delete(name string) error {
	return EFIText{Dir: v.Dir, Name: name, Vendor: v.Vendor}.Delete()
}
