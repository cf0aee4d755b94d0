package bootstrap_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// fence follows every probe on its connection: when it is answered, or the connection is closed, the
// edge has done with all that came before it.
const fence = "GET /health HTTP/1.1\r\nHost: mcp.example.com\r\nX-Fence: 1\r\nConnection: close\r\n\r\n"

// try sends a probe and says what went wrong, nil if nothing did.
func (e *edge) try(p probe) error {
	e.backend.arrived()
	e.discovery.arrived()
	status, err := e.send(p.raw)
	if err != nil {
		return err
	}
	return errors.Join(wantStatus(status, p.want), e.judge(strings.Contains(p.raw, good)))
}

func wantStatus(got int, want []int) error {
	if !slices.Contains(want, got) {
		return fmt.Errorf("status %d, want %v", got, want)
	}
	return nil
}

// send returns the status of the first response.
func (e *edge) send(raw string) (status int, err error) {
	conn, err := net.Dial("tcp", e.addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	go io.WriteString(conn, raw+fence) // a refusal may come before Envoy has read all of it
	method, _, _ := strings.Cut(raw, " ")
	reader := bufio.NewReader(conn)
	for first := true; ; {
		response, err := http.ReadResponse(reader, &http.Request{Method: method})
		var slow net.Error
		switch {
		case errors.As(err, &slow) && slow.Timeout():
			return status, errors.New("it hangs")
		case err != nil:
			return status, nil // closed
		case response.StatusCode == http.StatusContinue:
			continue
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil && !first {
			return status, nil
		}
		if first {
			status, first, method = response.StatusCode, false, ""
		}
		if response.Close {
			return status, nil
		}
	}
}

// judge looks at what the upstreams received: behind the bearer routes nothing without authz's
// verdict on that very request, and nowhere an identity that authz did not give.
func (e *edge) judge(token bool) error {
	var faults []error
	for _, r := range append(e.backend.arrived(), e.discovery.arrived()...) {
		if r.Header.Get("X-Fence") != "" {
			continue
		}
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("%s %s reached an upstream: %s", r.Method, r.RequestURI, fmt.Sprintf(format, args...)))
		}
		for name, values := range r.Header {
			if strings.Contains(strings.ToLower(name), "neonpanel") && !strings.HasPrefix(name, "X-Neonpanel-Seen-") && name != "X-Neonpanel-Auth" && name != "X-Neonpanel-Subject" {
				// What is only like our prefix is not ours to judge, but no reader could mistake it.
				if strings.HasPrefix(name, "X-Neonpanel-") || strings.Contains(name, "_") {
					fault("with %s: %q", name, values)
				}
			}
		}
		path, _, _ := strings.Cut(r.RequestURI, "?")
		if slices.Contains(backendDocuments, path) || slices.Contains(discoveryDocuments, path) {
			for _, name := range []string{"Authorization", "Cookie", "X-Neonpanel-Auth", "X-Neonpanel-Subject"} {
				if r.Header.Values(name) != nil {
					fault("a public document, with %s", name)
				}
			}
			if r.Method != "GET" && r.Method != "HEAD" {
				fault("by a method that is not for documents")
			}
			continue
		}
		methods, known := bearerRoutes[path]
		if !known || !slices.Contains(strings.Fields(methods), r.Method) {
			fault("no such route")
		}
		for name, want := range map[string]string{
			"X-Neonpanel-Auth": "bearer", "X-Neonpanel-Subject": "user-1", "X-Neonpanel-Seen-Path": r.RequestURI, "X-Neonpanel-Seen-Method": r.Method,
			"X-Neonpanel-Seen-Host": r.Host, "X-Neonpanel-Seen-Client": "127.0.0.1", "Authorization": "Bearer good",
		} {
			if got := r.Header.Values(name); !slices.Equal(got, []string{want}) {
				fault("%s is %q, want %q", name, got, want)
			}
		}
		if names := r.Header.Get("X-Neonpanel-Seen-Names"); strings.Contains(names, "neonpanel") || strings.Contains(names, "cookie") {
			fault("authz saw %s", names)
		}
		if r.Header.Get("Cookie") != "" {
			fault("with a cookie")
		}
		if !token {
			fault("there was no good token")
		}
	}
	return errors.Join(faults...)
}

