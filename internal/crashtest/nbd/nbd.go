// Package nbd serves a disk to QEMU over the network block device protocol
// (NetworkBlockDevice/nbd, doc/proto.md), so that a test sees each write, flush
// and trim of a machine and can take its disk away at any of them.
package nbd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/instar-os/instar/internal/crashtest/blocks"
)

// Disk is what is served. Do is called for one request at a time, in the order
// in which they came.
type Disk interface {
	io.ReaderAt
	Size() int64
	Do(o blocks.Op, p []byte) error
}

// maxLength is the largest request in bytes; QEMU's are smaller.
const maxLength = 32 << 20

// Numbers of the protocol.
const (
	magicInit   = 0x4e42444d41474943 // NBDMAGIC
	magicOption = 0x49484156454f5054 // IHAVEOPT
	magicReply  = 0x0003e889045565a9
	magicAsk    = 0x25609513
	magicAnswer = 0x67446698

	flagFixed, flagNoZeroes = 1, 2 // of the handshake

	optExportName, optAbort, optInfo, optGo = 1, 2, 6, 7

	replyAck, replyInfo, replyUnsupported = 1, 3, 1<<31 | 1
	infoExport, infoBlockSize             = 0, 3

	sendFlags = 1<<0 | 1<<2 | 1<<3 | 1<<5 | 1<<6 // there are flags; flush, FUA, trim, write zeroes

	cmdRead, cmdWrite, cmdDisconnect, cmdFlush, cmdTrim, cmdZeroes = 0, 1, 2, 3, 4, 6

	commandFUA = 1

	errIO, errInvalid = 5, 22
)

// Serve serves connections of a listener until it is closed. A connection is
// closed at the first violation of the protocol. It returns when no goroutine
// of it is left.
func Serve(l net.Listener, d Disk) error {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serving a disk: %w", err)
		}
		open.Go(func() {
			defer c.Close()
			Conn(c, d)
		})
	}
}

// Conn serves one connection until it ends.
func Conn(c io.ReadWriter, d Disk) error {
	s := &session{r: bufio.NewReader(c), w: bufio.NewWriter(c), disk: d}
	if err := s.handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if s.left {
		return nil
	}
	for {
		more, err := s.request()
		if err != nil || !more {
			return err
		}
	}
}

type session struct {
	r    *bufio.Reader
	w    *bufio.Writer
	disk Disk
	left bool // the client has gone without wanting the disk
}

func (s *session) put(values ...any) error {
	for _, v := range values {
		if err := binary.Write(s.w, binary.BigEndian, v); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) handshake() error {
	if err := errors.Join(s.put(uint64(magicInit), uint64(magicOption), uint16(flagFixed|flagNoZeroes)), s.w.Flush()); err != nil {
		return err
	}
	var flags uint32
	if err := binary.Read(s.r, binary.BigEndian, &flags); err != nil {
		return err
	}
	for {
		done, err := s.option(flags&flagNoZeroes == 0)
		if err := errors.Join(err, s.w.Flush()); err != nil || done {
			return err
		}
	}
}

// option answers one option; done means that requests follow, or nothing.
func (s *session) option(zeroes bool) (done bool, err error) {
	var head struct {
		Magic  uint64
		Option uint32
		Length uint32
	}
	if err := binary.Read(s.r, binary.BigEndian, &head); err != nil {
		return false, err
	}
	if head.Magic != magicOption || head.Length > 64<<10 {
		return false, fmt.Errorf("option %d of %d bytes with magic %x", head.Option, head.Length, head.Magic)
	}
	if _, err := s.r.Discard(int(head.Length)); err != nil {
		return false, err
	}
	reply := func(kind uint32, data ...any) error {
		n := 0
		for _, v := range data {
			n += binary.Size(v)
		}
		return errors.Join(s.put(uint64(magicReply), head.Option, kind, uint32(n)), s.put(data...))
	}
	switch head.Option {
	case optExportName:
		err := s.put(uint64(s.disk.Size()), uint16(sendFlags))
		if zeroes {
			err = errors.Join(err, s.put([124]byte{}))
		}
		return true, err
	case optGo, optInfo:
		return head.Option == optGo, errors.Join(
			reply(replyInfo, uint16(infoExport), uint64(s.disk.Size()), uint16(sendFlags)),
			reply(replyInfo, uint16(infoBlockSize), uint32(blocks.SectorSize), uint32(4096), uint32(maxLength)),
			reply(replyAck))
	case optAbort:
		s.left = true
		return true, reply(replyAck)
	}
	return false, reply(replyUnsupported)
}

// request answers one request; more is false when the client has said goodbye
// or is gone.
func (s *session) request() (more bool, err error) {
	var head struct {
		Magic       uint32
		Flags, Type uint16
		Cookie      uint64
		Off         uint64
		Length      uint32
	}
	if err := binary.Read(s.r, binary.BigEndian, &head); err != nil {
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, err
	}
	if head.Magic != magicAsk || head.Length > maxLength && (head.Type == cmdRead || head.Type == cmdWrite) {
		return false, fmt.Errorf("request %d of %d bytes with magic %x", head.Type, head.Length, head.Magic)
	}
	o := blocks.Op{Off: int64(head.Off), Size: int64(head.Length), FUA: head.Flags&commandFUA != 0}
	var data []byte
	failure := uint32(0)
	do := func(kind blocks.Kind) {
		o.Kind = kind
		if kind == blocks.Flush {
			o.Off, o.Size = 0, 0
		}
		if err := s.disk.Do(o, data); err != nil {
			failure = errIO
		}
	}
	switch head.Type {
	case cmdDisconnect:
		return false, nil
	case cmdRead:
		data = make([]byte, head.Length)
		if _, err := s.disk.ReadAt(data, o.Off); err != nil {
			failure, data = errIO, nil
		}
	case cmdWrite:
		data = make([]byte, head.Length)
		if _, err := io.ReadFull(s.r, data); err != nil {
			return false, err
		}
		do(blocks.Write)
		data = nil
	case cmdFlush:
		do(blocks.Flush)
	case cmdTrim:
		do(blocks.Trim)
	case cmdZeroes:
		do(blocks.Zero)
	default:
		failure = errInvalid
	}
	return true, errors.Join(s.put(uint32(magicAnswer), failure, head.Cookie, data), s.w.Flush())
}
