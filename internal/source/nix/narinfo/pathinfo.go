package narinfo

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// pathInfo is one path of `nix path-info --json`.
type pathInfo struct {
	Path       string          `json:"path"`
	Valid      *bool           `json:"valid"`
	NarHash    json.RawMessage `json:"narHash"`
	NarSize    int64           `json:"narSize"`
	References []string        `json:"references"`
	Deriver    string          `json:"deriver"`
	CA         json.RawMessage `json:"ca"`
	Signatures []string        `json:"signatures"`
}

// ParsePathInfo reads what `nix path-info --json` prints, in each of its three
// shapes: a list of objects with a "path" (until 2.18), an object by path (from
// 2.19 on), and an object with a "version" and the paths under "info".
func ParsePathInfo(text []byte) ([]Info, error) {
	all, err := shapes(text)
	if err != nil {
		return nil, fmt.Errorf("nix path-info: %w", err)
	}
	out := make([]Info, 0, len(all))
	for _, p := range all {
		in, err := p.info()
		if err != nil {
			return nil, fmt.Errorf("nix path-info: %.120q: %w", p.Path, err)
		}
		out = append(out, in)
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out, nil
}

func shapes(text []byte) ([]pathInfo, error) {
	var list []pathInfo
	if json.Unmarshal(text, &list) == nil {
		return list, nil
	}
	var versioned struct {
		Version int             `json:"version"`
		Info    json.RawMessage `json:"info"`
	}
	if json.Unmarshal(text, &versioned) == nil && versioned.Version > 0 && versioned.Info != nil {
		text = versioned.Info
	}
	var byPath map[string]*pathInfo
	if err := json.Unmarshal(text, &byPath); err != nil {
		return nil, errors.New("its JSON has none of the known shapes")
	}
	for p, in := range byPath {
		if in == nil {
			return nil, fmt.Errorf("%.120q is no valid path of that store", p)
		}
		in.Path = p
		list = append(list, *in)
	}
	return list, nil
}

func (p *pathInfo) info() (in Info, err error) {
	if p.Valid != nil && !*p.Valid {
		return in, errors.New("is no valid path of that store")
	}
	if in.Name, err = ParseName(strings.TrimPrefix(p.Path, StoreDir+"/")); err != nil {
		return in, err
	}
	if in.NarHash, err = jsonHash(p.NarHash); err != nil {
		return in, err
	}
	if in.NarSize = p.NarSize; in.NarSize <= 0 || in.NarSize > MaxNarSize {
		return in, fmt.Errorf("%d is no size", p.NarSize)
	}
	if in.References, err = names(p.References); err != nil {
		return in, err
	}
	in.Deriver = strings.TrimPrefix(p.Deriver, StoreDir+"/")
	for _, s := range p.Signatures {
		sig, err := ParseSignature(s)
		if err != nil {
			return in, err
		}
		in.Signatures = append(in.Signatures, sig)
	}
	return in, nil
}

// jsonHash reads a hash as text, or as {"algorithm": …, "format": …, "hash": …}.
func jsonHash(raw json.RawMessage) (Hash, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return ParseHash(text)
	}
	var parts struct{ Algorithm, Hash string }
	if err := json.Unmarshal(raw, &parts); err != nil {
		return Hash{}, errors.New("narHash is malformed")
	}
	return ParseHash(parts.Algorithm + ":" + parts.Hash)
}
