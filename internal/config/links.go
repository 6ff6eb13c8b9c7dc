package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Link is a declared channel between containers of a configuration, or between
// one and the world outside.
type Link struct {
	Name     string        `yaml:"name,required" is:"name" doc:"Name of the link; programs find it in the environment, as INSTAR_LINK_WATER_LEVEL." example:"water-level"`
	Type     string        `yaml:"type,required" doc:"sampling: shared memory with the last value. queueing: shared memory with messages in order. stream, datagram: a pair of connected sockets. pipe: a pipe. event: an eventfd. listen: a listening TCP socket." enum:"sampling,queueing,stream,datagram,pipe,event,listen" example:"sampling"`
	From     string        `yaml:"from" is:"name" doc:"Container that writes, or outside for who asks the supervisor. Not for stream, datagram and listen." example:"sensor"`
	To       []string      `yaml:"to" is:"name" unique:"true" doc:"Containers that read, or outside. One, but for sampling. For listen, the container that accepts connections." example:"[panel, logger]"`
	Between  []string      `yaml:"between" is:"name" unique:"true" doc:"The two containers at the ends. For stream and datagram." example:"[panel, broker]"`
	Size     Size          `yaml:"size" doc:"Largest message. For sampling and queueing." min:"1B" max:"1MiB" example:"64B"`
	Version  int           `yaml:"version" doc:"Version of the message's format: ends that were built for another are refused. For sampling and queueing. Default: 1." min:"1" max:"65535"`
	Depth    int           `yaml:"depth" doc:"Messages that the queue holds. For queueing. Default: 16." min:"1" max:"65536"`
	Policy   string        `yaml:"policy" doc:"What becomes of a message for a full queue. reject: the writer is told that it was not taken. drop: the oldest is dropped. For queueing. Default: reject." enum:"reject,drop"`
	Validity time.Duration `yaml:"validity" doc:"Age from which a value is marked as not valid. For sampling. Default: never." example:"500ms"`
	Wake     bool          `yaml:"wake" doc:"The reader can wait for messages. For sampling and queueing with one reader."`
	Address  string        `yaml:"address" is:"endpoint" doc:"HOST:PORT that connections come to. For listen." example:"0.0.0.0:8080"`
}

// outside is the end of a link that is no container.
const outside = "outside"

// Limits of links; the first is port.MaxMemory, the second keeps a launch
// program's slots.
const (
	maxLinkMemory  = 64 << 20
	maxDescriptors = 64
)

// linkKeys says which keys belong to which types.
var linkKeys = map[string][]string{
	"from":     {"sampling", "queueing", "pipe", "event"},
	"to":       {"sampling", "queueing", "pipe", "event", "listen"},
	"between":  {"stream", "datagram"},
	"size":     {"sampling", "queueing"},
	"version":  {"sampling", "queueing"},
	"wake":     {"sampling", "queueing"},
	"depth":    {"queueing"},
	"policy":   {"queueing"},
	"validity": {"sampling"},
	"address":  {"listen"},
}

// links checks the links of a configuration.
func (c *checker) links(configuration string, cfg Configuration) {
	path := join("configurations", configuration)
	variables, addresses, files := map[string]string{}, map[string]string{}, map[string]int{}
	for i, l := range cfg.Links {
		at := index(path+".links", i)
		c.linkKeys(at, l)
		c.linkEnds(at, cfg, l)
		c.linkMemory(at, l)
		for _, v := range linkVariables(l) {
			if other, taken := variables[v]; taken {
				c.wrong(at+".name", fmt.Sprintf("link %s has the variable %s already", other, v), "give it another name")
				break
			}
			variables[v] = l.Name
		}
		if other, taken := addresses[l.Address]; taken && l.Address != "" {
			c.wrong(at+".address", "link "+other+" listens there already", "use another port")
		}
		addresses[l.Address] = l.Name
		for _, end := range slices.Concat([]string{l.From}, l.To, l.Between) {
			files[end] += len(linkVariables(l))
			if end != outside && files[end] > maxDescriptors {
				c.wrong(at, fmt.Sprintf("container %s has more than %d files of links", end, maxDescriptors), "join some of its links")
			}
		}
	}
}

