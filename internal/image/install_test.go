package image

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/disk"
)

// loopDevice attaches a file of size bytes that is full of 0xff.
func loopDevice(t *testing.T, size int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	back := writeOld(t, size)
	out, err := exec.Command("losetup", "-f", "--show", back).Output()
	if err != nil {
		t.Skipf("no loop device can be had: %v", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
			t.Errorf("detaching %s: %v: %s", dev, err, out)
		}
	})
	return dev
}

// writeOld makes a disk that holds something everywhere.
func writeOld(t *testing.T, size int64) string {
	t.Helper()
	old := make([]byte, size)
	for i := range old {
		old[i] = 0xff
	}
	name := filepath.Join(t.TempDir(), "old.img")
	if err := os.WriteFile(name, old, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// On an old disk, device or file, everything reads as on a new one.
func TestInstall(t *testing.T) {
	const size = 172 << 20
	tool := treeTool(testTree(t))
	w := newWorld(t, realBoot(t), "6.12.1")
	p := plan(t, w, Options{Size: size})
	for kind, make := range map[string]func(*testing.T, int64) string{"device": loopDevice, "file": writeOld} {
		t.Run(kind, func(t *testing.T) {
			path := make(t, size)
			if err := CheckEmpty(path); !errors.Is(err, ErrOccupied) {
				t.Errorf("CheckEmpty of an old disk: %v", err)
			}
			if err := p.Install(context.Background(), tool, path); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			g, err := disk.ReadGPT(f, size)
			if err != nil || g.Recovered || len(g.Partitions) != 4 {
				t.Fatalf("partitions %+v: %v", g, err)
			}
			checkSlots(t, f, g, p)
			part, _ := g.Find(StoreName)
			checkStore(t, tool, extract(t, f, part), w)
		})
	}
}

// A device that someone holds is left alone.
func TestInstallBusy(t *testing.T) {
	w := newWorld(t, realBoot(t), "6.12.1")
	p := plan(t, w, Options{Size: 172 << 20})
	dev := loopDevice(t, 172<<20)
	held, err := os.OpenFile(dev, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := p.Install(context.Background(), nil, dev); err == nil || !strings.Contains(err.Error(), "it is in use") {
		t.Errorf("installed on a device in use: %v", err)
	}
	if err := CheckEmpty(dev); !errors.Is(err, ErrOccupied) {
		t.Errorf("the device was changed: %v", err)
	}
}
