package bindiff

import "testing"

func TestBases(t *testing.T) {
	old := []Candidate{
		{"usr/lib/libssl.so.3", 100}, {"usr/lib/libavif.so.16.0.1", 50}, {"lib/modules/6.12.107+deb13/fs/ext4.ko", 10},
		{"lib/modules/6.12.107+deb13/drivers/core.ko", 10}, {"lib/modules/6.12.107+deb13/net/core.ko", 20},
		{"etc/a/config", 5}, {"etc/b/config", 9}, {"usr/share/x86/sha256", 1}, {"usr/lib/python3.11/os.py", 7},
		{"nix/store/0123456789abcdfghijklmnpqrsvwxyz-glibc/gconv/ISO8859-1.so", 9},
		{"nix/store/0123456789abcdfghijklmnpqrsvwxyz-glibc/gconv/ISO8859-14.so", 9},
	}
	for _, c := range []struct {
		path string
		size int64
		want int
	}{
		{"usr/lib/libssl.so.3", 7, 0},
		{"usr/lib/libavif.so.16.1.0", 50, 1},
		{"lib/modules/6.12.117+deb13/fs/ext4.ko", 10, 2},
		{"lib/modules/6.12.117+deb13/net/core.ko", 10, 4},
		{"etc/c/config", 8, 6},
		{"etc/c/config", 6, 5},
		{"usr/share/x87/sha512", 1, -1},
		{"opt/lib/libavif.so.17", 1, 1},
		{"usr/lib/python3.12/os.py", 7, 8},
		{"nix/store/123456789abcdfghijklmnpqrsvwxyz0-glibc/gconv/ISO8859-14.so", 9, 10},
		{"new", 7, -1},
	} {
		if got := Bases(old, []Candidate{{c.path, c.size}})[0]; got != c.want {
			t.Errorf("%s, %d bytes: %d, want %d", c.path, c.size, got, c.want)
		}
	}
}
