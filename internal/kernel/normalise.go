package kernel

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/instar-os/instar/internal/bzimage"
	"github.com/instar-os/instar/internal/pe"
)

// Normal is a kernel of x86 whose payload is packed by this program, so that a
// device can make it again of the kernel itself.
type Normal struct {
	Image   []byte // as it boots
	Shell   []byte // the image without its payload
	Content []byte // vmlinux, and its relocations
}

// ErrOpaque is wrapped by errors of Normalise that say that an image has to stay
// as it is: it boots, only updates do not see into it.
var ErrOpaque = errors.New("the kernel stays packed as it came")

// Normalise takes the payload out of a bzImage and packs it anew. The result is
// not signed any more; what is signed is the unified kernel image around it.
//
// The payload stands between startup code and decompressor, which are linked to
// each other without relocations. Since the new payload has another size, what
// stands behind it moves, and every reference across it is found and corrected.
// Whatever could be a reference and is not understood is an error.
func Normalise(image []byte) (*Normal, error) {
	n, err := normalise(image)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOpaque, err)
	}
	return n, nil
}

func normalise(image []byte) (*Normal, error) {
	k, err := parseImage(image)
	if err != nil {
		return nil, err
	}
	content, err := k.content()
	if err != nil {
		return nil, err
	}
	packed, err := pack(content)
	if err != nil {
		return nil, err
	}
	moved, err := k.move(int64(len(packed))+4, int64(len(content)))
	if err != nil {
		return nil, err
	}
	shell := bzimage.Shell(moved[:k.at], moved[k.tail:], k.tail+k.by)
	var b bytes.Buffer
	if _, err := bzimage.Assemble(&b, shell, packed, len(content)); err != nil {
		return nil, err
	}
	return &Normal{b.Bytes(), shell, content}, nil
}

func (k *image) content() ([]byte, error) {
	payload := k.b[k.at : k.tail-4]
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<30), zstd.WithDecoderMaxMemory(bzimage.MaxContent))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if !bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		return nil, errors.New("its payload is not packed with zstd")
	}
	content, err := r.DecodeAll(payload, nil)
	if err != nil {
		return nil, fmt.Errorf("its payload: %w", err)
	}
	if len(content) != int(le.Uint32(k.b[k.tail-4:])) || !bytes.HasPrefix(content, []byte("\x7fELF")) {
		return nil, errors.New("its payload is no kernel")
	}
	return content, nil
}

// image is a bzImage as it came.
type image struct {
	b    []byte // without a signature
	base int64  // of the protected-mode code, in the file
	at   int64  // of the payload
	tail int64  // of what follows it
	end  uint32 // _end, from base on: where the image ends in memory
	by   int64  // what the tail moves by
}

func parseImage(b []byte) (*image, error) {
	at, length, err := bzimage.Payload(b)
	if err != nil {
		return nil, err
	}
	k := &image{at: at, tail: at + length, base: (int64(b[bzimage.SetupSectors]) + 1) * 512}
	size := k.base + int64(le.Uint32(b[bzimage.ProtectedSize:]))*16
	if size > int64(len(b)) || k.tail >= size || k.at-k.base < 0x210 || k.at-k.base > 1<<16 || size-k.tail > bzimage.MaxShell/2 {
		return nil, errors.New("head, payload and tail are not where they should be")
	}
	if _, err := pe.Parse(b); err != nil {
		return nil, err
	}
	k.b = bytes.Clone(b[:size])
	return k, k.findEnd()
}

// findEnd reads _end out of startup_64, which looks for the place to unpack to:
// mov 0x260(%rsi),%ebx; sub $_end,%ebx.
func (k *image) findEnd() error {
	head := k.b[k.base:k.at]
	pattern := []byte{0x8b, 0x9e, 0x60, 0x02, 0x00, 0x00, 0x81, 0xeb}
	i := bytes.Index(head, pattern)
	if i < 0 || i+len(pattern)+4 > len(head) || bytes.Count(head, pattern) != 1 {
		return errors.New("its startup code is not known")
	}
	k.end = le.Uint32(head[i+len(pattern):])
	if int64(k.end) < int64(len(k.b))-k.base || int64(k.end) > int64(len(k.b))-k.base+64<<20 {
		return fmt.Errorf("it ends at %#x", k.end)
	}
	return nil
}
