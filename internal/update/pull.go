package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/instar-os/instar/internal/chunk"
	"github.com/instar-os/instar/internal/delta"
	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/system"
)

// Packs is where a system comes from that is published in chunks.
type Packs struct {
	// Index is the signed index.
	Index io.Reader
	// Ranges returns what packs have there, one behind the other. What it
	// returned before was read to its end.
	Ranges func([]chunk.Range) (io.Reader, error)
}

// Pull is Receive for a system in chunks: it fetches those that neither the
// store, nor the boot slots, nor an attempt before have.
func Pull(ctx context.Context, src Packs, env *Env) (*Received, error) {
	p, err := newPuller(src, env)
	if err != nil {
		return nil, err
	}
	if err := p.pull(ctx); err != nil {
		return nil, fmt.Errorf("pulling system %s: %w", p.x.Target.Short(), err)
	}
	return &Received{p.x.Target, p.manifest, p.site}, nil
}

// CheckPacks is Check for a system in chunks.
func CheckPacks(ctx context.Context, src Packs, env *Env) (*Checked, error) {
	p, err := newPuller(src, env)
	if err != nil {
		return nil, err
	}
	c := &Checked{Problems: env.unfit(p.head())}
	if env.refuse(grave(c.Problems)) == nil {
		if err = p.readManifest(ctx); err == nil {
			err = p.weigh(c)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("checking system %s: %w", p.x.Target.Short(), err)
	}
	return c, nil
}

func grave(list []Problem) []Problem {
	var all []Problem
	for _, p := range list {
		if p.Grave {
			all = append(all, p)
		}
	}
	return all
}

// puller is a system in chunks under way.
type puller struct {
	site
	x        *chunk.Index
	src      Packs
	manifest *system.Manifest
	lacking  []chunk.Content // that missing has found
	looked   bool
}

func newPuller(src Packs, env *Env) (*puller, error) {
	x, err := chunk.Read(src.Index, env.Keys)
	if err != nil {
		return nil, err
	}
	return &puller{site: newSite(env, x.Sum[:]), x: x, src: src}, nil
}

func (p *puller) head() *delta.Head {
	return &delta.Head{Machine: p.x.Machine, Arch: p.x.Arch, Epoch: p.x.Epoch, Target: p.x.Target}
}

func (p *puller) pull(ctx context.Context) error {
	if err := p.env.refuse(p.env.unfit(p.head())); err != nil {
		return err
	}
	if err := p.readManifest(ctx); err != nil {
		return err
	}
	if err := p.env.refuse(p.problems()); err != nil {
		return err
	}
	if err := p.prepare(p.manifest); err != nil {
		return err
	}
	if err := p.contents(ctx); err != nil {
		return err
	}
	return p.finish(ctx, p.manifest)
}

// readManifest gets the manifest, of a former attempt or of its own chunks,
// without writing anything.
func (p *puller) readManifest(ctx context.Context) (err error) {
	if p.manifest, err = p.kept(p.x.Target); p.manifest != nil || err != nil {
		return err
	}
	first := p.x.Contents[0]
	if first.Size > system.MaxSize {
		return fmt.Errorf("a manifest of %d bytes, more than %d", first.Size, system.MaxSize)
	}
	var list []int
	for i, c := range p.x.Chunks {
		if c.At < first.End() {
			list = append(list, i)
		}
	}
	w := &row{ctx: ctx, x: p.x, list: list, from: &fetched{p: p}}
	if err := w.from.(*fetched).ask(list); err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, w.content(first)); err != nil {
		return err
	}
	if digest.Of(b.Bytes()) != first.Digest {
		return errors.New("its manifest is damaged")
	}
	if p.manifest, err = system.Decode(b.Bytes()); err != nil {
		return err
	}
	if m := p.manifest; m.Machine != p.x.Machine || m.Arch != p.x.Arch || m.Epoch != p.x.Epoch {
		return errors.New("its manifest contradicts its index")
	}
	return nil
}

