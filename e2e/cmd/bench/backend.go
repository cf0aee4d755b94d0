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
// with the SDK as its documentation shows, and beside net/http alone.
type backendCmd struct {
	common
	Seconds float64 `default:"1" help:"How long each load lasts (default: ${default})."`
	Streams int     `default:"2000" help:"Legacy streams to hold open; 0 leaves their memory out (default: ${default})."`
}

const (
	companies = "/api/v1/companies"
	// allocatedMetric counts the bytes that a process has allocated since its start.
	allocatedMetric = "go_memstats_alloc_bytes_total"
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
	ours := &mcpServer{name: "mcpbackend", pid: s.PID(stack.Backend), socket: s.Socket(stack.Backend, "mcpbackend"), ops: s.Socket(stack.Backend, "ops")}
	if err := ours.connect(ctx); err != nil {
		return err
	}
	defer ours.pool.Close()
	// The others list what ours lists.
	tools := filepath.Join(s.Dir, "tools.json")
	if err := ours.save(listing(eras[0]), token, tools); err != nil {
		return err
	}
	servers := []*mcpServer{ours}
	for _, kind := range []string{"sdk", "plain"} {
		arguments := []string{"--api", apiURL + companies, "--tools", tools}
		if kind == "sdk" {
			arguments = append(arguments, "--body", answer)
		}
		child, socket, err := startBeside(s.Dir, kind, arguments...)
		if err != nil {
			return err
		}
		defer child.Stop()
		server := &mcpServer{name: names[kind], pid: child.PID(), socket: socket, ops: socket}
		if err := server.connect(ctx); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		defer server.pool.Close()
		servers = append(servers, server)
	}
	var loads []*task
	for _, era := range eras {
		for _, w := range []work{calling(era, "list_companies"), listing(era)} {
			for _, server := range servers {
				loads = append(loads, &task{server, w, server.calls(w, token)})
			}
		}
		canned := calling(era, "canned")
		loads = append(loads, &task{servers[1], canned, servers[1].calls(canned, token)})
	}
	for _, l := range loads {
		if _, err := bench.Each(ctx, inFlight, 20*inFlight, l.call); err != nil {
			return fmt.Errorf("%s, %s: %w", l.server.name, l.work.title, err)
		}
	}
	got := series{}
	for round := range c.Rounds {
		progress("backend: round %d of %d", round+1, c.Rounds)
		for _, l := range turns(round, loads...) {
			before, err := l.server.allocated(ctx)
			if err != nil {
				return err
			}
			run, err := bench.Closed(ctx, inFlight, seconds(c.Seconds), l.call, l.server.pid)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", l.server.name, l.work.title, err)
			}
			after, err := l.server.allocated(ctx)
			if err != nil {
				return err
			}
			got.add(l.server.name, l.work.title+" cpu", run.MicrosPerCall(0))
			got.add(l.server.name, l.work.title+" bytes", (after-before)/1024/float64(run.Calls))
			got.add(l.server.name, l.work.title+" rate", run.PerSecond())
		}
	}
	return c.report(ctx, got)
}

// names are how the servers beside ours are shown.
var names = map[string]string{"sdk": "stock SDK", "plain": "net/http"}

// eras are the versions of MCP: the last with a handshake, and the first without.
var eras = []string{"2025-11-25", "2026-07-28"}

