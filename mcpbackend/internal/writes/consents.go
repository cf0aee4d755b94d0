package writes

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// mostConsents bounds the consents that are remembered as used.
const mostConsents = 100_000

// Consents remembers which consents were used, so that each is good for one
// change. It is safe for concurrent use.
type Consents struct {
	now func() time.Time

	mu    sync.Mutex
	used  map[string]time.Time // when each runs out
	order []string             // in which they were used
}

// NewConsents makes the memory of one process.
func NewConsents(now func() time.Time) *Consents {
	return &Consents{now: now, used: map[string]time.Time{}}
}

// Take uses up a consent that was asked for at a time and runs out at another. It
// is false when the consent was used before.
func (c *Consents) Take(_ context.Context, id string, _, expires time.Time) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, used := c.used[id]; used {
		return false, nil
	}
	for len(c.order) > 0 && !c.now().Before(c.used[c.order[0]]) {
		delete(c.used, c.order[0])
		c.order = c.order[1:]
	}
	// To forget one that is still good would let it be used again.
	if len(c.used) >= mostConsents {
		return false, errors.New("too many consents are in use")
	}
	c.used[id] = expires
	c.order = append(c.order, id)
	return true, nil
}

// Take is like [Consents.Take], for all replicas.
func (s *Shared) Take(ctx context.Context, id string, asked, expires time.Time) (bool, error) {
	return redis.Bool(s.redis.Run(ctx, takeScript, "neonpanel:mcp:consent:"+s.keys.Name("consent", id), epochKey,
		asked.UnixMilli(), max(1, expires.Sub(s.now()).Milliseconds())))
}