// problems finds what the manifest and the device's state show.
func (p *puller) problems() []Problem {
	var all []Problem
	need, free, err := p.room()
	if s := p.env.spaceProblem(need, free, err); s != nil {
		all = append(all, *s)
	}
	for _, o := range bootParts(p.manifest) {
		if !p.names(o) {
			all = append(all, Problem{NoPart, fmt.Sprintf("boot part %s is not in its index", o.Digest.Short()), true})
		}
	}
	if p.env.Preflight != nil {
		all = append(all, p.env.Preflight(p.manifest, p.x.Target)...)
	}
	return all
}

func (p *puller) names(o system.Object) bool {
	for _, c := range p.x.Contents {
		if c.Kind == delta.Part && c.Digest == o.Digest {
			return true
		}
	}
	return false
}

// spoolLimit is how much of finished contents is kept in chunks, in bytes, before
// the contents are made durable.
const spoolLimit = 8 << 20

// room returns how many bytes will be written to the store at most, and how many
// are free.
func (p *puller) room() (need, free int64, err error) {
	need = overhead + p.scratch(p.manifest)
	var largest int64
	for _, c := range p.missing() {
		need += onDisk(c.Size)
		largest = max(largest, c.Size)
	}
	if p.env.Free != nil {
		free, err = p.env.Free()
	}
	return need + largest + spoolLimit, free, err
}

// weigh adds to what was checked what would be fetched and written.
func (p *puller) weigh(c *Checked) (err error) {
	c.Problems = append(c.Problems, p.problems()...)
	if c.Need, c.Free, err = p.room(); err != nil {
		return err
	}
	for _, k := range p.x.Chunks {
		c.Body += k.Stored
	}
	c.Have = c.Body
	for _, i := range p.needed(p.missing()) {
		c.Have -= p.x.Chunks[i].Stored
	}
	return nil
}

// missing are the contents that are not there. Boot parts that a slot has are.
func (p *puller) missing() []chunk.Content {
	if p.looked {
		return p.lacking
	}
	var all []chunk.Content
	for _, c := range p.x.Contents {
		o := system.Object{Digest: c.Digest, Size: c.Size}
		if p.has(c.Kind, o) || c.Kind == delta.Part && p.inSlot(p.manifest, o) {
			continue
		}
		all = append(all, c)
	}
	p.lacking, p.looked = all, true
	return all
}

// needed are the chunks that contents are made of, in order.
func (p *puller) needed(list []chunk.Content) []int {
	var all []int
	c := 0
	for i, k := range p.x.Chunks {
		for c < len(list) && list[c].End() <= k.At {
			c++
		}
		if c < len(list) && list[c].At < k.End() {
			all = append(all, i)
		}
	}
	return all
}

// contents makes all contents that are missing.
func (p *puller) contents(ctx context.Context) error {
	list := p.missing()
	need := p.needed(list)
	sp, err := openSpool(p.dir + "/" + chunksFile)
	if err != nil {
		return err
	}
	defer sp.close()
	from := &fetched{p: p, spool: sp}
	var until int64
	if from.known, until, err = p.locate(ctx, need, sp); err != nil {
		return err
	}
	if err := from.ask(need); err != nil {
		return err
	}
	w := &row{ctx: ctx, x: p.x, list: need, from: from}
	for _, c := range list {
		if err := p.make(c, w); err != nil {
			return fmt.Errorf("%s %s: %w", c.Kind, c.Digest, err)
		}
		if sp.size > spoolLimit && c.End() > until {
			if err := p.env.Store.Commit(); err != nil {
				return err
			}
			if err := sp.reset(); err != nil {
				return err
			}
		}
	}
	return p.env.Store.Commit()
}

func (p *puller) make(c chunk.Content, w *row) error {
	want := system.Object{Digest: c.Digest, Size: c.Size}
	switch c.Kind {
	case delta.Object:
		return p.env.Store.PutAs(w.content(c), want)
	case delta.Image:
		return p.env.Store.PutImageAs(w.content(c), want)
	case delta.Part:
		return p.part(w.content(c), want)
	}
	return errors.New("a second manifest")
}
