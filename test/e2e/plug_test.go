package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/instar-os/instar/internal/wire"
)

// A monitor is QEMU's monitor protocol (QEMU, docs/interop/qmp-spec.rst).
type monitor struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Scanner
}

// monitorPath is where the machine's monitor is; paths of sockets are short.
func (m *machine) monitorPath() string {
	for _, kv := range m.env {
		if dir, ok := strings.CutPrefix(kv, "XDG_RUNTIME_DIR="); ok {
			return filepath.Join(dir, "monitor")
		}
	}
	return ""
}

func (m *machine) openMonitor() *monitor {
	m.t.Helper()
	conn, err := net.Dial("unix", m.monitorPath())
	if err != nil {
		m.t.Fatal(err)
	}
	q := &monitor{m.t, conn, bufio.NewScanner(conn)}
	q.do("qmp_capabilities", nil)
	return q
}

// do executes a command, which has to succeed.
func (q *monitor) do(command string, arguments map[string]any) {
	q.t.Helper()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		q.t.Fatal(err)
	}
	for q.in.Scan() {
		var r map[string]json.RawMessage
		if err := json.Unmarshal(q.in.Bytes(), &r); err != nil || r["error"] != nil {
			q.t.Fatalf("%s: %s, %v", command, q.in.Bytes(), err)
		}
		if r["return"] != nil {
			return
		}
	}
	q.t.Fatalf("%s: the monitor is closed: %v", command, q.in.Err())
}

// port plugs a device in that a configuration knows by an attribute.
func (q *monitor) port(name string) {
	q.t.Helper()
	q.do("chardev-add", map[string]any{"id": "end-" + name, "backend": map[string]any{"type": "null", "data": map[string]any{}}})
	q.do("device_add", map[string]any{"driver": "virtserialport", "id": name, "chardev": "end-" + name, "name": "org.instar." + name})
}

func (q *monitor) unplug(name string) {
	q.t.Helper()
	q.do("device_del", map[string]any{"id": name})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if json.NewEncoder(q.conn).Encode(map[string]any{"execute": "chardev-remove", "arguments": map[string]any{"id": "end-" + name}}) != nil {
			q.t.Fatal("the monitor is closed")
		}
		for q.in.Scan() && !strings.Contains(q.in.Text(), `"return"`) && !strings.Contains(q.in.Text(), `"error"`) {
		}
		if strings.Contains(q.in.Text(), `"return"`) {
			return
		}
		if time.Now().After(deadline) {
			q.t.Fatalf("%s stays plugged in: %s", name, q.in.Text())
		}
	}
}

// checkPlugs goes to a configuration whose devices and networks are not there
// yet, and plugs them in and out. The machine stays in it.
func (m *machine) checkPlugs() {
	t := m.t
	street, err := net.Listen("tcp", "127.0.0.1:8099") // the machine knows it as 10.0.2.2, and as 10.0.3.2 by the other card
	if err != nil {
		t.Fatal(err)
	}
	defer street.Close()
	go http.Serve(street, http.NotFoundHandler())

	q := m.openMonitor()
	defer q.conn.Close()
	q.do("netdev_add", map[string]any{"type": "user", "id": "card", "net": "10.0.3.0/24"})
	q.do("device_add", map[string]any{"driver": "virtio-net-pci", "id": "card", "netdev": "card", "bus": "plug0", "mac": "52:54:00:00:00:77", "romfile": ""})
	switched := make(chan error, 1)
	go func() {
		out, err := m.instar("switch", "hotplug", "--within", "180s")
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		switched <- err
	}()
	m.eventually("plugged waits for its device, late does not", func() bool {
		st, err := m.status()
		at := func(name string) wire.ContainerStatus {
			i := slices.IndexFunc(st.Containers, func(c wire.ContainerStatus) bool { return c.Name == name })
			if i < 0 {
				return wire.ContainerStatus{}
			}
			return st.Containers[i]
		}
		return err == nil && at("plugged").State == wire.Waiting && strings.Contains(at("plugged").Detail, "plugged (") && healthy(at("late"))
	})
	select {
	case err := <-switched:
		t.Fatalf("the switch ended before the device was there: %v", err)
	default:
	}
	q.port("plugged")
	if err := <-switched; err != nil {
		t.Fatalf("the switch, when all was plugged in: %v", err)
	}
	plugged, late := m.container("plugged").PID, m.container("late").PID
	says := func(container string, want ...string) {
		t.Helper()
		m.eventually(container+" says "+strings.Join(want, ", "), func() bool {
			var got []string
			for line := range strings.Lines(m.log(container)) {
				for _, word := range []string{"there /dev/", "gone /dev/"} {
					if strings.Contains(line, word) {
						got = append(got, word)
					}
				}
			}
			return slices.Equal(got, want)
		})
	}
	there, gone := "there /dev/", "gone /dev/"
	says("plugged", there)
	says("late", gone)
	q.port("late")
	says("late", gone, there)
	q.unplug("plugged")
	says("plugged", there, gone)
	q.port("plugged")
	says("plugged", there, gone, there)
	if a, b := m.container("plugged").PID, m.container("late").PID; a != plugged || b != late {
		t.Errorf("plugged and late were %d and %d and are %d and %d: what is plugged in and out restarts nobody", plugged, late, a, b)
	}
	for name, host := range map[string]string{"moved": "10.0.3.2", "outer": "10.0.2.2"} {
		if got := m.log(name); !strings.Contains(got, "reached "+host+":8099") || !strings.Contains(got, "did not reach 10.9.0.254:80") {
			t.Errorf("%s says %q", name, got)
		}
	}
	st, err := m.status()
	if err != nil || len(st.Devices) != 2 || st.Devices[0].State != wire.DevicePresent || st.Devices[1].State != wire.DevicePresent ||
		len(st.Networks) != 2 || st.Networks[0].State != "up" || st.Networks[1].State != "up" {
		t.Errorf("devices %+v, networks %+v, %v", st.Devices, st.Networks, err)
	}
}
