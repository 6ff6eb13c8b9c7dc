package boot

import (
	"errors"

	"github.com/instar-os/instar/internal/system"
	"github.com/instar-os/instar/internal/wire"
)

// link makes the links of the configuration; the containers need them.
func (m *machine) link() error {
	m.runtime.Descriptors = m.links.Files
	m.later("close the links", m.links.Close)
	return m.links.Add(m.configuration.Links)
}

// relink does a switch between two configurations with the links of both, and
// closes those of the one that runs no more. A link that both have stays.
func (m *machine) relink(from, to *system.Configuration, do func() error) error {
	if err := m.links.Add(to.Links); err != nil {
		return err
	}
	err := do()
	if err != nil {
		to = from
	}
	return errors.Join(err, m.links.Keep(to.Links))
}

// Links implements wire.Linker.
func (m *machine) Links() wire.LinksReply { return m.links.List() }

// ReadLink implements wire.Linker.
func (m *machine) ReadLink(name string) (wire.LinkValue, error) { return m.links.Read(name) }

// WriteLink implements wire.Linker.
func (m *machine) WriteLink(name string, data []byte) error { return m.links.Write(name, data) }
