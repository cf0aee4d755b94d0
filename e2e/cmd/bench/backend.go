package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/bench"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// backendCmd measures mcpbackend without Envoy and authz, beside a server made
// with the SDK as its documentation shows.
type backendCmd struct {
	common
	Seconds float64 `default:"1" help:"How long each load lasts (default: ${default})."`
	Streams int     `default:"2000" help:"Legacy streams to hold open; 0 leaves their memory out (default: ${default})."`
}

const (
	companies = "/api/v1/companies"
	listCall  = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_companies","arguments":{}}}`
	cannedRun = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"canned","arguments":{}}}`
	// streamsPerUser is below MCPBACKEND_MAX_STREAMS_PER_SUBJECT.
	streamsPerUser = 20
)

func (c *backendCmd) Run(ctx context.Context) (err error) {
	ctx, cancel, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if c.Seconds <= 0 || c.Streams < 0 {
		return errors.New("--seconds must be more than 0, --streams at least 0")
	}
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	apiURL := "http://" + api.Addr().String()
	s, err := stack.Start(ctx, stack.Options{Bin: c.Bin, Env: map[string][]string{
		stack.Backend: {"NEONPANEL_API_URL=" + apiURL},
	}})
	if err != nil {
		return errors.Join(err, api.Close())
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	token, err := s.Sandbox.Token(ctx, stack.TokenRequest{})
	if err != nil {
		return errors.Join(err, api.Close())
	}
	// What stands in for the API repeats what the local NeonPanel once said, so
	// that its own time and CPU are out of the picture.
	answer := filepath.Join(s.Dir, "companies.json")
	if err := fetch(ctx, s.Issuer+companies, token, answer); err != nil {
		return errors.Join(err, api.Close())
	}
	still, err := startTool(api, nil, "api", answer)
	if err != nil {
		return err
	}
	defer still.Stop()
	stock, stockSocket, err := startBeside(s.Dir, "sdk", "--api", apiURL+companies, "--body", answer)
	if err != nil {
		return err
	}
	defer stock.Stop()

	servers := []*mcpServer{
		{name: "ours", pid: s.PID(stack.Backend), socket: s.Socket(stack.Backend, "mcpbackend"), body: listCall},
		{name: "stock", pid: stock.PID(), socket: stockSocket, body: listCall},
		{name: "stock canned", pid: stock.PID(), socket: stockSocket, body: cannedRun},
	}
	for _, server := range servers {
		if err := server.connect(ctx, token); err != nil {
			return fmt.Errorf("%s: %w", server.name, err)
		}
		defer server.pool.Close()
	}
	got := series{}
	for round := range c.Rounds {
		progress("backend: round %d of %d", round+1, c.Rounds)
		for _, server := range turns(round, servers...) {
			run, err := bench.Closed(ctx, inFlight, seconds(c.Seconds), server.call, server.pid)
			if err != nil {
				return fmt.Errorf("%s: %w", server.name, err)
			}
			got.add(server.name, "cpu", run.MicrosPerCall(0))
			got.add(server.name, "rate", run.PerSecond())
		}
	}
	return c.report(ctx, got)
}

func (c *backendCmd) report(ctx context.Context, got series) error {
	table := &bench.Table{Title: fmt.Sprintf("tools/call in mcpbackend, %d in flight, the API's time not counted", inFlight), Notes: []string{
		"Stock is a server of the SDK with two typed tools: one makes the same API call with net/http, the other has",
		"its answer in memory. The first line has the CPU of the API call on both sides; the second has it only in",
		"ours, and so is more than the ratio without the API call can be.",
	}}
	table.Add("ours ÷ stock, both with the API call, CPU", "×", bench.Ratio(got.of("ours", "cpu"), got.of("stock", "cpu")), &bench.Goal{Budget: 0.5, Dream: 0.25})
	table.Add("ours with the API call ÷ stock without, CPU", "×", bench.Ratio(got.of("ours", "cpu"), got.of("stock canned", "cpu")), nil)
	for _, name := range []string{"ours", "stock", "stock canned"} {
		table.Add(name+", CPU per call", "µs", got.of(name, "cpu"), nil)
		table.Add(name+", calls", "/s", got.of(name, "rate"), nil)
	}
	tables := []*bench.Table{table}
	if c.Streams > 0 {
		memory, err := c.memory(ctx)
		if err != nil {
			return err
		}
		tables = append(tables, memory)
	}
	return show(tables...)
}

// memory opens legacy streams, each with a session that was initialized.
func (c *backendCmd) memory(ctx context.Context) (_ *bench.Table, err error) {
	progress("backend: opening %d streams", c.Streams)
	s, err := stack.Start(ctx, stack.Options{Bin: c.Bin, Env: map[string][]string{stack.Backend: {"GOGC=50"}}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	token, err := s.Sandbox.Token(ctx, stack.TokenRequest{})
	if err != nil {
		return nil, err
	}
	ours := &mcpServer{pid: s.PID(stack.Backend), socket: s.Socket(stack.Backend, "mcpbackend"), body: listCall}
	if err := ours.connect(ctx, token); err != nil {
		return nil, err
	}
	defer ours.pool.Close()
	ops := s.Socket(stack.Backend, "ops")
	empty, err := collected(ctx, ops, 1, ours.call)
	if err != nil {
		return nil, err
	}
	before, err := bench.RSS(ours.pid)
	if err != nil {
		return nil, err
	}
	var streams []*bench.Conn
	defer func() {
		for _, stream := range streams {
			_ = stream.Close()
		}
	}()
	post, err := bench.Dial(ctx, "unix", ours.socket)
	if err != nil {
		return nil, err
	}
	defer post.Close()
	for n := range c.Streams {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		stream, err := bench.Dial(ctx, "unix", ours.socket)
		if err != nil {
			return nil, err
		}
		streams = append(streams, stream)
		if err := openStream(stream, post, identity(fmt.Sprintf("user-%d", n/streamsPerUser), token)); err != nil {
			return nil, fmt.Errorf("stream %d: %w", n, err)
		}
	}
	after, err := bench.RSS(ours.pid)
	if err != nil {
		return nil, err
	}
	full, err := collected(ctx, ops, 1, ours.call)
	if err != nil {
		return nil, err
	}
	if open := full["mcpbackend_sse_streams"]; int(open) != c.Streams {
		return nil, fmt.Errorf("%d streams were opened, %.0f are open", c.Streams, open)
	}
	live, err := growth(empty, full)
	if err != nil {
		return nil, err
	}
	each := func(bytes float64) bench.Sample { return bench.Sample{bytes / 1024 / float64(c.Streams)} }
	table := &bench.Table{Title: fmt.Sprintf("Memory of %d open legacy streams, each initialized", c.Streams), Notes: []string{
		"With GOGC=50: by default mcpbackend lets garbage grow to 256 MiB, which would hide what a stream needs.",
		"Live is what a garbage collection keeps, stacks included.",
	}}
	table.Add("growth of resident memory per stream", "KiB", each(after-before), &bench.Goal{Budget: 64, Dream: 24})
	table.Add("live memory per stream", "KiB", each(live), nil)
	table.Add("resident memory before", "MiB", bench.Sample{mebibytes(before)}, nil)
	table.Add("resident memory after", "MiB", bench.Sample{mebibytes(after)}, nil)
	return table, nil
}

// openStream opens a legacy stream and initializes its session.
func openStream(stream, post *bench.Conn, headers [][2]string) error {
	status, err := stream.Open(bench.Request("GET", "/sse", "localhost", append([][2]string{{"Accept", "text/event-stream"}}, headers...), ""))
	if err != nil {
		return err
	}
	if status != 200 {
		return fmt.Errorf("GET /sse: status %d", status)
	}
	endpoint, err := stream.Until("data: ")
	if err != nil {
		return err
	}
	for _, message := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
	} {
		request := bench.Request("POST", strings.TrimPrefix(endpoint, "data: "), "localhost",
			append([][2]string{{"Content-Type", "application/json"}}, headers...), message)
		if status, body, err := post.Do(request); err != nil || status != 202 {
			return fmt.Errorf("POST /messages: status %d, %.300s, %w", status, body, err)
		}
	}
	answer, err := stream.Until("data: ")
	if err == nil && !strings.Contains(answer, `"result"`) {
		err = fmt.Errorf("initialize: %.300s", answer)
	}
	return err
}

// An mcpServer answers tools/call over streamable HTTP.
type mcpServer struct {
	name, socket, body string
	pid                int

	pool *bench.Pool
	call bench.Call
}

func (s *mcpServer) connect(ctx context.Context, token string) (err error) {
	if s.pool, err = bench.NewPool(ctx, inFlight, "unix", s.socket); err != nil {
		return err
	}
	request := bench.Request("POST", "/mcp", "localhost", append([][2]string{
		{"Content-Type", "application/json"}, {"Accept", "application/json, text/event-stream"}, {"MCP-Protocol-Version", "2025-11-25"},
	}, identity("user", token)...), s.body)
	s.call = s.pool.Call(request, func(body []byte) error {
		if !bytes.Contains(body, []byte(`"result"`)) || !bytes.Contains(body, []byte(`structuredContent`)) || bytes.Contains(body, []byte(`"isError":true`)) {
			return fmt.Errorf("not the result of a tool: %.400s", body)
		}
		return nil
	})
	_, err = bench.Each(ctx, inFlight, 50*inFlight, s.call)
	return err
}

// identity is what authz says about a caller.
func identity(subject, token string) [][2]string {
	return [][2]string{
		{"Authorization", "Bearer " + token}, {"X-Neonpanel-Auth", "bearer"}, {"X-Neonpanel-Subject", subject}, {"X-Neonpanel-Client-Id", "bench"},
		{"X-Neonpanel-Scopes", "read:analytics read:companies read:inventory"},
		{"X-Neonpanel-Scopes-Supported", "read:analytics read:companies read:inventory"},
		{"X-Neonpanel-Scope-Mode", "enforce"}, {"X-Neonpanel-Expires", fmt.Sprint(time.Now().Add(time.Hour).Unix())},
		{"X-Neonpanel-Challenge", `realm="mcp", resource_metadata="http://localhost/.well-known/oauth-protected-resource/mcp"`},
	}
}

// fetch writes what the URL answers to a file.
func fetch(ctx context.Context, url, token, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return os.WriteFile(file, body, 0o600)
}
