package ops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
)

// Healthcheck is the command of that name, for images without a shell.
type Healthcheck struct {
	OpsListen string `name:"mcpbackend-ops-listen" env:"MCPBACKEND_OPS_LISTEN" default:"127.0.0.1:9102" placeholder:"ADDRESS" help:"Where the operations listeners are; the first local one is asked. Default: ${default}."`
}

// Run asks a running service whether it is ready.
func (c *Healthcheck) Run() error {
	all, err := config.ParseAddresses(c.OpsListen)
	if err != nil {
		return fmt.Errorf("MCPBACKEND_OPS_LISTEN %w", err)
	}
	i := slices.IndexFunc(all, config.Address.Local)
	if i < 0 {
		return errors.New("MCPBACKEND_OPS_LISTEN must hold a unix socket or a loopback address too: healthcheck has no certificate to show to the others")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return Ask(ctx, all[i].Network, all[i].Address)
}