func small(o *options) { o.settings.MaxBody = "64KiB" }

// impatient keeps Envoy from waiting for a client that it has refused to hang up first.
func impatient(document map[string]any) { hcm(document)["delayed_close_timeout"] = "0.02s" }

func TestNoProbeGetsPastAuthz(t *testing.T) {
	t.Parallel()
	e := startEdge(t, small, func(o *options) { o.weaken = impatient })
	names := map[string]bool{}
	for _, p := range corpus() {
		if names[p.name] {
			t.Errorf("two probes are named %q", p.name)
		}
		names[p.name] = true
		if err := e.try(p); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	for _, p := range corpus2() {
		if names[p.name] {
			t.Errorf("two probes are named %q", p.name)
		}
		names[p.name] = true
		if err := e.try2(p); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	t.Logf("%d probes", len(names))
}

func TestRequestsThatTrickleAreEnded(t *testing.T) {
	t.Parallel()
	// The shape of the limits is under test here, not their length.
	e := startEdge(t, func(o *options) {
		o.weaken = func(document map[string]any) {
			manager := hcm(document)
			manager["request_headers_timeout"], manager["request_timeout"] = "0.5s", "1s"
		}
	})
	for name, raw := range map[string]string{
		"headers": "POST /mcp HTTP/1.1\r\n" + host + "X-Slow: ",
		"body":    "POST /mcp HTTP/1.1\r\n" + host + good + "\r\nContent-Length: 100\r\n\r\n{",
		"chunks":  "POST /mcp HTTP/1.1\r\n" + host + good + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
	} {
		if a := e.raw(t, raw); a.StatusCode != 408 {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
}

func TestAnAnswerThatNeverBeginsIsGivenUp(t *testing.T) {
	t.Parallel()
	// The shape of the limit is under test here, not its length.
	e := startEdge(t, func(o *options) {
		o.weaken = func(document map[string]any) {
			for _, name := range []string{"mcp", "sse"} {
				route(document, name)["route"].(map[string]any)["retry_policy"].(map[string]any)["per_try_timeout"] = "0.2s"
			}
			route(document, "messages")["route"].(map[string]any)["timeout"] = "0.2s"
			route(document, "tools-call")["route"].(map[string]any)["timeout"] = "0.2s"
			route(document, "health")["route"].(map[string]any)["timeout"] = "0.2s"
		}
	})
	for target, method := range map[string]string{"/mcp": "POST", "/sse": "GET", "/messages": "POST", "/mcp/tools/call": "POST", "/health": "GET"} {
		a := e.do(t, call{method: method, target: target, header: []string{good, origin, "X-Test: silent"}})
		wantError(t, a, 504, "gateway_timeout")
		wantCORS(t, a)
		select {
		case <-e.backend.left:
		case <-time.After(30 * time.Second):
			t.Errorf("%s: the backend is not told", target)
		}
	}
	if n := e.backend.count(); n != 5 {
		t.Errorf("the backend was asked %d times, want once each", n)
	}
}

// An Envoy that runs out of memory refuses requests, and says so.
func TestAnOverloadedEdgeRefusesInWords(t *testing.T) {
	t.Parallel()
	e := startEdge(t, func(o *options) {
		o.weaken = func(document map[string]any) {
			manager := document["overload_manager"].(map[string]any)
			for _, m := range manager["resource_monitors"].([]any) {
				if config := m.(map[string]any)["typed_config"].(map[string]any); config["max_heap_size_bytes"] != nil {
					config["max_heap_size_bytes"] = 1
				}
			}
			// A connection that is not accepted could not be refused in words.
			manager["actions"] = slices.DeleteFunc(manager["actions"].([]any), func(a any) bool {
				return a.(map[string]any)["name"] == "envoy.overload_actions.stop_accepting_connections"
			})
		}
	})
	var a answer
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if a = e.do(t, call{method: "POST", target: "/mcp", header: []string{good, origin}}); a.StatusCode == 503 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is not overloaded")
		}
	}
	wantError(t, a, 503, "temporarily_unavailable")
	if a.Header.Get("Retry-After") == "" || a.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%v", a.Header)
	}
	if body, err := e.admin("/ready"); err != nil || body != "LIVE\n" {
		t.Errorf("the admin interface: %q %v", body, err)
	}
}

// Each protection is taken out of the bootstrap in turn, and a probe notices.
func TestEveryProtectionIsNoticedWhenItIsGone(t *testing.T) {
	t.Parallel()
	probes, probes2 := map[string]probe{}, map[string]probe2{}
	for _, p := range corpus() {
		probes[p.name] = p
	}
	for _, p := range corpus2() {
		probes2[p.name] = p
	}
	for _, c := range []struct {
		gone   string
		weaken func(document map[string]any)
		caught string // by this probe
	}{
		{"identity headers of clients are stripped", func(d map[string]any) { delete(hcm(d), "early_header_mutation_extensions") }, "identity x-neonpanel-new: forged with a token"},
		{"underscores are dropped", func(d map[string]any) {
			hcm(d)["common_http_protocol_options"].(map[string]any)["headers_with_underscores_action"] = "ALLOW"
		}, "identity x_neonpanel_subject: forged with a token"},
		{"paths are normalized", func(d map[string]any) { hcm(d)["normalize_path"] = false }, "target /health/../mcp"},
		{"slashes are merged", func(d map[string]any) { delete(hcm(d), "merge_slashes") }, "target //mcp"},
		{"escaped slashes are refused", func(d map[string]any) { delete(hcm(d), "path_with_escaped_slashes_action") }, "target /mcp%2f"},
		{"authz is asked", func(d map[string]any) { removeFilter(d, "envoy.filters.http.ext_authz") }, "credential \"\""},
		{"authz is asked on this route", func(d map[string]any) {
			route(d, "mcp")["typed_per_filter_config"] = route(d, "health")["typed_per_filter_config"]
		}, "credential \"\""},
		{"an authz that fails refuses", func(d map[string]any) { filter(d, "envoy.filters.http.ext_authz")["failure_mode_allow"] = true }, "authz that fails"},
		{"authz cannot change the token", func(d map[string]any) {
			delete(filter(d, "envoy.filters.http.ext_authz"), "decoder_header_mutation_rules")
		}, "authz that grants another token"},
		{"authz sees listed headers only", func(d map[string]any) { delete(filter(d, "envoy.filters.http.ext_authz"), "allowed_headers") }, "credential a cookie beside the token"},
		{"public routes are exact", func(d map[string]any) {
			match := route(d, "health")["match"].(map[string]any)
			delete(match, "path")
			match["prefix"] = "/health"
		}, "public /healthz by GET"},
		{"public routes drop the token", func(d map[string]any) { delete(route(d, "health"), "request_headers_to_remove") }, "public /health"},
		{"routes name their methods", func(d map[string]any) { delete(route(d, "mcp")["match"].(map[string]any), "headers") }, "method \"PUT\" with a token"},
		{"cookies are dropped", func(d map[string]any) { delete(routes(d), "request_headers_to_remove") }, "credential a cookie beside the token"},
		{"the host is ours", func(d map[string]any) {
			hosts := routes(d)["virtual_hosts"].([]any)
			hosts[0].(map[string]any)["domains"] = []any{"*"}
			routes(d)["virtual_hosts"] = hosts[:1]
		}, `host "Host: evil.example\r\n"`},
		{"the host is a name", func(d map[string]any) { removeRoute(d, "malformed-host") }, `host "Host: mcp.example.com:@evil.example\r\n"`},
		{"the client's address is the peer's", func(d map[string]any) { delete(hcm(d), "use_remote_address") }, "override X-Envoy-External-Address: 203.0.113.9 with a token"},
		{"bodies are limited", func(d map[string]any) { removeFilter(d, "envoy.filters.http.body_size_limit") }, "size of the body with a token"},
		{"headers are limited", func(d map[string]any) { hcm(d)["max_request_headers_kb"] = 96 }, "size of the token"},
		{"headers are counted", func(d map[string]any) {
			hcm(d)["common_http_protocol_options"].(map[string]any)["max_headers_count"] = 1000
		}, "number of headers"},
		{"nothing is upgraded", func(d map[string]any) {
			hcm(d)["upgrade_configs"] = []any{map[string]any{"upgrade_type": "websocket"}}
		}, "override by an upgrade with a token"},
		{"HTTP/1.0 is not spoken", func(d map[string]any) {
			hcm(d)["http_protocol_options"] = map[string]any{"accept_http_10": true, "default_host_for_http_10": "mcp.example.com"}
		}, "request line HTTP/1.0"},
		{"a length beside chunks is refused", func(d map[string]any) {
			hcm(d)["http_protocol_options"] = map[string]any{"allow_chunked_length": true}
		}, "smuggling CL and TE"},
	} {
		t.Run(c.gone, func(t *testing.T) {
			t.Parallel()
			e := startEdge(t, small, func(o *options) { o.weaken = c.weaken })
			var err error
			if p, ok := probes[c.caught]; ok {
				err = e.try(p)
			} else if p, ok := probes2[c.caught]; ok {
				err = e.try2(p)
			} else {
				t.Fatalf("there is no probe %q", c.caught)
			}
			if err == nil {
				t.Errorf("%q does not notice", c.caught)
			}
		})
	}
}

// The clock of the limits stands still here: what was spent does not come back.
func TestALimitThatIsGoneIsNoticed(t *testing.T) {
	t.Parallel()
	const name = "envoy.filters.http.local_ratelimit"
	without := func(field string) func(map[string]any) {
		return func(d map[string]any) { delete(filter(d, name), field) }
	}
	for gone, weaken := range map[string]func(document map[string]any){
		"nothing":                        func(map[string]any) {},
		"users are limited":              func(d map[string]any) { removeFilter(d, name) },
		"limits are on":                  without("filter_enabled"),
		"limits are enforced":            without("filter_enforced"),
		"more users than 20 are counted": without("max_dynamic_descriptors"),
		"users are counted":              without("rate_limits"),
		"users are known when they are counted": func(d map[string]any) {
			filters := hcm(d)["http_filters"].([]any)
			slices.SortStableFunc(filters, func(a, b any) int {
				first := func(f any) int {
					if f.(map[string]any)["name"] == name {
						return 0
					}
					return 1
				}
				return first(a) - first(b)
			})
		},
	} {
		t.Run(gone, func(t *testing.T) {
			t.Parallel()
			e := startEdge(t, func(o *options) {
				o.settings.SubjectRate, o.settings.SubjectBurst = "1", "2"
				o.weaken = func(d map[string]any) {
					for _, descriptor := range filter(d, name)["descriptors"].([]any) {
						descriptor.(map[string]any)["token_bucket"].(map[string]any)["fill_interval"] = "86400s"
					}
					weaken(d)
				}
			})
			limited := false
			for i := range 60 {
				e.wantPass(t, fmt.Sprintf("user-%d/app", i))
				if i%25 == 0 { // the other users come between
					a := e.do(t, call{method: "POST", target: "/mcp", header: []string{"Authorization: Bearer alice/app"}})
					limited = limited || a.StatusCode == 429
				}
			}
			if limited != (gone == "nothing") {
				t.Errorf("limited: %v", limited)
			}
		})
	}
}

// edit changes a bootstrap as a person would.
func edit(t *testing.T, text []byte, change func(map[string]any)) []byte {
	t.Helper()
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	change(document)
	edited, err := yaml.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	if before, err := yaml.Marshal(unedited(t, text)); err != nil || bytes.Equal(before, edited) {
		t.Fatalf("the edit changes nothing (%v)", err)
	}
	return edited
}

func unedited(t *testing.T, text []byte) (document map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	return document
}

func hcm(document map[string]any) map[string]any {
	listener := document["static_resources"].(map[string]any)["listeners"].([]any)[0].(map[string]any)
	chain := listener["filter_chains"].([]any)[0].(map[string]any)
	return chain["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
}

func filter(document map[string]any, name string) map[string]any {
	for _, f := range hcm(document)["http_filters"].([]any) {
		if f := f.(map[string]any); f["name"] == name {
			return f["typed_config"].(map[string]any)
		}
	}
	panic("no filter " + name)
}

func removeFilter(document map[string]any, name string) {
	manager := hcm(document)
	manager["http_filters"] = slices.DeleteFunc(manager["http_filters"].([]any), func(f any) bool { return f.(map[string]any)["name"] == name })
	if name != "envoy.filters.http.ext_authz" {
		return
	}
	for _, host := range routes(document)["virtual_hosts"].([]any) {
		for _, r := range host.(map[string]any)["routes"].([]any) {
			if config, ok := r.(map[string]any)["typed_per_filter_config"].(map[string]any); ok {
				delete(config, name)
			}
		}
	}
}

func routes(document map[string]any) map[string]any {
	return hcm(document)["route_config"].(map[string]any)
}

func route(document map[string]any, name string) map[string]any {
	for _, r := range routes(document)["virtual_hosts"].([]any)[0].(map[string]any)["routes"].([]any) {
		if r := r.(map[string]any); r["name"] == name {
			return r
		}
	}
	panic("no route " + name)
}

func removeRoute(document map[string]any, name string) {
	host := routes(document)["virtual_hosts"].([]any)[0].(map[string]any)
	host["routes"] = slices.DeleteFunc(host["routes"].([]any), func(r any) bool { return r.(map[string]any)["name"] == name })
}

// A probe2 is an attempt by HTTP/2: header fields as they stand in the frame, then a body, then
// trailers.
type probe2 struct {
	name     string
	fields   []field
	body     string
	trailers []field
	want     []int // 0: the stream or the connection is reset
}

type field struct{ name, value string }

func (e *edge) try2(p probe2) error {
	e.backend.arrived()
	e.discovery.arrived()
	status, err := e.send2(p)
	if err != nil {
		return err
	}
	token := slices.Contains(p.fields, field{"authorization", "Bearer good"})
	return errors.Join(wantStatus(status, p.want), e.judge(token))
}

func (e *edge) send2(p probe2) (status int, err error) {
	conn, err := net.Dial("tcp", e.addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))

	var out, block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encode := func(fields []field) []byte {
		block.Reset()
		for _, f := range fields {
			encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
		}
		return bytes.Clone(block.Bytes())
	}
	out.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&out, conn)
	framer.AllowIllegalWrites = true
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.WriteSettings()
	headers := func(fields []field, end bool) {
		rest, first := encode(fields), true
		for first || len(rest) > 0 {
			n := min(len(rest), 16<<10)
			if first {
				framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: rest[:n], EndStream: end, EndHeaders: n == len(rest)})
			} else {
				framer.WriteContinuation(1, n == len(rest), rest[:n])
			}
			rest, first = rest[n:], false
		}
	}
	headers(p.fields, p.body == "" && p.trailers == nil)
	if p.body != "" {
		framer.WriteData(1, p.trailers == nil, []byte(p.body))
	}
	if p.trailers != nil {
		headers(p.trailers, true)
	}
	go conn.Write(out.Bytes())

	for {
		frame, err := framer.ReadFrame()
		var slow net.Error
		switch {
		case errors.As(err, &slow) && slow.Timeout():
			return status, errors.New("it hangs")
		case err != nil:
			return status, nil // closed
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			fmt.Sscan(frame.PseudoValue("status"), &status)
			if frame.StreamEnded() {
				return status, nil
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				return status, nil
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return status, nil
		}
	}
}
