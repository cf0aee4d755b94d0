package catalogue

import (
	"sync"
	"sync/atomic"
)

// Current is the catalogue in force. It is replaced as a whole: whoever looks
// at it sees the one or the other, never a mixture.
type Current struct {
	now atomic.Pointer[Catalogue]

	mu        sync.Mutex
	followers []func(*Catalogue)
}

// NewCurrent holds a first catalogue.
func NewCurrent(c *Catalogue) *Current {
	current := &Current{}
	current.now.Store(c)
	return current
}

// Get is the catalogue of the moment.
func (c *Current) Get() *Catalogue { return c.now.Load() }

// Tools are those of the catalogue of the moment; see [Catalogue.Tools].
func (c *Current) Tools() []Tool { return c.Get().Tools() }

// Lookup finds a tool of the catalogue of the moment.
func (c *Current) Lookup(name string) (Tool, bool) { return c.Get().Lookup(name) }

// Known is [Catalogue.Known] of the catalogue of the moment.
func (c *Current) Known(tool string) bool { return c.Get().Known(tool) }

// KnownToolset is [Catalogue.KnownToolset] of the catalogue of the moment.
func (c *Current) KnownToolset(name string) bool { return c.Get().KnownToolset(name) }

// OnChange has f told of every later catalogue. What f returns from has happened
// when [Current.Set] returns.
func (c *Current) OnChange(f func(*Catalogue)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.followers = append(c.followers, f)
}

// Set puts another catalogue in force.
func (c *Current) Set(next *Catalogue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Store(next)
	for _, f := range c.followers {
		f(next)
	}
}
