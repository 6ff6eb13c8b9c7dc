package disk

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	qcowClusterBits = 16
	qcowCluster     = 1 << qcowClusterBits
	qcowHeaderSize  = 104
	qcowCopied      = 1 << 63              // the entry's cluster has a reference count of one
	qcowL2Entries   = qcowCluster / 8      // one table maps 512 MiB
	qcowRefcounts   = qcowCluster * 8 / 16 // 16-bit counts in one block
)

// WriteQcow2 writes the disk r of size bytes as a qcow2 image (version 3,
// 64 KiB clusters, no compression) to w, which must be empty. Clusters of
// zeros are left out. The result depends on nothing but what r reads as.
//
// Source: QEMU, docs/interop/qcow2.txt.
func WriteQcow2(w io.WriterAt, r io.ReaderAt, size int64) error {
	if size <= 0 || size%SectorSize != 0 {
		return fmt.Errorf("writing a qcow2 image: a disk of %d bytes", size)
	}
	q := &qcow2{w: w, r: r, size: size}
	if err := q.write(); err != nil {
		return fmt.Errorf("writing a qcow2 image: %w", err)
	}
	return nil
}

// qcow2 appends cluster by cluster; the header comes last.
type qcow2 struct {
	w    io.WriterAt
	r    io.ReaderAt
	size int64
	next int64             // first free cluster
	l2   map[int64][]int64 // by index in the L1 table: offsets of data clusters
}

func (q *qcow2) write() error {
	l1Len := (q.size + qcowCluster*qcowL2Entries - 1) / (qcowCluster * qcowL2Entries)
	l1Clusters := (l1Len*8 + qcowCluster - 1) / qcowCluster
	q.next = 1 + l1Clusters
	q.l2 = map[int64][]int64{}
	if err := q.copyData(); err != nil {
		return err
	}
	l1 := make([]byte, l1Clusters*qcowCluster)
	for i := range l1Len {
		table, ok := q.l2[i]
		if !ok {
			continue
		}
		b := make([]byte, qcowCluster)
		for j, off := range table {
			if off != 0 {
				binary.BigEndian.PutUint64(b[8*j:], uint64(off)|qcowCopied)
			}
		}
		at, err := q.append(b)
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint64(l1[8*i:], uint64(at)|qcowCopied)
	}
	if _, err := q.w.WriteAt(l1, qcowCluster); err != nil {
		return err
	}
	table, clusters, err := q.writeRefcounts()
	if err != nil {
		return err
	}
	_, err = q.w.WriteAt(q.header(l1Len, table, clusters), 0)
	return err
}

// copyData appends every cluster that is not zero.
func (q *qcow2) copyData() error {
	buf := make([]byte, qcowCluster)
	last := int64(-1)
	return eachData(q.r, q.size, func(at, end int64) error {
		for i := at / qcowCluster; i*qcowCluster < end; i++ {
			if i == last {
				continue // two ranges of data in one cluster
			}
			last = i
			clear(buf)
			if err := readFull(q.r, buf[:min(qcowCluster, q.size-i*qcowCluster)], i*qcowCluster); err != nil {
				return err
			}
			if isZero(buf) {
				continue
			}
			off, err := q.append(buf)
			if err != nil {
				return err
			}
			t := i / qcowL2Entries
			if q.l2[t] == nil {
				q.l2[t] = make([]int64, qcowL2Entries)
			}
			q.l2[t][i%qcowL2Entries] = off
		}
		return nil
	})
}

// append writes one cluster and returns its offset.
func (q *qcow2) append(b []byte) (int64, error) {
	at := q.next * qcowCluster
	q.next++
	_, err := q.w.WriteAt(b, at)
	return at, err
}

// writeRefcounts appends count blocks and their table, which count themselves
// too: every cluster of the file has a count of one.
func (q *qcow2) writeRefcounts() (table, clusters int64, err error) {
	blocks, total := int64(0), int64(0)
	for {
		clusters = (blocks*8 + qcowCluster - 1) / qcowCluster
		total = q.next + blocks + clusters
		need := (total + qcowRefcounts - 1) / qcowRefcounts
		if need <= blocks {
			break
		}
		blocks = need
	}
	b := make([]byte, clusters*qcowCluster)
	for i := range blocks {
		counts := make([]byte, qcowCluster)
		for j := int64(0); j < qcowRefcounts && i*qcowRefcounts+j < total; j++ {
			counts[2*j+1] = 1
		}
		at, err := q.append(counts)
		if err != nil {
			return 0, 0, err
		}
		binary.BigEndian.PutUint64(b[8*i:], uint64(at))
	}
	table = q.next * qcowCluster
	_, err = q.w.WriteAt(b, table)
	return table, clusters, err
}

func (q *qcow2) header(l1Len, table, clusters int64) []byte {
	b := make([]byte, qcowCluster)
	be := binary.BigEndian
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], qcowClusterBits)
	be.PutUint64(b[24:], uint64(q.size))
	be.PutUint32(b[36:], uint32(l1Len))
	be.PutUint64(b[40:], qcowCluster)
	be.PutUint64(b[48:], uint64(table))
	be.PutUint32(b[56:], uint32(clusters))
	be.PutUint32(b[96:], 4) // 1 << 4 bits a reference count
	be.PutUint32(b[100:], qcowHeaderSize)
	return b
}
