//go:build scaleout

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/ports"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// A fleet is two complete gateways on one local NeonPanel, behind a balancer
// that sends every request to the other one than the last.
type fleet struct {
	*gateway // what clients see: the balancer
	pods     []*gateway
	redis    *service
	port     string // of Redis
}

const replicaSecret = "a secret that both replicas of this test share"

func startFleet(t *testing.T) *fleet {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet") // a short name, for sun_path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	claim := func() *ports.Port {
		p, err := ports.Free()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Release)
		return p
	}
	edge, store := claim(), claim()
	f := &fleet{port: fmt.Sprint(store.Number)}
	f.redis = &service{
		name: "redis-server", socket: dir + "/redis.sock", log: dir + "/redis.log",
		args: []string{"--bind", "127.0.0.1", "--port", f.port, "--unixsocket", dir + "/redis.sock", "--save", "", "--dir", dir},
	}
	f.redis.start(t)

	// Clients know one URL, and both pods are it.
	url := "http://" + edge.Address()
	secret := "introspection-secret-of-this-test"
	common := map[string][]string{
		stack.SandboxPart: {
			"SANDBOX_RESOURCES=" + strings.Join([]string{url + "/mcp", url, url + "/sse", url + "/sse/"}, ","),
			"SANDBOX_INTROSPECTION_CLIENT_SECRET=" + secret,
		},
		stack.Authz: {
			"PUBLIC_URL=" + url, "AUTHZ_INTROSPECTION_CLIENT_SECRET=" + secret,
			"AUTHZ_REDIS_URL=redis://127.0.0.1:" + f.port, "AUTHZ_REDIS_SECRET=" + replicaSecret,
		},
		stack.Backend: {
			"PUBLIC_URL=" + url, "MCPBACKEND_TOOLSETS=all",
			"MCPBACKEND_REDIS_URL=redis://127.0.0.1:" + f.port, "MCPBACKEND_REDIS_SECRET=" + replicaSecret,
		},
		"envoyconf": {"PUBLIC_URL=" + url},
	}
	first := ownGateway(t, stack.Options{Env: common})
	second := maps.Clone(common)
	second[stack.Authz] = append(second[stack.Authz], "NEONPANEL_ISSUER="+first.Issuer)
	second[stack.Backend] = append(second[stack.Backend], "NEONPANEL_API_URL="+first.Issuer)
	f.pods = []*gateway{first, ownGateway(t, stack.Options{Env: second})}

	balancer := filepath.Join(dir, "balancer.yaml")
	if err := os.WriteFile(balancer, []byte(roundRobin(edge.Number, f.pods)), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(dir + "/balancer.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	envoy := exec.Command(filepath.Join(binaries(t), "envoy"), "--config-path", balancer, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
	envoy.Stdout, envoy.Stderr = log, log
	if err := envoy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		envoy.Process.Kill()
		envoy.Wait()
	})
	f.gateway = &gateway{
		Stack:  &stack.Stack{URL: url, Issuer: first.Issuer, Sandbox: first.Sandbox},
		client: &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
	t.Cleanup(f.client.CloseIdleConnections)
	eventually(t, time.Minute, func() string {
		c, err := net.Dial("tcp", edge.Address())
		if err != nil {
			text, _ := os.ReadFile(dir + "/balancer.log")
			return fmt.Sprintf("%v: %s", err, text)
		}
		c.Close()
		return ""
	})
	return f
}

// roundRobin is the bootstrap of an Envoy that does nothing but share out.
func roundRobin(port int, pods []*gateway) string {
	var endpoints []string
	for _, p := range pods {
		host, port, _ := net.SplitHostPort(strings.TrimPrefix(p.URL, "http://"))
		endpoints = append(endpoints, fmt.Sprintf("{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}", host, port))
	}
	return fmt.Sprintf(`
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: balancer
          stream_idle_timeout: 0s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, route: {cluster: pods, timeout: 0s}}]
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: pods
    type: STATIC
    lb_policy: ROUND_ROBIN
    load_assignment: {cluster_name: pods, endpoints: [{lb_endpoints: [%s]}]}
`, port, strings.Join(endpoints, ", "))
}

// ran is how many calls of a tool each pod has recorded in its audit.
func (f *fleet) ran(t *testing.T, tool, transport string) (n []int) {
	t.Helper()
	for _, p := range f.pods {
		text, err := os.ReadFile(p.LogFile(stack.Backend))
		if err != nil {
			t.Fatal(err)
		}
		of := 0
		for line := range strings.SplitSeq(string(text), "\n") {
			if strings.Contains(line, `"msg":"audit"`) && strings.Contains(line, `"tool":"`+tool+`"`) && strings.Contains(line, `"transport":"`+transport+`"`) {
				of++
			}
		}
		n = append(n, of)
	}
	return n
}

