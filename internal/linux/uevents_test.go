package linux

import (
	"strings"
	"testing"
)

func TestParseUevent(t *testing.T) {
	e, err := ParseUevent([]byte("add@/devices/virtual/mem/null\x00ACTION=add\x00SUBSYSTEM=mem\x00MAJOR=1\x00EMPTY=\x00=x\x00odd\x00"))
	if err != nil || e.Action != "add" || e.Path != "/devices/virtual/mem/null" || e.Keys["SUBSYSTEM"] != "mem" || len(e.Keys) != 4 {
		t.Errorf("%+v, %v", e, err)
	}
	for _, bad := range []string{"", "libudev\x00\xfe\xed", "add@/x", "@/x\x00", "add@x\x00", "add\x00"} {
		if e, err := ParseUevent([]byte(bad)); err == nil {
			t.Errorf("%q is %+v", bad, e)
		}
	}
	var many strings.Builder
	many.WriteString("add@/x\x00")
	for i := range 100 {
		many.WriteString(strings.Repeat("K", i+1) + "=v\x00")
	}
	if _, err := ParseUevent([]byte(many.String())); err == nil {
		t.Error("an event of 100 keys was taken")
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00ACTION=add\x00"))
	f.Add([]byte("libudev\x00\xfe\xed\xca\xfe"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseUevent(b)
		if err == nil && (e.Action == "" || !strings.HasPrefix(e.Path, "/") || len(e.Keys) > maxUeventKeys) {
			t.Errorf("%q is %+v", b, e)
		}
	})
}
