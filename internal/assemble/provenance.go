package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/instar-os/instar/internal/bom"
	"github.com/instar-os/instar/internal/config"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/provenance"
)

// Provenance builds the system of one architecture and says what of: its bill of
// material, its own digests, and the trees beside the definition with those of
// their listings.
func (b *Builder) Provenance(ctx context.Context, def *config.Definition, lk *lock.Lock, arch, tool string) (bill *bom.Bill, made provenance.Resource, trees []provenance.Resource, err error) {
	bill, res, err := b.BOM(ctx, def, lk, arch, BOMOptions{Tool: tool})
	if err != nil {
		return nil, made, nil, err
	}
	manifest, err := os.ReadFile(b.Store.SystemPath(res.Digest))
	if err != nil {
		return nil, made, nil, err
	}
	sum := sha256.Sum256(manifest)
	made = provenance.Resource{Name: def.Machine + "-" + arch, URI: "instar:system:" + res.Digest.String(),
		Digest: map[string]string{"sha256": hex.EncodeToString(sum[:]), "fsverity": res.Digest.String()}}
	for _, c := range bill.Components {
		if c.Kind != bom.Local {
			continue
		}
		listing, err := res.Trees[c.Name].MarshalText()
		if err != nil {
			return nil, made, nil, fmt.Errorf("tree %s: %w", c.Name, err)
		}
		sum := sha256.Sum256(listing)
		trees = append(trees, provenance.Resource{Name: "tree " + c.Name, Digest: map[string]string{"treeListing": hex.EncodeToString(sum[:])}})
	}
	return bill, made, trees, nil
}