// bill is a change that each call with the same name asks for.
func (f *fleet) bill(t *testing.T, token, name string) (path string, arguments map[string]any) {
	t.Helper()
	company := f.companies(t, token)[0].UUID
	in := "/api/v1/companies/" + company + "/"
	return in + "bills", map[string]any{
		"companyUuid": company, "date": time.Now().UTC().Format(time.DateOnly), "currency": "USD", "ref_number": name, "name": name,
		"vendor_id": first[ided](t, f.api(t, token, in+"vendors")).ID,
		"details":   []any{map[string]any{"service_id": first[ided](t, f.api(t, token, in+"services")).ID, "quantity": 2, "rate": json.Number("10.50")}},
	}
}

// create asks for a bill until recent changes can be looked up: on a machine with
// much to do Redis may take too long, and then nothing is sent.
func (f *fleet) create(t *testing.T, token string, arguments map[string]any) (r toolResult) {
	t.Helper()
	eventually(t, time.Minute, func() string {
		if r = f.call(t, modern, token, "bills_create", arguments); r.IsError && strings.Contains(r.text(), "cannot be seen at the moment") {
			return r.text()
		}
		return ""
	})
	return r
}

// settled waits until nothing that the balancer sends is answered with what says
// that Redis is out of reach.
func (f *fleet) settled(t *testing.T, s *eventStream, token string) {
	t.Helper()
	good := 0
	eventually(t, time.Minute, func() string {
		r := f.post(t, s, token, `{"jsonrpc":"2.0","id":"settled","method":"ping"}`)
		if r.Status != http.StatusAccepted {
			good = 0
			return fmt.Sprintf("%d %s", r.Status, r.Body)
		}
		if m, err := s.next(); err != nil {
			t.Fatal(err)
		} else if m.Result == nil {
			return m.Body
		}
		if good++; good < 4 { // every pod, twice
			return "once"
		}
		return ""
	})
}

