package serve

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/legacysse"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/replicas"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/server"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/writes"
)

// others are the other replicas; nil for a replica that is alone.
type others struct {
	redis   *replicas.Redis
	post    *replicas.Post
	shared  *writes.Shared
	running sync.WaitGroup
	context context.Context
	stop    context.CancelFunc

	watching sync.WaitGroup
	away     context.CancelFunc
}

// meet connects to nothing yet.
func meet(c *config.Redis, metrics *ops.Metrics, log *slog.Logger) (*others, error) {
	if c == nil {
		return nil, nil
	}
	if c.Plain() {
		log.Warn("a setting gives up safety", "setting", "MCPBACKEND_REDIS_URL is not rediss://: its password can be read on the way")
	}
	redis, err := replicas.NewRedis(replicas.Options{
		Address: c.Address, Username: c.Username, Password: c.Password, Database: c.Database,
		TLS: c.TLS, CAFile: c.CAFile, Log: log, Observe: metrics.WatchRedis(),
	})
	if err != nil {
		return nil, fmt.Errorf("MCPBACKEND_REDIS_URL: %w", err)
	}
	keys := replicas.NewKeys(c.Secret)
	o := &others{redis: redis, post: replicas.NewPost(redis, keys, log, time.Now), shared: writes.NewShared(redis, keys, log, time.Now)}
	o.context, o.stop = context.WithCancel(context.Background())
	return o, nil
}

// writes is what remembers changes; nil means a memory of this process.
func (o *others) writes() toolcall.Writes {
	if o == nil {
		return nil
	}
	return o.shared
}

// consents is what remembers which consents were used.
func (o *others) consents() mcpserver.Consents {
	if o == nil {
		return writes.NewConsents(time.Now)
	}
	return o.shared
}

// mail is how to reach the other replicas; nil without any.
func (o *others) mail() legacysse.Post {
	if o == nil {
		return nil
	}
	return o.post
}

func (o *others) start(streams *legacysse.Transport) {
	if o == nil {
		return
	}
	o.running.Go(func() { o.post.Run(o.context) })
	o.running.Go(func() { o.shared.Run(o.context) })
	watch, stop := context.WithCancel(o.context)
	o.away = stop
	o.watching.Go(func() { streams.Watch(watch) })
}

// finish lets the calls end that run here for the streams of other replicas.
func (o *others) finish(streams *legacysse.Transport) {
	if o == nil {
		return
	}
	o.away()
	o.watching.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), server.Drain)
	defer cancel()
	streams.Finish(ctx)
}

func (o *others) close() {
	if o == nil {
		return
	}
	o.stop()
	o.watching.Wait()
	o.running.Wait()
	_ = o.redis.Close() // nothing is sent any more
}
