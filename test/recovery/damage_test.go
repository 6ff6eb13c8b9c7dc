package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/crashtest/ext4"
	"github.com/instar-os/instar/internal/delta/remote"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/disk"
	"github.com/instar-os/instar/internal/slot"
	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// An upgrade is a machine's disk with one system, and an update to another.
type upgrade struct {
	disk, update string
	old, new     digest.Digest
}

// upgraded builds the machine twice. The second has another environment.
func upgraded(t *testing.T) upgrade {
	t.Helper()
	dir := workshop(t)
	public := instar(t, dir, "key", "new", "test.key")
	for name, text := range map[string]string{
		"old.yaml": fmt.Sprintf("update: {keys: [%q]}\n", public),
		"new.yaml": fmt.Sprintf("update: {keys: [%q]}\ncontainers: {idle: {env: {EDITION: \"2\"}}}\n", public),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	instar(t, dir, "lock")
	built := func(patch string) digest.Digest {
		var list []struct{ System digest.Digest }
		out := instar(t, dir, "--store", "store", "--patch", patch, "-o", "json", "build", "--arch", "amd64")
		if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		return list[0].System
	}
	u := upgrade{disk: dir + "/disk.raw", update: dir + "/update.instar", old: built("old.yaml"), new: built("new.yaml")}
	instar(t, dir, "--store", "store", "--patch", "old.yaml", "image", "--to", "disk.raw")
	instar(t, dir, "--store", "store", "delta", "make", u.old.String(), u.new.String(), "--key", "test.key", "--to", u.update)
	return u
}

func (p *patient) send(file string) error {
	u, err := remote.File(file)
	if err != nil {
		return err
	}
	defer u.Close()
	_, err = p.vm.Control().Send(p.ctx(), wire.UpdateRequest{}, wire.Outgoing{Front: u.Front(), Body: u.Body}, nil)
	return err
}

func of(system digest.Digest) func(wire.Status) bool {
	return func(st wire.Status) bool {
		return st.System == system.String() && st.Healthy && st.Trial != nil && st.Trial.Standing == wire.Settled
	}
}

// TestDamage spoils an update on the disk after it was written and verified,
// before it is booted for the first time.
func TestDamage(t *testing.T) {
	all(t)
	u := upgraded(t)
	p := boot(t, u.disk, nil)
	p.await("first boot", of(u.old))
	t.Run("disk full", func(t *testing.T) {
		p.t = t
		p.full(u)
	})
	p.t = t
	if err := p.send(u.update); err != nil {
		t.Fatal(err)
	}
	if err := p.vm.PowerOff(p.ctx()); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name    string
		spoil   func(*damaged) error
		reasons []string
		press   bool // somebody, or firmware's own watchdog, resets a machine that has not come to its init
	}{
		{"object", (*damaged).object, []string{"health-timeout", "crash-loop", "store-damaged", "configuration-failed"}, false},
		{"manifest", (*damaged).manifest, []string{"store-damaged", "store-missing"}, false},
		{"kernel", (*damaged).kernel, []string{"no-boot"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir() // the firmware's variables lie beside the disk
			if out, err := exec.Command("cp", "--sparse=always", "--reflink=auto", u.disk, u.disk+".vars", dir).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			copied := filepath.Join(dir, filepath.Base(u.disk))
			if err := damage(copied, u, row.spoil); err != nil {
				t.Fatal(err)
			}
			p := boot(t, copied, nil)
			if row.press {
				defer p.press()()
			}
			p.await("back to the old system", of(u.old))
			v := p.verdict()
			if v.Good || v.System != u.new.String() || !contains(row.reasons, v.Reason) {
				t.Errorf("verdict %+v, want bad for one of %v", v, row.reasons)
			}
			t.Logf("%s: %s: %s%s", row.name, v.Reason, v.Detail, told(p.boots()))
			if err := p.send(u.update); !errors.Is(err, wire.ErrRefused) || !strings.Contains(err.Error(), v.Reason) {
				t.Errorf("sent once more, the machine says %v", err)
			}
		})
	}
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

// press resets the machine as long as its init says nothing.
func (p *patient) press() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		heard, presses := time.Now(), 0
		for {
			select {
			case <-quit:
				p.t.Logf("the button was pressed %d times", presses)
				return
			case <-time.After(2 * time.Second):
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			_, err := p.vm.Control().Status(ctx)
			cancel()
			if err == nil {
				heard = time.Now()
			}
			if time.Since(heard) > 90*time.Second {
				p.t.Logf("the firmware says:\n%s", p.vm.Console().Tail(12))
				_ = p.vm.Reset(context.Background())
				heard, presses = time.Now(), presses+1
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// full fills the data partition: the machine keeps its health, takes no update,
// and says why.
func (p *patient) full(u upgrade) {
	p.t.Helper()
	p.exec("idle", "sh", "-c", "busybox dd if=/dev/zero of=/data/filler bs=64k 2>/dev/null; busybox test -s /data/filler")
	before := p.await("full, and well", func(st wire.Status) bool { return st.Healthy })
	if err := p.vm.Control().Reboot(p.ctx()); err != nil {
		p.t.Fatal(err)
	}
	p.await("a boot with a full disk", again(before, of(u.old)))
	p.t.Logf("the machine remembers:%s", told(p.boots()))
	p.exec("idle", "rm", "/data/filler")
}

// damaged is a disk with an update that has not been booted.
type damaged struct {
	upgrade
	f     *os.File
	table *disk.GPT
}

func damage(path string, u upgrade, spoil func(*damaged) error) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	d := &damaged{upgrade: u, f: f}
	if d.table, err = disk.ReadGPT(f, st.Size()); err != nil {
		return err
	}
	return errors.Join(spoil(d), f.Sync())
}

// flip changes bytes.
func (d *damaged) flip(at, n int64) error {
	b := make([]byte, n)
	if _, err := d.f.ReadAt(b, at); err != nil {
		return err
	}
	for i := range b {
		b[i] ^= 0x5a
	}
	_, err := d.f.WriteAt(b, at)
	return err
}

func (d *damaged) store() (*ext4.FS, int64, error) {
	p, ok := d.table.Find("instar-store")
	if !ok {
		return nil, 0, errors.New("no store")
	}
	fs, err := ext4.Open(io.NewSectionReader(d.f, p.Offset(), p.Size()))
	return fs, p.Offset(), err
}

// file damages the beginning of a file of the store.
func (d *damaged) file(name string) error {
	fs, at, err := d.store()
	if err != nil {
		return err
	}
	x, err := fs.Open(name)
	if err != nil {
		return err
	}
	if len(x.Extents) == 0 {
		return fmt.Errorf("%s has no extent", name)
	}
	return d.flip(at+int64(x.Extents[0].Block)*x.BlockSize+16, 16)
}

func (d *damaged) manifest() error { return d.file("systems/" + d.new.String()) }

// object damages the launch program of the new system's container.
func (d *damaged) object() error {
	fs, _, err := d.store()
	if err != nil {
		return err
	}
	b, err := fs.ReadFile("systems/"+d.new.String(), system.MaxSize)
	if err != nil {
		return err
	}
	m, err := system.Decode(b)
	if err != nil {
		return err
	}
	c, ok := m.Configuration("day")
	if !ok {
		return errors.New("no configuration day")
	}
	return d.file("objects/" + c.Containers[0].Launch.Digest.Path())
}

// kernel damages the kernel within the new system's image in the slot in force.
func (d *damaged) kernel() error {
	p, ok := d.table.Find(slot.Name(1))
	if !ok || p.Type != disk.TypeESP {
		return errors.New("the second slot is not in force")
	}
	v, err := disk.ReadFAT(io.NewSectionReader(d.f, p.Offset(), p.Size()), p.Size())
	if err != nil {
		return err
	}
	f, ok := slot.Find(v.Files, d.new)
	if !ok {
		return errors.New("the slot lacks the new system")
	}
	off, ok := disk.FileOffset(f)
	if !ok {
		return errors.New("the image has no place")
	}
	return d.flip(p.Offset()+off+f.Size/2, 64<<10)
}