func TestScaleoutAnyReplicaServesAnyRequest(t *testing.T) {
	f := startFleet(t)
	jwt, opaque := f.token(t, sellerOne), f.mint(t, stack.TokenRequest{Account: sellerOne, Kind: "opaque"})
	for _, token := range []string{jwt, opaque} {
		for _, version := range []string{modern, legacy, modern, legacy} {
			if r := f.call(t, version, token, "list_companies", nil); r.IsError {
				t.Errorf("%s: %s", version, r.text())
			}
		}
	}
	if n := f.ran(t, "list_companies", "streamable"); n[0] == 0 || n[1] == 0 {
		t.Errorf("the pods ran %v calls: the balancer does not balance", n)
	}

	// What one pod has introspected the other one knows. Looking it up has but a few
	// milliseconds, so that it may take several tokens to see it.
	eventually(t, time.Minute, func() string {
		token := f.mint(t, stack.TokenRequest{Account: sellerOne, Kind: "opaque"})
		for range 4 {
			if r := f.call(t, modern, token, "list_companies", nil); r.IsError {
				t.Errorf("an opaque token: %s", r.text())
			}
		}
		for _, p := range f.pods {
			if strings.Contains(p.metrics(t, stack.Authz), `authz_verdicts_total{reason="ok",source="replica"}`) {
				return ""
			}
		}
		return "no verdict comes from another replica"
	})
	held := f.redis.ask(t, "KEYS *")
	if !strings.Contains(held, "neonpanel:authz:token:") || strings.Contains(held, opaque) {
		t.Errorf("Redis holds %s", held)
	}

	// A legacy stream, whose messages come to the one pod as often as to the other.
	s := f.stream(t, "/sse", jwt)
	f.initialize(t, s, jwt)
	for range 10 {
		if r := f.streamCall(t, s, jwt, "list_companies", nil); r.IsError {
			t.Errorf("on the stream: %s", r.text())
		}
	}
	if n := f.ran(t, "list_companies", "sse"); n[0] < 3 || n[1] < 3 {
		t.Errorf("the pods ran %v calls of the stream", n)
	}
	// Of another user, from either pod, it does not exist.
	for range 4 {
		if r := f.post(t, s, f.token(t, sellerTwo), `{"jsonrpc":"2.0","id":1,"method":"ping"}`); r.Status != http.StatusNotFound || !strings.Contains(r.Body, "unknown_session") {
			t.Errorf("a stranger got %d %s", r.Status, r.Body)
		}
	}

	// The same change, wherever it comes and however many times at once.
	path, bill := f.bill(t, jwt, "SCALEOUT-1")
	created := structured[ided](t, f.create(t, jwt, bill))
	for range 4 {
		if again := f.create(t, jwt, bill); structured[ided](t, again).ID != created.ID || !strings.Contains(again.text(), "Nothing was sent") {
			t.Errorf("the same change again: %s", again.text())
		}
	}
	if r := f.streamCall(t, s, jwt, "bills_create", bill); !strings.Contains(r.text(), "Nothing was sent") {
		t.Errorf("the same change on the stream: %s", r.text())
	}
	_, other := f.bill(t, jwt, "SCALEOUT-2")
	var together sync.WaitGroup
	for range 10 {
		together.Go(func() {
			body, headers := message(modern, "tools/call", "bills_create", map[string]any{"name": "bills_create", "arguments": other})
			if r, err := f.trySend(t.Context(), http.MethodPost, "/mcp", body, append(headers, bearer(jwt)...)...); err != nil || r.Status != 200 {
				t.Errorf("%v %d %s", err, r.Status, r.Body)
			}
		})
	}
	together.Wait()
	if n := f.writesTo(t, path); n != 2 {
		t.Errorf("%d bills were made of two", n)
	}

	// Redis dies in the middle of calls that are under way at both pods.
	const companies = "/api/v1/companies"
	f.fault(t, stack.Fault{Path: companies, Kind: "slow", Delay: "5s"})
	waiting := map[string]bool{}
	for i := range 4 {
		id := fmt.Sprintf("flight-%d", i)
		if r := f.post(t, s, jwt, fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":"tools/call","params":{"name":"list_companies","arguments":{"limit":%d}}}`, id, i+1)); r.Status != http.StatusAccepted {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		waiting[id] = true
	}
	eventually(t, time.Minute, func() string {
		if n, err := f.Sandbox.Taken(t.Context()); err != nil || n < 4 {
			return fmt.Sprintf("%d of 4 calls have reached the API: %v", n, err)
		}
		return ""
	})
	f.redis.kill()
	if err := f.Sandbox.ClearFaults(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Tokens that are known, and those that are not, go on; reads do not care.
	for _, token := range []string{jwt, opaque, f.token(t, sellerTwo), f.mint(t, stack.TokenRequest{Account: sellerTwo, Kind: "opaque"})} {
		for range 2 {
			if r := f.call(t, modern, token, "list_companies", nil); r.IsError {
				t.Errorf("a read without Redis: %s", r.text())
			}
		}
	}
	// What cannot be looked up is not sent.
	_, third := f.bill(t, jwt, "SCALEOUT-3")
	for _, arguments := range []map[string]any{bill, third, bill, third} {
		if r := f.call(t, modern, jwt, "bills_create", arguments); !r.IsError || !strings.Contains(r.text(), "Nothing was sent") {
			t.Errorf("a change without Redis: %s", r.text())
		}
	}
	if n := f.writesTo(t, path); n != 2 {
		t.Errorf("%d bills were made without Redis", n-2)
	}
	// Messages of the stream reach it, or are refused.
	for i := range 4 {
		id := fmt.Sprintf("outage-%d", i)
		switch r := f.post(t, s, jwt, fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":"ping"}`, id)); {
		case r.Status == http.StatusAccepted:
			waiting[id] = true
		case r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "":
			t.Errorf("on the stream without Redis: %d %s", r.Status, r.Body)
		}
	}

	// Redis is back, and has forgotten everything. Every call gets an answer, or an
	// error, once.
	f.redis.start(t)
	for len(waiting) > 0 {
		m, err := s.next()
		if err != nil {
			t.Fatalf("%v, while %v wait", err, waiting)
		}
		var answer struct{ ID string }
		if err := json.Unmarshal([]byte(m.Body), &answer); err != nil || !waiting[answer.ID] || m.Result == nil && !strings.Contains(m.Error.Message, "not known") {
			t.Errorf("%v %s", err, m.Body)
		}
		delete(waiting, answer.ID)
	}
	f.settled(t, s, jwt)
	for _, arguments := range []map[string]any{bill, other, bill, other} {
		r := f.create(t, jwt, arguments)
		if r.IsError || !strings.Contains(r.text(), "Nothing was sent") {
			t.Errorf("a change that was made before Redis died: %s", r.text())
		}
	}
	if r := f.create(t, jwt, third); r.IsError || strings.Contains(r.text(), "Nothing was sent") {
		t.Errorf("a change that was refused before: %s", r.text())
	}
	if n := f.writesTo(t, path); n != 3 {
		t.Errorf("%d bills were made of three", n)
	}

	// A pod that goes takes its streams with it, and no answer: the calls of
	// streams that others hold are told.
	for _, p := range f.pods {
		if strings.Contains(p.metrics(t, stack.Backend), "mcpbackend_sse_streams 0") {
			f.fault(t, stack.Fault{Path: companies, Kind: "hang"})
			for i := range 2 { // one of them runs there
				if r := f.post(t, s, jwt, fmt.Sprintf(`{"jsonrpc":"2.0","id":"last-%d","method":"tools/call","params":{"name":"list_companies","arguments":{"limit":%d}}}`, i, i+40)); r.Status != http.StatusAccepted {
					t.Fatalf("%d %s", r.Status, r.Body)
				}
			}
			eventually(t, time.Minute, func() string {
				if n, err := f.Sandbox.Taken(t.Context()); err != nil || n < 2 {
					return fmt.Sprintf("%d of 2 calls have reached the API: %v", n, err)
				}
				return ""
			})
			p.KillPart(stack.Backend)
			if err := f.Sandbox.ClearFaults(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	unknown := 0
	for range 2 {
		m, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(m.Error.Message, "not known") {
			unknown++
		}
	}
	if unknown != 1 {
		t.Errorf("%d calls were told that their replica is gone", unknown)
	}
}
