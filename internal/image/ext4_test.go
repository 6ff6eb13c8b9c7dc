package image

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/instar-os/instar/internal/digest"
)

// repeated makes n files that all have the content of one.
func repeated(t *testing.T, n, size int) []storeFile {
	t.Helper()
	b := random(size, 9)
	from := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(from, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var files []storeFile
	for i := range n {
		name := "objects/" + digest.Of([]byte(fmt.Sprint(i))).Path()
		files = append(files, storeFile{name, from, digest.Of(b), int64(size), int64(size)})
	}
	return files
}

// The computed size holds the content, and what is to be free is free.
func TestStoreSize(t *testing.T) {
	tool := treeTool(testTree(t))
	for _, row := range []struct{ n, size int }{{0, 0}, {1, 1}, {20000, 70}, {3000, 4097}, {5, 9 << 20}} {
		files := repeated(t, row.n, row.size)
		name := filepath.Join(t.TempDir(), "store.img")
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		const free = 1 << 20
		e := ext4{
			label: StoreName, seed: []byte("x"), epoch: epoch, features: "verity", journal: storeJournal,
			inodes: storeInodes(files), path: name, size: storeSize(files, free),
			fill: func(w io.Writer) error { return writeTar(context.Background(), w, files, epoch) },
		}
		if err := e.make(context.Background(), tool); err != nil {
			t.Errorf("%+v: %v", row, err)
			continue
		}
		run(t, tool, "e2fsck", "-fn", name)
		sb := make([]byte, superSize)
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(sb, superOffset); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if made := binary.LittleEndian.Uint32(sb[0x108:]); made != epoch { // s_mkfs_time
			t.Errorf("%+v: made at %d, not %d", row, made, epoch)
		}
		left := int64(binary.LittleEndian.Uint32(sb[12:])) * blockSize
		if inodes := binary.LittleEndian.Uint32(sb[16:]); left < free || left > free+2<<20+e.size/50 && e.size > minStore || inodes < spareInodes-100 {
			t.Errorf("%+v: %d bytes and %d inodes are free of %d", row, left, inodes, e.size)
		}
	}
}

// A file system as a host with unsigned char makes it becomes the same.
func TestSignedHash(t *testing.T) {
	tool := treeTool(testTree(t))
	name := filepath.Join(t.TempDir(), "store.img")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e := ext4{label: StoreName, seed: []byte("x"), epoch: epoch, journal: storeJournal, inodes: 4096, path: name, size: 140 << 20}
	if err := e.make(context.Background(), tool); err != nil {
		t.Fatal(err)
	}
	want := digestFile(t, name)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{superOffset, 128 << 20} {
		sb := make([]byte, superSize)
		if _, err := f.ReadAt(sb, at); err != nil {
			t.Fatal(err)
		}
		if sum := ^crc32.Checksum(sb[:superChecksum], castagnoli); sum != binary.LittleEndian.Uint32(sb[superChecksum:]) {
			t.Fatalf("superblock at %d: checksum %#x is not what mke2fs computes", at, sum)
		}
		sb[superFlags] = sb[superFlags]&^signedHash | unsignedHash
		binary.LittleEndian.PutUint32(sb[superChecksum:], ^crc32.Checksum(sb[:superChecksum], castagnoli))
		if _, err := f.WriteAt(sb, at); err != nil {
			t.Fatal(err)
		}
	}
	if digestFile(t, name) == want {
		t.Fatal("the flags made no difference")
	}
	if err := e.normalize(); err != nil || digestFile(t, name) != want {
		t.Errorf("normalized, it differs: %v", err)
	}
	run(t, tool, "e2fsck", "-fn", name)
	if err := setSignedHash(f, 4096, 1<<20); err == nil {
		t.Error("found a superblock where none is")
	}
}

func digestFile(t *testing.T, name string) digest.Digest {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, _, err := digest.FromReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDataBytes(t *testing.T) {
	b := make([]byte, 3*blockSize+5)
	if got := dataBytes(b); got != 0 {
		t.Errorf("zeros have %d bytes of data", got)
	}
	b[blockSize], b[len(b)-1] = 1, 1
	if got := dataBytes(b); got != blockSize+5 {
		t.Errorf("%d bytes of data", got)
	}
	if !bytes.Equal(b[:blockSize], make([]byte, blockSize)) {
		t.Error("changed its input")
	}
}
