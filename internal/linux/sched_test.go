package linux

import (
	"encoding/binary"
	"testing"
)

func TestCommEvent(t *testing.T) {
	m := make([]byte, connectorHeaders+16)
	binary.NativeEndian.PutUint32(m[connectorHeaders:], procEventComm)
	m = binary.NativeEndian.AppendUint32(m, 17)
	m = binary.NativeEndian.AppendUint32(m, 16)
	m = append(m, "late-loop\x00\x00\x00\x00\x00\x00\x00"...)
	if tid, comm, ok := commEvent(m); !ok || tid != 17 || comm != "late-loop" {
		t.Errorf("%d %q %v", tid, comm, ok)
	}
	for n := range m {
		if _, _, ok := commEvent(m[:n]); ok {
			t.Errorf("%d bytes are taken", n)
		}
	}
	m[connectorHeaders] = 1
	if _, _, ok := commEvent(m); ok {
		t.Error("another event is taken")
	}
}
