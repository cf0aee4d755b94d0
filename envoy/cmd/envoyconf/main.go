// Command envoyconf writes and checks the Envoy bootstrap of the gateway's edge.
package main

import (
	"fmt"
	"os"

	"github.com/neonpanel/mcp-gateway/envoy/internal/bootstrap"
	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
	"github.com/neonpanel/mcp-gateway/envoy/internal/yamlpb"

	"github.com/alecthomas/kong"
)

type render struct{ settings.Settings }

func (r *render) Run() error {
	e, err := r.Parse()
	if err != nil {
		return err
	}
	bs, err := bootstrap.New(e)
	if err != nil {
		return err
	}
	out, err := yamlpb.Marshal(bs)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(out)
	return err
}

func main() {
	var cli struct {
		Render render `cmd:"" help:"write"`
	}
	k := kong.Parse(&cli)
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
