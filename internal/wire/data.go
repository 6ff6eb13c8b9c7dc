package wire

import (
	"context"
	"fmt"
	"time"
)

// The methods for containers' data. Archives are tar streams in pieces: Export
// and Import begin a transfer, Read and Write move it on, an offset that is not
// the next one is an error, and a transfer that nobody moves on is given up.
const (
	MethodDataList    = "data.list"    // no parameters; Result is a VolumeList
	MethodDataRestore = "data.restore" // RestoreRequest
	MethodDataExport  = "data.export"  // ExportRequest; Result is a Transfer
	MethodDataImport  = "data.import"  // ImportRequest; Result is a Transfer
	MethodDataRead    = "data.read"    // ReadRequest; Result is a Piece
	MethodDataWrite   = "data.write"   // Piece; answers the last one when the data is in place
	MethodDataAbort   = "data.abort"   // Transfer
)

// Sizes of the pieces of an archive, in bytes, so that a line with one in
// base64 stays below MaxRequest and MaxResponse.
const (
	MaxWritePiece = 32 << 10
	MaxReadPiece  = 1 << 20
)

// VolumeName names a volume: the data of a container at a path.
type VolumeName struct {
	Configuration string `json:"configuration"`
	Container     string `json:"container"`
	Path          string `json:"path"`
}

// Volume is the data of a container.
type Volume struct {
	VolumeName
	Version    int              `json:"version"`
	Generation int              `json:"generation"`
	Bytes      int64            `json:"bytes"`
	Limit      int64            `json:"limit,omitempty"`   // bytes; 0: none declared
	Limited    bool             `json:"limited,omitempty"` // the file system holds the limit
	InUse      bool             `json:"inUse,omitempty"`   // by a container that runs
	Budget     int64            `json:"budget,omitempty"`  // bytes of its snapshots
	Snapshots  []VolumeSnapshot `json:"snapshots"`         // oldest first
}

// VolumeSnapshot is a former state of a volume.
type VolumeSnapshot struct {
	Number  int       `json:"number"`
	Version int       `json:"version"`
	Bytes   int64     `json:"bytes"`
	Made    time.Time `json:"made"`
	Reason  string    `json:"reason"`
}

// VolumeList is all volumes of a machine.
type VolumeList struct {
	Volumes []Volume `json:"volumes"`
}

// RestoreRequest asks for a snapshot in place of the current state.
type RestoreRequest struct {
	VolumeName
	Snapshot int `json:"snapshot"`
}

// ExportRequest asks for a volume as an archive.
type ExportRequest struct {
	VolumeName
	Snapshot int `json:"snapshot,omitempty"` // 0: the current state
}

// ImportRequest announces an archive that replaces a volume's content.
type ImportRequest struct {
	VolumeName
	Version int `json:"version,omitempty"` // of the archive's content; 0: the volume's
}

// Transfer is an archive under way.
type Transfer struct {
	ID string `json:"id"`
}

// ReadRequest asks for the piece of an archive at an offset.
type ReadRequest struct {
	ID     string `json:"id"`
	Offset int64  `json:"offset"`
}

// Piece is a part of an archive.
type Piece struct {
	ID     string `json:"id"`
	Offset int64  `json:"offset"`
	Data   []byte `json:"data,omitempty"`
	End    bool   `json:"end,omitempty"` // nothing follows
}

// DataControl is what the control protocol does with containers' data. A
// Control that has a method Data offers it.
type DataControl interface {
	Volumes(context.Context) ([]Volume, error)
	Restore(context.Context, RestoreRequest) error
	Export(context.Context, ExportRequest) (Transfer, error)
	Import(context.Context, ImportRequest) (Transfer, error)
	Read(context.Context, ReadRequest) (Piece, error)
	Write(context.Context, Piece) error
	Abort(context.Context, Transfer) error
}

// dispatchData calls a method for data; ok is false when it is none.
func dispatchData(ctx context.Context, c Control, req Request) (result any, ok bool, err error) {
	h, has := c.(interface{ Data() DataControl })
	if !has {
		return nil, false, nil
	}
	d := h.Data()
	if d == nil {
		return nil, true, fmt.Errorf("this machine keeps no data")
	}
	switch req.Method {
	case MethodDataList:
		list, err := d.Volumes(ctx)
		return VolumeList{list}, true, err
	case MethodDataRestore:
		result, err = with(req, func(p RestoreRequest) (struct{}, error) { return struct{}{}, d.Restore(ctx, p) })
	case MethodDataExport:
		result, err = with(req, func(p ExportRequest) (Transfer, error) { return d.Export(ctx, p) })
	case MethodDataImport:
		result, err = with(req, func(p ImportRequest) (Transfer, error) { return d.Import(ctx, p) })
	case MethodDataRead:
		result, err = with(req, func(p ReadRequest) (Piece, error) { return d.Read(ctx, p) })
	case MethodDataWrite:
		result, err = with(req, func(p Piece) (struct{}, error) { return struct{}{}, d.Write(ctx, p) })
	case MethodDataAbort:
		result, err = with(req, func(p Transfer) (struct{}, error) { return struct{}{}, d.Abort(ctx, p) })
	default:
		return nil, false, nil
	}
	return result, true, err
}

// with decodes the parameters of a request and calls f with them.
func with[P, R any](req Request, f func(P) (R, error)) (any, error) {
	var p P
	if err := parameters(req, &p); err != nil {
		return nil, err
	}
	return f(p)
}

// DataClient implements DataControl over a client.
type DataClient struct{ *Client }

// Volumes implements DataControl.
func (c DataClient) Volumes(ctx context.Context) ([]Volume, error) {
	var list VolumeList
	err := c.Call(ctx, MethodDataList, nil, &list)
	return list.Volumes, err
}

// Restore implements DataControl.
func (c DataClient) Restore(ctx context.Context, r RestoreRequest) error {
	return c.Call(ctx, MethodDataRestore, r, nil)
}

// Export implements DataControl.
func (c DataClient) Export(ctx context.Context, r ExportRequest) (t Transfer, err error) {
	err = c.Call(ctx, MethodDataExport, r, &t)
	return t, err
}

// Import implements DataControl.
func (c DataClient) Import(ctx context.Context, r ImportRequest) (t Transfer, err error) {
	err = c.Call(ctx, MethodDataImport, r, &t)
	return t, err
}

// Read implements DataControl.
func (c DataClient) Read(ctx context.Context, r ReadRequest) (p Piece, err error) {
	err = c.Call(ctx, MethodDataRead, r, &p)
	return p, err
}

// Write implements DataControl.
func (c DataClient) Write(ctx context.Context, p Piece) error {
	return c.Call(ctx, MethodDataWrite, p, nil)
}

// Abort implements DataControl.
func (c DataClient) Abort(ctx context.Context, t Transfer) error {
	return c.Call(ctx, MethodDataAbort, t, nil)
}