// linkKeys checks that the keys are those of the type.
func (c *checker) linkKeys(at string, l Link) {
	for _, key := range sorted(linkKeys) {
		types := linkKeys[key]
		if c.has(at+"."+key) && l.Type != "" && !slices.Contains(types, l.Type) {
			c.wrongKey(at+"."+key, "is no key of a "+l.Type+" link", "it is for "+strings.Join(types, ", "))
		}
	}
	need := map[string][]string{
		"sampling": {"from", "to", "size"}, "queueing": {"from", "to", "size"}, "pipe": {"from", "to"}, "event": {"from", "to"},
		"stream": {"between"}, "datagram": {"between"}, "listen": {"to", "address"},
	}
	for _, key := range need[l.Type] {
		if !c.has(at + "." + key) {
			c.missing(at, key, "a "+l.Type+" link needs it")
		}
	}
	if l.Type == "listen" && l.Address != "" {
		c.linkAddress(at+".address", l.Address)
	}
}

// linkAddress checks that a listener's address can be bound when no name can be
// resolved yet.
func (c *checker) linkAddress(at, address string) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		c.wrong(at, "has no host", "write it as 0.0.0.0:"+address+" for all interfaces, or 127.0.0.1:"+address)
		return
	}
	if _, err := netip.ParseAddr(host); err != nil {
		c.wrong(at, host+" is no address", "write an IPv4 or IPv6 address, or 0.0.0.0 for all interfaces")
	}
}

// linkEnds checks that the ends are containers of the configuration, and as
// many as the type can have.
func (c *checker) linkEnds(at string, cfg Configuration, l Link) {
	port := l.Type == "sampling" || l.Type == "queueing"
	end := func(path, name string) {
		switch {
		case name == "" || slices.Contains(cfg.Containers, name):
		case name != outside:
			c.wrong(path, fmt.Sprintf("the configuration has no container %q", name), oneOf(name, cfg.Containers))
		case !port:
			c.wrong(path, "a "+l.Type+" link has no end outside", "only sampling and queueing links have")
		}
	}
	end(at+".from", l.From)
	for i, name := range l.To {
		end(index(at+".to", i), name)
		if name == l.From && name != "" {
			c.wrong(index(at+".to", i), name+" is the writer", "a link is between two")
		}
	}
	for i, name := range l.Between {
		end(index(at+".between", i), name)
	}
	if len(l.To) > 1 && l.Type != "sampling" && l.Type != "" {
		c.wrong(at+".to", "a "+l.Type+" link has one reader", "declare a link for each of them")
	}
	if len(l.To) > 1 && l.Wake {
		c.wrong(at+".wake", "several readers share the link", "a wake-up reaches one of them; declare a link for each")
	}
	if len(l.Between) != 2 && c.has(at+".between") && !c.within(at+".between") {
		c.wrong(at+".between", fmt.Sprintf("names %d ends", len(l.Between)), "a "+l.Type+" link has two")
	}
}

// linkMemory checks that a port is not too large.
func (c *checker) linkMemory(at string, l Link) {
	if bytes := (int64(l.Size) + 96) * int64(linkDepth(l)+1); l.Type == "queueing" && bytes > maxLinkMemory {
		c.wrong(at+".size", fmt.Sprintf("%d messages of %s need more than %s of memory", linkDepth(l), l.Size, Size(maxLinkMemory)), "lower size or depth")
	}
}

func linkDepth(l Link) int {
	if l.Depth == 0 {
		return 16
	}
	return l.Depth
}

// linkVariables returns the environment variables of a link: two names may
// differ and have one variable.
func linkVariables(l Link) []string {
	v := "INSTAR_LINK_" + strings.ToUpper(strings.ReplaceAll(l.Name, "-", "_"))
	all := []string{v}
	if l.Type == "queueing" {
		all = append(all, v+"_CURSOR")
	}
	if l.Wake {
		all = append(all, v+"_WAKE")
	}
	return all
}

// Resolved returns the link with the defaults of its type.
func (l Link) Resolved() Link {
	if l.Type == "sampling" || l.Type == "queueing" {
		l.Version = max(l.Version, 1)
	}
	if l.Type == "queueing" {
		l.Depth = linkDepth(l)
		if l.Policy == "" {
			l.Policy = "reject"
		}
	}
	switch l.Type {
	case "stream", "datagram":
		if len(l.Between) == 2 {
			l.From, l.To = l.Between[0], l.Between[1:]
		}
	case "listen":
		l.From = outside
	}
	return l
}
