package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/neonpanel/mcp-gateway/e2e/internal/bench"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

const (
	inFlight = 32  // calls at once, under full load
	rate     = 500 // calls a second, when latency is measured
	popular  = 64  // different tokens that are used again and again
)

// checkCmd measures authz over a unix socket, as Envoy asks it, beside a server
// that does nothing and one that only verifies.
type checkCmd struct {
	common
	Seconds float64 `default:"1" help:"How long each load lasts (default: ${default})."`
	Fresh   int     `default:"1500" help:"Tokens a round that were never seen before (default: ${default})."`
	Held    int     `default:"100000" help:"Tokens to fill the cache with; 0 leaves its memory out (default: ${default})."`
	Profile string  `placeholder:"FILE" help:"Also keep a CPU profile of authz under full load, for go tool pprof."`
}

func (c *checkCmd) Run(ctx context.Context) (err error) {
	ctx, cancel, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if c.Seconds*rate < 100 || c.Fresh < 1 || c.Held < 0 {
		return errors.New("--seconds must be at least 0.2, --fresh at least 1, --held at least 0")
	}

	issuer, err := bench.NewIssuer()
	if err != nil {
		return err
	}
	defer issuer.Close()
	s, err := stack.Start(ctx, stack.Options{Bin: c.Bin, Env: map[string][]string{
		// EdDSA signs 100,000 tokens in seconds.
		stack.Authz: {"NEONPANEL_ISSUER=" + issuer.URL, "AUTHZ_ALGORITHMS=RS256,EdDSA"},
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	audience := s.URL + "/mcp"

	authz, err := dialCheck(s.Socket(stack.Authz, "authz"))
	if err != nil {
		return err
	}
	defer authz.close()
	authz.pid = s.PID(stack.Authz)
	noop, err := startCheck(s.Dir, "noop")
	if err != nil {
		return err
	}
	defer noop.close()
	bare, err := startCheck(s.Dir, "oidc", "--issuer", issuer.URL, "--jwks-url", issuer.URL+"/jwks", "--audience", audience)
	if err != nil {
		return err
	}
	defer bare.close()

	progress("check: signing %d tokens", c.Rounds*c.Fresh)
	known, err := issuer.Tokens(jose.RS256, popular, audience)
	if err != nil {
		return err
	}
	fresh, err := issuer.Tokens(jose.RS256, c.Rounds*c.Fresh, audience)
	if err != nil {
		return err
	}
	// Every token and every connection once, before anything is measured.
	for _, server := range []*checkServer{authz, noop, bare} {
		if _, err := bench.Each(ctx, inFlight, 20*popular, server.calls(ctx, known)); err != nil {
			return err
		}
	}

	cached, uncached := series{}, series{}
	for round := range c.Rounds {
		progress("check: round %d of %d", round+1, c.Rounds)
		for _, server := range turns(round, authz, noop) {
			run, err := bench.Closed(ctx, inFlight, seconds(c.Seconds), server.calls(ctx, known), server.pid)
			if err != nil {
				return err
			}
			cached.add(server.name, "cpu", run.MicrosPerCall(0))
			cached.add(server.name, "rate", run.PerSecond())
		}
		if err := c.latency(ctx, known, cached, turns(round, authz, noop)); err != nil {
			return err
		}
		tokens := fresh[round*c.Fresh : (round+1)*c.Fresh]
		for _, server := range turns(round, authz, bare) {
			run, err := bench.Each(ctx, inFlight, len(tokens), server.calls(ctx, tokens), server.pid)
			if err != nil {
				return err
			}
			uncached.add(server.name, "cpu", run.MicrosPerCall(0))
			uncached.add(server.name, "rate", run.PerSecond())
		}
	}

	one := &bench.Table{Title: "Check, a cached token, everything on"}
	one.Add("authz ÷ noop, CPU per call", "×", bench.Ratio(cached.of("authz", "cpu"), cached.of("noop", "cpu")), &bench.Goal{Budget: 1.3, Dream: 1})
	one.Add(fmt.Sprintf("authz ÷ noop, p99 at %d/s", rate), "×", bench.Ratio(cached.of("authz", "p99"), cached.of("noop", "p99")), &bench.Goal{Budget: 2})
	for _, name := range []string{"authz", "noop"} {
		one.Add(name+", CPU per call", "µs", cached.of(name, "cpu"), nil)
		one.Add(name+", calls, "+fmt.Sprint(inFlight)+" in flight", "/s", cached.of(name, "rate"), nil)
		one.Add(fmt.Sprintf("%s, p50 at %d/s", name, rate), "ms", cached.of(name, "p50"), nil)
		one.Add(fmt.Sprintf("%s, p99 at %d/s", name, rate), "ms", cached.of(name, "p99"), nil)
		one.Add(fmt.Sprintf("%s, CPU per call at %d/s", name, rate), "µs", cached.of(name, "cpu slow"), nil)
	}
	two := &bench.Table{Title: "Check, an RS256 token that was never seen before"}
	two.Add("authz ÷ bare go-oidc, CPU per call", "×", bench.Ratio(uncached.of("authz", "cpu"), uncached.of("oidc", "cpu")), &bench.Goal{Budget: 1.1, Dream: 0.8})
	for _, name := range []string{"authz", "oidc"} {
		two.Add(name+", CPU per call", "µs", uncached.of(name, "cpu"), nil)
		two.Add(name+", calls, "+fmt.Sprint(inFlight)+" in flight", "/s", uncached.of(name, "rate"), nil)
	}
	if c.Profile != "" {
		if err := c.profile(ctx, s.Socket(stack.Authz, "ops"), authz.calls(ctx, known)); err != nil {
			return err
		}
	}
	tables := []*bench.Table{one, two}
	if c.Held > 0 {
		memory, err := c.memory(ctx, s, issuer, audience)
		if err != nil {
			return err
		}
		tables = append(tables, memory)
	}
	return show(tables...)
}

// latency asks the servers in turns, each at the fixed rate, so that what
// disturbs the machine disturbs all alike.
func (c *checkCmd) latency(ctx context.Context, tokens []string, into series, servers []*checkServer) error {
	var calls []bench.Call
	var pids []int
	for _, server := range servers {
		calls = append(calls, server.calls(ctx, tokens))
		pids = append(pids, server.pid)
	}
	run, err := bench.Open(ctx, rate*len(servers), seconds(c.Seconds), func(n int) error {
		return calls[n%len(servers)](n / len(servers))
	}, pids...)
	if err != nil {
		return err
	}
	for i, server := range servers {
		var own bench.Sample
		for n := i; n < len(run.Latencies); n += len(servers) {
			own = append(own, run.Latencies[n])
		}
		into.add(server.name, "cpu slow", float64(len(servers))*run.MicrosPerCall(i))
		into.add(server.name, "p50", own.Quantile(0.5))
		into.add(server.name, "p99", own.Quantile(0.99))
	}
	return nil
}

// profile keeps a CPU profile of authz at work. It has a load of its own, since
// being profiled costs a little.
func (c *checkCmd) profile(ctx context.Context, ops string, call bench.Call) error {
	const length = 10 // seconds: a thousand samples for each CPU that is busy
	progress("check: profiling for %d s", length)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var profile []byte
	fetched := make(chan error, 1)
	go func() {
		var err error
		profile, err = bench.Profile(ctx, ops, length)
		fetched <- err
	}()
	for {
		if _, err := bench.Closed(ctx, inFlight, 100*time.Millisecond, call); err != nil {
			return err
		}
		select {
		case err := <-fetched:
			if err != nil {
				return err
			}
			return os.WriteFile(c.Profile, profile, 0o644)
		default:
		}
	}
}

// memory fills the cache of a fresh authz.
func (c *checkCmd) memory(ctx context.Context, s *stack.Stack, issuer *bench.Issuer, audience string) (*bench.Table, error) {
	progress("check: signing %d tokens for the cache", c.Held)
	tokens, err := issuer.Tokens(jose.EdDSA, c.Held, audience)
	if err != nil {
		return nil, err
	}
	s.StopPart(stack.Authz)
	if err := s.StartPart(stack.Authz); err != nil {
		return nil, err
	}
	ops := s.Socket(stack.Authz, "ops")
	if err := bench.Await(ctx, ops, "http://authz/readyz"); err != nil {
		return nil, err
	}
	authz, err := dialCheck(s.Socket(stack.Authz, "authz"))
	if err != nil {
		return nil, err
	}
	defer authz.close()
	pid := s.PID(stack.Authz)
	// What traffic needs is there before, so that the tokens alone are new.
	if _, err := bench.Each(ctx, inFlight, 1000, authz.calls(ctx, tokens[:min(popular, len(tokens))])); err != nil {
		return nil, err
	}
	before, err := bench.RSS(pid)
	if err != nil {
		return nil, err
	}
	empty, err := collected(ctx, ops, inFlight, authz.calls(ctx, tokens[:1]))
	if err != nil {
		return nil, err
	}
	progress("check: filling the cache")
	if _, err := bench.Each(ctx, inFlight, len(tokens), authz.calls(ctx, tokens)); err != nil {
		return nil, err
	}
	after, err := bench.RSS(pid)
	if err != nil {
		return nil, err
	}
	metrics, err := collected(ctx, ops, inFlight, authz.calls(ctx, tokens))
	if err != nil {
		return nil, err
	}
	live, err := growth(empty, metrics)
	if err != nil {
		return nil, err
	}
	table := &bench.Table{Title: fmt.Sprintf("Memory of %.0f cached tokens", metrics["authz_cached_accepted"]), Notes: []string{
		"Live is what a garbage collection keeps. Resident memory holds besides it what was not collected yet,",
		"which GOGC and GOMEMLIMIT bound; that of the last line is after 100,000 verifications in one go.",
	}}
	table.Add("growth of the live heap", "MiB", bench.Sample{mebibytes(live)}, &bench.Goal{Budget: 64, Dream: 32})
	table.Add("resident memory before", "MiB", bench.Sample{mebibytes(before)}, nil)
	table.Add("resident memory after", "MiB", bench.Sample{mebibytes(after)}, nil)
	return table, nil
}

// collected makes calls until a garbage collection has begun and ended during
// them, and returns the metrics of then.
func collected(ctx context.Context, ops string, atOnce int, call bench.Call) (map[string]float64, error) {
	const count = "go_gc_duration_seconds_count"
	first, err := bench.Metrics(ctx, ops)
	if err != nil {
		return nil, err
	}
	for {
		if _, err := bench.Closed(ctx, atOnce, 100*time.Millisecond, call); err != nil {
			return nil, err
		}
		metrics, err := bench.Metrics(ctx, ops)
		if err != nil {
			return nil, err
		}
		// One may have been under way when the first were read.
		if metrics[count] >= first[count]+2 {
			return metrics, nil
		}
	}
}

// growth is by how much the live heap grew.
func growth(from, to map[string]float64) (float64, error) {
	before, err := bench.LiveHeap(from)
	if err != nil {
		return 0, err
	}
	after, err := bench.LiveHeap(to)
	return after - before, err
}

// A checkServer answers ext_authz questions.
type checkServer struct {
	name  string
	pid   int
	conn  *grpc.ClientConn
	child *bench.Child
}

// dialCheck connects to authz.
func dialCheck(socket string) (*checkServer, error) {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &checkServer{name: "authz", conn: conn}, nil
}

// startCheck starts a server to compare authz with.
func startCheck(dir, name string, args ...string) (*checkServer, error) {
	child, socket, err := startBeside(dir, name, args...)
	if err != nil {
		return nil, err
	}
	server, err := dialCheck(socket)
	if err != nil {
		child.Stop()
		return nil, err
	}
	server.name, server.pid, server.child = name, child.PID(), child
	return server, nil
}

func (s *checkServer) close() {
	_ = s.conn.Close()
	if s.child != nil {
		s.child.Stop()
	}
}

// calls asks about the tokens in turn, and wants a yes.
func (s *checkServer) calls(ctx context.Context, tokens []string) bench.Call {
	questions := make([]*authv3.CheckRequest, len(tokens))
	for i, token := range tokens {
		questions[i] = question(token)
	}
	client := authv3.NewAuthorizationClient(s.conn)
	return func(n int) error {
		answer, err := client.Check(ctx, questions[n%len(questions)], grpc.WaitForReady(true))
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if code := answer.GetStatus().GetCode(); code != 0 {
			return fmt.Errorf("%s refused a good token: status %d, %s", s.name, code, answer.GetDeniedResponse().GetBody())
		}
		return nil
	}
}

// question is what the gateway's Envoy asks about an MCP request.
func question(token string) *authv3.CheckRequest {
	var headers []*corev3.HeaderValue
	for _, h := range [][2]string{
		{"authorization", "Bearer " + token}, {"content-type", "application/json"}, {"mcp-method", "tools/call"}, {"mcp-name", "list_companies"},
		{"mcp-protocol-version", "2026-07-28"}, {"origin", "https://chatgpt.com"}, {"x-envoy-external-address", "192.0.2.1"},
		{"x-forwarded-for", "192.0.2.1"}, {"x-request-id", "7d3b9f0e-4c0c-4a53-9a31-0f6d2c9b1e55"},
	} {
		headers = append(headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{
			Id: "8402361172390245813", Method: "POST", Path: "/mcp", Host: "mcp.example.com", Scheme: "https", Protocol: "HTTP/1.1", Size: 160,
			HeaderMap: &corev3.HeaderMap{Headers: headers},
		},
	}}}
}

// A series holds samples by server and figure.
type series map[[2]string]bench.Sample

func (s series) add(server, figure string, value float64) {
	key := [2]string{server, figure}
	s[key] = append(s[key], value)
}

func (s series) of(server, figure string) bench.Sample { return s[[2]string{server, figure}] }

// turns starts every round with another one, since the first of a round may
// find the machine in another state than the last.
func turns[T any](round int, all ...T) []T {
	first := round % len(all)
	return append(append([]T{}, all[first:]...), all[:first]...)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func mebibytes(b float64) float64 { return b / (1 << 20) }
