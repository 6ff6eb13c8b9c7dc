package store

import (
	"cmp"
	"slices"
	"strings"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/erofs"
)

// Usage says where the bytes of some systems are. An object is counted once in
// Objects, and in Trees once for each image that needs it.
type Usage struct {
	Systems []SystemUsage `json:"systems"`
	Boot    Amount        `json:"boot"`    // kernels, initrds and other objects that manifests name
	Images  Amount        `json:"images"`  // metadata of all trees
	Objects Amount        `json:"objects"` // contents of files, each once
	Trees   Amount        `json:"trees"`   // contents of files as if every image had its own copy
	Saved   int64         `json:"saved"`   // bytes: Trees less Objects
	Owners  []OwnerUsage  `json:"owners,omitempty"`
}

// SystemUsage is one system's part.
type SystemUsage struct {
	System         digest.Digest        `json:"system"`
	Machine        string               `json:"machine"`
	Manifest       int64                `json:"manifest"` // bytes
	Boot           Amount               `json:"boot"`
	Configurations []ConfigurationUsage `json:"configurations"`
}

// ConfigurationUsage is one configuration's part.
type ConfigurationUsage struct {
	Name       string           `json:"name"`
	Objects    Amount           `json:"objects"` // contents of its containers' files, each once
	Containers []ContainerUsage `json:"containers"`
}

// ContainerUsage is one container's part.
type ContainerUsage struct {
	Name  string        `json:"name"`
	Image digest.Digest `json:"image"`
	Meta  int64         `json:"meta"`  // bytes of the image
	Files Amount        `json:"files"` // contents of its files, each once
	Own   Amount        `json:"own"`   // of these, what no other image needs
}

// OwnerUsage is what the objects of one owner take, each object once.
type OwnerUsage struct {
	Owner string `json:"owner"` // "" for objects that nobody was said to own
	Amount
}

// Du measures systems. owners names who brought an object, for example a
// package; it may be nil. Of systems given twice one counts.
func (s *Store) Du(systems []digest.Digest, owners map[digest.Digest]string) (*Usage, error) {
	u := &Usage{Systems: []SystemUsage{}}
	m := &measure{s: s, images: map[digest.Digest]*imageUsage{}, needed: map[digest.Digest]int{}, boot: set{}}
	seen := map[digest.Digest]bool{}
	for _, d := range systems {
		if seen[d] {
			continue
		}
		seen[d] = true
		su, err := m.system(d)
		if err != nil {
			return nil, err
		}
		u.Systems = append(u.Systems, su)
	}
	objects := set{}
	for _, img := range m.images {
		u.Images.add(img.size)
		for d, size := range img.objects {
			objects[d] = size
			u.Trees.add(size)
		}
	}
	u.Boot, u.Objects = m.boot.amount(), objects.amount()
	u.Saved = u.Trees.Bytes - u.Objects.Bytes
	m.own(u)
	if owners != nil {
		u.Owners = byOwner(objects, owners)
	}
	return u, nil
}

func (a *Amount) add(bytes int64) {
	a.Files++
	a.Bytes += bytes
}

func (m set) amount() Amount {
	var a Amount
	for _, size := range m {
		a.add(size)
	}
	return a
}

type imageUsage struct {
	size    int64
	objects set
}

// measure collects what several systems have in common.
type measure struct {
	s      *Store
	images map[digest.Digest]*imageUsage
	needed map[digest.Digest]int // object -> images that need it
	boot   set
}

func (m *measure) system(d digest.Digest) (SystemUsage, error) {
	man, size, err := m.s.system(d)
	if err != nil {
		return SystemUsage{}, err
	}
	su := SystemUsage{System: d, Machine: man.Machine, Manifest: size, Configurations: []ConfigurationUsage{}}
	for _, o := range man.Objects() {
		m.boot[o.Digest] = o.Size
		su.Boot.add(o.Size)
	}
	for _, c := range man.Configurations {
		cu := ConfigurationUsage{Name: c.Name, Containers: []ContainerUsage{}}
		objects := set{}
		for _, ct := range c.Containers {
			img, err := m.image(ct.Image.Digest)
			if err != nil {
				return su, err
			}
			for d, size := range img.objects {
				objects[d] = size
			}
			cu.Containers = append(cu.Containers, ContainerUsage{
				Name: ct.Name, Image: ct.Image.Digest, Meta: img.size, Files: img.objects.amount(),
			})
		}
		cu.Objects = objects.amount()
		su.Configurations = append(su.Configurations, cu)
	}
	return su, nil
}

// image reads an image once.
func (m *measure) image(d digest.Digest) (*imageUsage, error) {
	if img, ok := m.images[d]; ok {
		return img, nil
	}
	root, size, err := m.s.imageNodes(d)
	if err != nil {
		return nil, err
	}
	img := &imageUsage{size, set{}}
	eachObject(root, func(n *erofs.Node) { img.objects[n.Digest] = n.Size })
	for o := range img.objects {
		m.needed[o]++
	}
	m.images[d] = img
	return img, nil
}

// own fills in what only one image needs, which is known at the end.
func (m *measure) own(u *Usage) {
	for i := range u.Systems {
		for j := range u.Systems[i].Configurations {
			list := u.Systems[i].Configurations[j].Containers
			for k := range list {
				for d, size := range m.images[list[k].Image].objects {
					if m.needed[d] == 1 {
						list[k].Own.add(size)
					}
				}
			}
		}
	}
}

func byOwner(objects set, owners map[digest.Digest]string) []OwnerUsage {
	sums := map[string]*OwnerUsage{}
	for d, size := range objects {
		name := owners[d]
		if sums[name] == nil {
			sums[name] = &OwnerUsage{Owner: name}
		}
		sums[name].add(size)
	}
	out := []OwnerUsage{}
	for _, o := range sums {
		out = append(out, *o)
	}
	slices.SortFunc(out, func(a, b OwnerUsage) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Owner, b.Owner))
	})
	return out
}

// imageObjects returns the objects that an image's files are made of.
func (s *Store) imageObjects(d digest.Digest) (set, error) {
	root, _, err := s.imageNodes(d)
	if err != nil {
		return nil, err
	}
	objects := set{}
	eachObject(root, func(n *erofs.Node) { objects[n.Digest] = n.Size })
	return objects, nil
}