func (c *backendCmd) report(ctx context.Context, got series) error {
	const ours, stock, plain = "mcpbackend", "stock SDK", "net/http"
	budget := &bench.Goal{Budget: 0.5, Dream: 0.25}
	var tables []*bench.Table
	for _, era := range eras {
		call, list, canned := calling(era, "list_companies").title, listing(era).title, calling(era, "canned").title
		table := &bench.Table{Title: fmt.Sprintf("mcpbackend, MCP %s, %d in flight, the API's time not counted", era, inFlight), Notes: []string{
			"A call is one of the API's on each side; canned is the stock server's tool whose answer is in memory. All",
			"list the same tools. Stock SDK and net/http run as they come, with Go's default garbage collection;",
			"net/http checks nothing, and knows of MCP only how its messages look.",
		}}
		table.Add("tools/call: mcpbackend ÷ stock SDK, CPU", "×", bench.Ratio(got.of(ours, call+" cpu"), got.of(stock, call+" cpu")), budget)
		table.Add("tools/call: mcpbackend ÷ stock SDK canned, CPU", "×", bench.Ratio(got.of(ours, call+" cpu"), got.of(stock, canned+" cpu")), nil)
		table.Add("tools/call: mcpbackend ÷ net/http, CPU", "×", bench.Ratio(got.of(ours, call+" cpu"), got.of(plain, call+" cpu")), nil)
		table.Add("tools/list: mcpbackend ÷ stock SDK, CPU", "×", bench.Ratio(got.of(ours, list+" cpu"), got.of(stock, list+" cpu")), nil)
		for _, name := range []string{ours, stock, plain} {
			for _, title := range []string{call, list, canned} {
				if got.of(name, title+" cpu") == nil {
					continue
				}
				what := strings.TrimPrefix(title, era+" ")
				table.Add(name+", "+what+", CPU", "µs", got.of(name, title+" cpu"), nil)
				table.Add(name+", "+what+", allocated", "KiB", got.of(name, title+" bytes"), nil)
				table.Add(name+", "+what, "/s", got.of(name, title+" rate"), nil)
			}
		}
		tables = append(tables, table)
	}
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
	ours := &mcpServer{pid: s.PID(stack.Backend), socket: s.Socket(stack.Backend, "mcpbackend")}
	if err := ours.connect(ctx); err != nil {
		return nil, err
	}
	defer ours.pool.Close()
	call := ours.calls(calling(eras[0], "list_companies"), token)
	if _, err := bench.Each(ctx, inFlight, 50*inFlight, call); err != nil {
		return nil, err
	}
	ops := s.Socket(stack.Backend, "ops")
	empty, err := collected(ctx, ops, 1, call)
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
	full, err := collected(ctx, ops, 1, call)
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

// An mcpServer answers MCP over streamable HTTP.
type mcpServer struct {
	// ops is the socket where it tells its metrics.
	name, socket, ops string
	pid               int

	pool *bench.Pool
}

func (s *mcpServer) connect(ctx context.Context) (err error) {
	s.pool, err = bench.NewPool(ctx, inFlight, "unix", s.socket)
	return err
}

// allocated is how many bytes it has allocated since its start.
func (s *mcpServer) allocated(ctx context.Context) (float64, error) {
	metrics, err := bench.Metrics(ctx, s.ops)
	if err != nil {
		return 0, err
	}
	if metrics[allocatedMetric] == 0 {
		return 0, fmt.Errorf("%s does not tell what it allocates", s.name)
	}
	return metrics[allocatedMetric], nil
}

// work is one kind of request.
type work struct {
	title, era, method, tool string
	// holds is in every good answer.
	holds string
}

func calling(era, name string) work {
	title := era + " tools/call"
	if name == "canned" {
		title += " canned"
	}
	return work{title, era, "tools/call", name, `"structuredContent"`}
}

func listing(era string) work {
	return work{era + " tools/list", era, "tools/list", "", `"tools":[`}
}

// request is the work as a client of its era sends it.
func (w work) request(token string) []byte {
	headers := [][2]string{{"Content-Type", "application/json"}, {"Accept", "application/json, text/event-stream"}, {"MCP-Protocol-Version", w.era}}
	params, meta := "", ""
	if w.tool != "" {
		params = `"name":"` + w.tool + `","arguments":{}`
	}
	if w.era == eras[1] {
		headers = append(headers, [2]string{"Mcp-Method", w.method})
		if w.tool != "" {
			headers, meta = append(headers, [2]string{"Mcp-Name", w.tool}), ","
		}
		meta += `"_meta":{"io.modelcontextprotocol/protocolVersion":"` + w.era + `","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"}}`
	}
	body := `{"jsonrpc":"2.0","id":1,"method":"` + w.method + `","params":{` + params + meta + `}}`
	return bench.Request("POST", "/mcp", "localhost", append(headers, identity("user", token)...), body)
}

func (w work) check(body []byte) error {
	if !bytes.Contains(body, []byte(`"result"`)) || !bytes.Contains(body, []byte(w.holds)) || bytes.Contains(body, []byte(`"isError":true`)) {
		return fmt.Errorf("not the result of %s: %.400s", w.title, body)
	}
	return nil
}

func (s *mcpServer) calls(w work, token string) bench.Call {
	return s.pool.Call(w.request(token), w.check)
}

// save writes one answer to a file.
func (s *mcpServer) save(w work, token, file string) error {
	var answer []byte
	call := s.pool.Call(w.request(token), func(body []byte) error {
		answer = bytes.Clone(body)
		return w.check(body)
	})
	if err := call(0); err != nil {
		return err
	}
	return os.WriteFile(file, answer, 0o600)
}

// task is the work that one server does in a round.
type task struct {
	server *mcpServer
	work   work
	call   bench.Call
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
