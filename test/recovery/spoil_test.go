package recovery

import (
	"errors"
	"os"

	"github.com/instar-os/instar/internal/disk"
)

// spoil overwrites the beginning of a partition, and where ext4 keeps copies of
// it, with what is no file system.
func spoil(path, partition string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	g, err := disk.ReadGPT(f, st.Size())
	if err != nil {
		return err
	}
	p, ok := g.Find(partition)
	if !ok {
		return errors.New("no partition " + partition)
	}
	b := make([]byte, min(p.Size(), 16<<20))
	for i := range b {
		b[i] = 0xa5
	}
	_, err = f.WriteAt(b, p.Offset())
	return errors.Join(err, f.Sync())
}
