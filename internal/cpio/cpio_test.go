package cpio

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

func sample() []File {
	return []File{
		{Path: "init", Mode: 0o755, Size: 5, Data: strings.NewReader("hello")},
		{Path: "modules", Mode: TypeDir | 0o755},
		{Path: "modules/000-a.ko", Mode: 0o644, Size: 3, Data: strings.NewReader("abc")},
		{Path: "empty", Mode: 0o600},
		{Path: "link", Mode: TypeSymlink | 0o777, Size: 4, Data: strings.NewReader("init")},
		{Path: "console", Mode: TypeChar | 0o600, Major: 5, Minor: 1},
	}
}

func TestRoundTrip(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, sample()); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 {
		t.Errorf("archive of %d bytes is not aligned", b.Len())
	}
	got, err := Read(bytes.NewReader(b.Bytes()), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	if len(got) != len(want) {
		t.Fatalf("%d members, want %d", len(got), len(want))
	}
	for i, e := range got {
		f := want[i]
		mode := f.Mode
		if mode&TypeMask == 0 {
			mode |= TypeFile
		}
		if e.Path != f.Path || e.Mode != mode || int64(len(e.Data)) != f.Size || e.Ino != uint32(i+1) ||
			e.Major != f.Major || e.Minor != f.Minor || e.MTime != 0 || e.UID != 0 || e.GID != 0 {
			t.Errorf("member %d: got %+v, want %+v", i, e, f)
		}
	}
	if _, err := Read(bytes.NewReader(b.Bytes()), 7); err == nil {
		t.Error("the limit on data was not held")
	}
	for n := range b.Len() {
		if _, err := Read(bytes.NewReader(b.Bytes()[:n]), 1<<20); err == nil && n < b.Len()-3 {
			t.Errorf("archive cut at %d was accepted", n)
		}
	}
}

func TestRefused(t *testing.T) {
	rows := map[string]File{
		"absolute":     {Path: "/x"},
		"empty":        {Path: ""},
		"trailer":      {Path: trailer},
		"nul":          {Path: "a\x00b"},
		"long":         {Path: strings.Repeat("x", MaxName+1)},
		"short data":   {Path: "x", Size: 4, Data: strings.NewReader("abc")},
		"long data":    {Path: "x", Size: 2, Data: strings.NewReader("abc")},
		"no data":      {Path: "x", Size: 2},
		"dir data":     {Path: "x", Mode: TypeDir, Size: 3, Data: strings.NewReader("abc")},
		"beyond 4 GiB": {Path: "x", Size: 1 << 32, Data: strings.NewReader("abc")},
	}
	for name, f := range rows {
		if err := Write(&bytes.Buffer{}, []File{f}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// GNU cpio lists and checks what Write wrote.
func TestAgainstCpio(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("cpio is not installed")
	}
	var b bytes.Buffer
	if err := Write(&b, sample()); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cpio", "-itv", "--quiet")
	cmd.Env = []string{"TZ=UTC", "LC_ALL=C", "PATH=/usr/bin:/bin"}
	cmd.Stdin = &b
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := []string{
		"-rwxr-xr-x 1 root root 5 Jan 1 1970 init",
		"drwxr-xr-x 2 root root 0 Jan 1 1970 modules",
		"-rw-r--r-- 1 root root 3 Jan 1 1970 modules/000-a.ko",
		"-rw------- 1 root root 0 Jan 1 1970 empty",
		"lrwxrwxrwx 1 root root 4 Jan 1 1970 link -> init",
		"crw------- 1 root root 5, 1 Jan 1 1970 console",
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %q", lines)
	}
	for i := range want {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want[i] {
			t.Errorf("got %q, want %q", got, want[i])
		}
	}
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	if err := Write(&b, sample()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		Read(bytes.NewReader(data), 1<<16)
	})
}
