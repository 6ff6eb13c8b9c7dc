package links

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/port"
)

var all = []system.Link{
	{Name: "level", Type: system.SamplingLink, From: "sensor", To: []string{"panel", system.Outside}, Size: 8, Version: 1, Validity: int64(time.Minute)},
	{Name: "orders", Type: system.QueueingLink, From: system.Outside, To: []string{"panel"}, Size: 8, Version: 1, Depth: 2, Wake: true},
	{Name: "acks", Type: system.QueueingLink, From: "panel", To: []string{system.Outside}, Size: 8, Version: 1, Depth: 2, Drop: true},
	{Name: "talk", Type: system.StreamLink, From: "sensor", To: []string{"panel"}},
	{Name: "mail", Type: system.DatagramLink, From: "panel", To: []string{"sensor"}},
	{Name: "lines", Type: system.PipeLink, From: "sensor", To: []string{"panel"}},
	{Name: "tick", Type: system.EventLink, From: "sensor", To: []string{"panel"}},
	{Name: "door", Type: system.ListenLink, From: system.Outside, To: []string{"panel"}, Address: "127.0.0.1:0"},
}

// ends returns a container's files by link and part.
func files(t *testing.T, table *Table, links []system.Link, container string) map[string]*os.File {
	t.Helper()
	c := &system.Container{Name: container, Descriptors: system.Descriptors(links, container)}
	list, err := table.Files(c)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*os.File{}
	for i, d := range c.Descriptors {
		out[d.Link+" "+string(d.Part)] = list[i]
	}
	return out
}

