package main

import (
	"context"
	"errors"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/bench"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// startCmd measures how long the parts take from their start to their first
// good answer.
type startCmd struct {
	common
}

// A part is ready when this URL answers 200 on this socket of the part; Envoy
// has none, and is ready when it passes a request on to mcpbackend.
var readiness = []struct{ part, socket, path string }{
	{stack.SandboxPart, "control", "/healthz"},
	{stack.Authz, "ops", "/readyz"},
	{stack.Backend, "ops", "/readyz"},
	{stack.Envoy, "", "/health"},
}

func (c *startCmd) Run(ctx context.Context) error {
	ctx, cancel, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	took := map[string]bench.Sample{}
	for round := range c.Rounds {
		progress("start: round %d of %d", round+1, c.Rounds)
		if err := c.round(ctx, took); err != nil {
			return err
		}
	}
	table := &bench.Table{Title: "Start to ready", Notes: []string{
		"From the fork to the first 200, asked every millisecond. authz finds its issuer up, Envoy mcpbackend;",
		"the whole gateway includes rendering the bootstrap and is asked every 10 ms.",
	}}
	ready := &bench.Goal{Budget: 300, Dream: 100}
	table.Add("authz", "ms", took[stack.Authz], ready)
	table.Add("mcpbackend", "ms", took[stack.Backend], ready)
	table.Add("sandbox", "ms", took[stack.SandboxPart], nil)
	table.Add("envoy", "ms", took[stack.Envoy], nil)
	table.Add("whole gateway", "ms", took[whole], nil)
	return show(table)
}

const whole = "whole"

// round starts a gateway, then each of its parts once more while the others
// run.
func (c *startCmd) round(ctx context.Context, took map[string]bench.Sample) (err error) {
	began := time.Now()
	s, err := stack.Start(ctx, stack.Options{Bin: c.Bin})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	took[whole] = append(took[whole], milliseconds(time.Since(began)))
	for _, r := range readiness {
		s.StopPart(r.part)
		socket, base := "", s.URL
		if r.socket != "" {
			socket, base = s.Socket(r.part, r.socket), "http://"+r.part
		}
		began := time.Now()
		if err := s.StartPart(r.part); err != nil {
			return err
		}
		if err := bench.Await(ctx, socket, base+r.path); err != nil {
			return err
		}
		took[r.part] = append(took[r.part], milliseconds(time.Since(began)))
	}
	return nil
}
