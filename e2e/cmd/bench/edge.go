package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/neonpanel/mcp-gateway/e2e/internal/bench"
	"github.com/neonpanel/mcp-gateway/e2e/internal/ports"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// edgeCmd measures what authz and the bootstrap cost on the way through Envoy.
type edgeCmd struct {
	common
	Seconds float64 `default:"1.5" help:"How long each load lasts (default: ${default})."`
}

// slices is how often the variants take turns within a round: throughput
// suffers from everything else on the machine, and so should all alike.
const slices = 4

var unlimited = []string{"EDGE_SUBJECT_RATE=1000000", "EDGE_SUBJECT_BURST=1000000"}

const listTools = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`

func (c *edgeCmd) Run(ctx context.Context) (err error) {
	ctx, cancel, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if c.Seconds <= 0 {
		return errors.New("--seconds must be more than 0")
	}
	// The load comes from one user: the limit is counted, and never reached.
	s, err := stack.Start(ctx, stack.Options{Bin: c.Bin, Env: map[string][]string{"envoyconf": unlimited}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	token, err := s.Sandbox.Token(ctx, stack.TokenRequest{})
	if err != nil {
		return err
	}

	noop, noopSocket, err := startBeside(s.Dir, "noop")
	if err != nil {
		return err
	}
	defer noop.Stop()
	echo, echoSocket, err := startBeside(s.Dir, "echo")
	if err != nil {
		return err
	}
	defer echo.Stop()

	var edges []*edge
	for _, e := range []*edge{
		{name: "our bootstrap, authz", authzPID: s.PID(stack.Authz), authz: s.Socket(stack.Authz, "authz"), whole: true},
		{name: "our bootstrap, noop", authzPID: noop.PID(), authz: noopSocket, whole: true},
		{name: "minimal bootstrap, authz", authzPID: s.PID(stack.Authz), authz: s.Socket(stack.Authz, "authz")},
		{name: "minimal bootstrap, noop", authzPID: noop.PID(), authz: noopSocket},
	} {
		progress("edge: starting Envoy with %s", e.name)
		e.dir, e.backend = s.Dir, echoSocket
		defer e.stop()
		if err := e.start(ctx, c.Bin, token); err != nil {
			return err
		}
		edges = append(edges, e)
	}
	gateway := &edge{name: "whole gateway", address: strings.TrimPrefix(s.URL, "http://")}
	defer gateway.stop()
	if err := gateway.connect(ctx, token); err != nil {
		return err
	}

	got := series{}
	parts := []string{stack.Envoy, stack.Authz, stack.Backend}
	for round := range c.Rounds {
		progress("edge: round %d of %d", round+1, c.Rounds)
		runs := make(map[*edge]bench.Run, len(edges))
		for slice := range slices {
			for _, e := range turns(round+slice, edges...) {
				run, err := bench.Closed(ctx, inFlight, seconds(c.Seconds/slices), e.call, e.child.PID(), e.authzPID)
				if err != nil {
					return fmt.Errorf("%s: %w", e.name, err)
				}
				runs[e] = runs[e].Plus(run)
			}
		}
		for e, run := range runs {
			got.add(e.name, "rate", run.PerSecond())
			got.add(e.name, "envoy", run.MicrosPerCall(0))
			got.add(e.name, "authz", run.MicrosPerCall(1))
		}
		run, err := bench.Closed(ctx, inFlight, seconds(c.Seconds), gateway.call, s.PID(stack.Envoy), s.PID(stack.Authz), s.PID(stack.Backend))
		if err != nil {
			return fmt.Errorf("the whole gateway: %w", err)
		}
		got.add(gateway.name, "rate", run.PerSecond())
		for i, part := range parts {
			got.add(gateway.name, part, run.MicrosPerCall(i))
		}
	}

	table := &bench.Table{Title: fmt.Sprintf("Through Envoy, a cached token, %d connections, a backend that does nothing", inFlight), Notes: []string{
		"A minimal bootstrap has one route, ext_authz with its defaults, and no access log.",
	}}
	table.Add("our bootstrap, authz ÷ noop, requests", "×", bench.Ratio(got.of(edges[0].name, "rate"), got.of(edges[1].name, "rate")), &bench.Goal{Budget: 0.9, Dream: 1, AtLeast: true})
	table.Add("authz, our ÷ minimal bootstrap, Envoy's CPU", "×", bench.Ratio(got.of(edges[0].name, "envoy"), got.of(edges[2].name, "envoy")), &bench.Goal{Budget: 1.3, Dream: 1.1})
	table.Add("noop, our ÷ minimal bootstrap, Envoy's CPU", "×", bench.Ratio(got.of(edges[1].name, "envoy"), got.of(edges[3].name, "envoy")), &bench.Goal{Budget: 1.3, Dream: 1.1})
	for _, e := range edges {
		table.Add(e.name+", requests", "/s", got.of(e.name, "rate"), nil)
		table.Add(e.name+", Envoy's CPU per request", "µs", got.of(e.name, "envoy"), nil)
		table.Add(e.name+", the other's CPU per request", "µs", got.of(e.name, "authz"), nil)
	}
	all := &bench.Table{Title: "tools/list through the whole gateway"}
	all.Add("requests", "/s", got.of(gateway.name, "rate"), nil)
	for _, part := range parts {
		all.Add(part+", CPU per request", "µs", got.of(gateway.name, part), nil)
	}
	return show(table, all)
}

// An edge is an Envoy with an authorization server and a backend behind it.
type edge struct {
	name     string
	whole    bool // our bootstrap, else a minimal one
	authz    string
	authzPID int
	backend  string
	dir      string

	address string
	child   *bench.Child
	pool    *bench.Pool
	call    bench.Call
}

func (e *edge) start(ctx context.Context, bin, token string) error {
	claimed, err := ports.Free()
	if err != nil {
		return err
	}
	defer claimed.Release() // the pool below finds Envoy there
	port := claimed.Number
	e.address = claimed.Address()
	bootstrap := fmt.Appendf(nil, minimalBootstrap, port, e.authz, e.backend)
	if e.whole {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, "envoyconf"), "render")
		cmd.Env = []string{
			"PUBLIC_URL=http://" + e.address, "EDGE_LISTEN=" + e.address,
			"EDGE_AUTHZ=unix:" + e.authz, "EDGE_BACKEND=unix:" + e.backend,
		}
		cmd.Env = append(cmd.Env, unlimited...)
		if bootstrap, err = cmd.Output(); err != nil {
			return fmt.Errorf("envoyconf render: %w", err)
		}
	}
	file := filepath.Join(e.dir, fmt.Sprintf("edge-%d.yaml", port))
	if err := os.WriteFile(file, bootstrap, 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(e.dir, fmt.Sprintf("edge-%d.log", port)))
	if err != nil {
		return err
	}
	defer log.Close()
	e.child, err = bench.Start(filepath.Join(bin, "envoy"), []string{
		"--config-path", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
	}, nil, log, nil)
	if err != nil {
		return err
	}
	// In a minimal bootstrap every path needs a token.
	if err := bench.Answers(ctx, "tcp", e.address); err != nil {
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%s: %w; its log ends with %q", e.name, err, said[max(0, len(said)-500):])
	}
	return e.connect(ctx, token)
}

// connect opens the connections and tries one request on each.
func (e *edge) connect(ctx context.Context, token string) (err error) {
	if e.pool, err = bench.NewPool(ctx, inFlight, "tcp", e.address); err != nil {
		return err
	}
	request := bench.Request("POST", "/mcp", e.address, [][2]string{
		{"Authorization", "Bearer " + token}, {"Content-Type", "application/json"}, {"Accept", "application/json, text/event-stream"},
		{"MCP-Protocol-Version", "2025-11-25"}, {"User-Agent", "bench"},
	}, listTools)
	e.call = e.pool.Call(request, func(body []byte) error {
		if !bytes.Contains(body, []byte(`"result"`)) {
			return fmt.Errorf("no result: %.300s", body)
		}
		return nil
	})
	_, err = bench.Each(ctx, inFlight, 50*inFlight, e.call)
	return err
}

func (e *edge) stop() {
	if e.pool != nil {
		e.pool.Close()
	}
	if e.child != nil {
		e.child.Stop()
	}
}

// minimalBootstrap asks an authorization server over gRPC about every request,
// and does nothing else.
const minimalBootstrap = `
static_resources:
  listeners:
    - address: {socket_address: {address: 127.0.0.1, port_value: %d}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: minimal
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ['*']
                      routes: [{match: {prefix: /}, route: {cluster: backend}}]
                http_filters:
                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      '@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      grpc_service: {envoy_grpc: {cluster_name: authz}, timeout: 2s}
                  - name: envoy.filters.http.router
                    typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
    - name: authz
      load_assignment:
        cluster_name: authz
        endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %s}}}}]}]
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
    - name: backend
      load_assignment:
        cluster_name: backend
        endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %s}}}}]}]
`