func newTable(t *testing.T, links []system.Link) *Table {
	t.Helper()
	table := &Table{}
	if err := table.Add(links); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

func TestBytes(t *testing.T) {
	table := newTable(t, all)
	sensor, panel := files(t, table, all, "sensor"), files(t, table, all, "panel")
	if d := system.Descriptors(all, "panel"); d[0].Part != system.Listener {
		t.Errorf("the first descriptor is %+v, want the listener", d[0])
	}
	for _, row := range []struct{ from, to *os.File }{
		{sensor["talk end"], panel["talk end"]}, {panel["talk end"], sensor["talk end"]},
		{panel["mail end"], sensor["mail end"]}, {sensor["lines end"], panel["lines end"]}, {sensor["tick end"], panel["tick end"]},
	} {
		for _, text := range []string{"\x01\x00\x00\x00\x00\x00\x00\x00", "\x02\x00\x00\x00\x00\x00\x00\x00"} {
			if _, err := row.from.WriteString(text); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 8)
			if _, err := row.to.Read(buf); err != nil || string(buf) != text {
				t.Errorf("%s: read %q, %v; want %q", row.from.Name(), buf, err, text)
			}
		}
	}
	if on, err := unix.GetsockoptInt(int(panel["door listener"].Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on != 1 {
		t.Errorf("the listener does not listen: %v, %v", on, err)
	}
}

// open tries what a reader with a descriptor could do to write.
func TestReaderCannotWrite(t *testing.T) {
	table := newTable(t, all)
	panel, sensor := files(t, table, all, "panel"), files(t, table, all, "sensor")
	ro, rw := panel["level memory"], sensor["level memory"]
	if _, err := ro.WriteAt([]byte{1}, 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("writing: %v", err)
	}
	if _, err := unix.Mmap(int(ro.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); !errors.Is(err, unix.EACCES) {
		t.Errorf("mapping for writing: %v", err)
	}
	if err := unix.Ftruncate(int(rw.Fd()), 4096); !errors.Is(err, unix.EPERM) {
		t.Errorf("the writer may change the size: %v", err)
	}
	if seals, err := unix.FcntlInt(rw.Fd(), unix.F_GET_SEALS, 0); err != nil || seals&unix.F_SEAL_SHRINK == 0 || seals&unix.F_SEAL_SEAL == 0 {
		t.Errorf("seals %#x, %v", seals, err)
	}
	// Root without capabilities, as in a container, and another user.
	for _, uid := range []int{0, 1000} {
		err := asUser(uid, func() error {
			path := fmt.Sprintf("/proc/self/fd/%d", ro.Fd())
			for name, try := range map[string]func() error{
				"opening anew": func() error { _, err := unix.Open(path, unix.O_RDWR, 0); return err },
				"chmod":        func() error { return unix.Fchmod(int(ro.Fd()), 0o666) },
			} {
				if err := try(); !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
					return fmt.Errorf("%s: %v", name, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Errorf("user %d: %v", uid, err)
		}
	}
}

func TestSupervisorsEnds(t *testing.T) {
	table := newTable(t, all)
	panel, sensor := files(t, table, all, "panel"), files(t, table, all, "sensor")
	if _, err := table.Read("level"); !errors.Is(err, port.ErrEmpty) {
		t.Errorf("an empty port: %v", err)
	}
	w, err := port.NewSamplingWriter(port.Ends{Memory: sensor["level memory"]}, port.Message{Link: "level", Size: 8, Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Write([]byte("12")); err != nil {
		t.Fatal(err)
	}
	if v, err := table.Read("level"); err != nil || string(v.Data) != "12" || !v.Valid || v.Sequence != 1 {
		t.Errorf("read %+v, %v", v, err)
	}
	for _, text := range []string{"one", "two"} {
		if err := table.Write("orders", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Write("orders", []byte("three")); !errors.Is(err, port.ErrFull) {
		t.Errorf("a full queue: %v", err)
	}
	r, err := port.NewQueueReader(port.Ends{Memory: panel["orders memory"], Cursor: panel["orders cursor"], Wake: panel["orders wake"]},
		port.Message{Link: "orders", Size: 8, Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if woken, err := r.Wait(time.Second); !woken || err != nil {
		t.Errorf("not woken: %v", err)
	}
	if woken, err := r.Wait(time.Millisecond); woken || err != nil {
		t.Errorf("woken twice: %v", err)
	}
	buf := make([]byte, 8)
	if s, err := r.Read(buf); err != nil || string(buf[:s.Length]) != "one" {
		t.Errorf("read %q, %v", buf, err)
	}
	var got []string
	for _, s := range table.List().Links {
		if s.Size > 0 {
			got = append(got, fmt.Sprintf("%s %d written, %d queued, %d rejected, valid %v", s.Name, s.Written, s.Queued, s.Rejected, s.Valid))
		}
	}
	want := "level 1 written, 0 queued, 0 rejected, valid true; orders 2 written, 1 queued, 1 rejected, valid false; acks 0 written, 0 queued, 0 rejected, valid false"
	if strings.Join(got, "; ") != want {
		t.Errorf("list %q, want %q", got, want)
	}
	for _, row := range []struct {
		err  error
		want string
	}{
		{second(table.Read("orders")), "leads to panel, which would miss"},
		{second(table.Read("talk")), "a stream, which only its ends can read"},
		{second(table.Read("nothing")), "there is no link nothing"},
		{table.Write("level", nil), "comes from sensor, its only writer"},
		{table.Write("door", nil), "only its ends can write"},
		{table.Write("nothing", nil), "there is no link nothing"},
		{table.Write("orders", make([]byte, 9)), "message too large"},
	} {
		if row.err == nil || !strings.Contains(row.err.Error(), row.want) {
			t.Errorf("%v, want %s", row.err, row.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestSwitch goes from one set of links to another and looks at what is kept.
func TestSwitch(t *testing.T) {
	day := slicesOf(all[0], all[1], all[7])
	night := slicesOf(all[0], all[1], all[7])
	night[1].Depth = 4 // another link of the same name
	night[2].To = []string{"sensor"}
	table := newTable(t, day)
	before := files(t, table, day, "panel")
	if err := errors.Join(table.Write("orders", []byte("one")), table.Add(night)); err != nil {
		t.Fatal(err)
	}
	during := files(t, table, night, "panel")
	if during["level memory"] != before["level memory"] || during["orders memory"] == before["orders memory"] {
		t.Error("want the link declared alike kept, and the other made anew")
	}
	if files(t, table, day, "panel")["orders memory"] != before["orders memory"] {
		t.Error("the old link is gone before the switch has ended")
	}
	if err := table.Keep(night); err != nil {
		t.Fatal(err)
	}
	if _, err := before["orders memory"].Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the old link: %v, want closed", err)
	}
	if list := table.List().Links; len(list) != 3 || list[1].Depth != 4 || list[1].Written != 0 {
		t.Errorf("links after the switch: %+v", list)
	}
	if _, err := table.Files(&system.Container{Name: "panel", Descriptors: system.Descriptors(day, "panel")}); err == nil {
		t.Error("files of a link that is gone")
	}
	if err := table.Add(slicesOf(system.Link{Name: "x", Type: "tube"})); err == nil || len(table.links) != 3 {
		t.Errorf("an unknown type: %v", err)
	}
}

func slicesOf(l ...system.Link) []system.Link { return append([]system.Link(nil), l...) }
