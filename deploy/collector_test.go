//go:build collector

package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/deploy/internal/local"
)

const otelcol = "../.cache/tools/otelcol"

// kept is where traces end up: it takes OTLP in JSON.
type kept struct {
	mu    sync.Mutex
	spans []keptSpan
	who   string // the last Authorization
}

type keptSpan struct{ Service, TraceID, Name string }

func (k *kept) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var sent struct {
		ResourceSpans []struct {
			Resource struct {
				Attributes []struct {
					Key   string
					Value struct{ StringValue string }
				}
			}
			ScopeSpans []struct {
				Spans []struct{ TraceID, Name string }
			}
		}
	}
	text, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(text, &sent) != nil {
		return // the test tells that spans are missing
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.who = r.Header.Get("Authorization")
	for _, resource := range sent.ResourceSpans {
		for _, a := range resource.Resource.Attributes {
			if a.Key != "service.name" {
				continue
			}
			for _, scope := range resource.ScopeSpans {
				for _, one := range scope.Spans {
					k.spans = append(k.spans, keptSpan{a.Value.StringValue, one.TraceID, one.Name})
				}
			}
		}
	}
}

// trace is all of the trace in which mcpbackend called the API.
func (k *kept) trace() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[string]bool{}
	for _, one := range k.spans {
		if one.Name != "NeonPanel listCompanies" {
			continue
		}
		for _, other := range k.spans {
			if other.TraceID == one.TraceID {
				all[other.Service+": "+other.Name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// startCollector runs the example on a port of its own, and with exporters that
// the test can read.
func startCollector(t *testing.T, to string) string {
	t.Helper()
	for attempt := 1; ; attempt++ {
		address := fmt.Sprint("127.0.0.1:", 11000+mathrand.IntN(20000))
		more := filepath.Join(t.TempDir(), "more.yaml")
		text := "receivers: {otlp: {protocols: {http: {endpoint: '" + address + "'}}}}\nexporters: {otlphttp: {encoding: json, compression: none}}\n"
		if err := os.WriteFile(more, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(otelcol, "--config", "observability/otel-collector.yaml", "--config", more)
		cmd.Env = []string{"OTLP_ENDPOINT=" + to, "OTLP_AUTHORIZATION=Bearer of the collector alone"}
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Start(); err != nil {
			t.Fatalf("%v: run `make test-observability`", err)
		}
		done := make(chan struct{})
		go func() {
			_ = cmd.Wait() // its log tells
			close(done)
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended
			<-done
			if t.Failed() {
				t.Logf("the collector says:\n%s", log.String())
			}
		})
		deadline := time.After(60 * time.Second)
		for {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				_ = conn.Close()
				return address
			}
			select {
			case <-done:
				if attempt < 4 && strings.Contains(log.String(), "address already in use") {
					break
				}
				t.Fatalf("the collector has ended:\n%s", log.String())
			case <-deadline:
				t.Fatal(err)
			case <-time.After(20 * time.Millisecond):
				continue
			}
			break
		}
	}
}

func TestTheCollectorTakesTheExample(t *testing.T) {
	t.Parallel()
	validate := func(path string) ([]byte, error) {
		cmd := exec.Command(otelcol, "validate", "--config", path)
		cmd.Env = []string{"OTLP_ENDPOINT=https://otlp.example.com", "OTLP_AUTHORIZATION=Bearer x"}
		return cmd.CombinedOutput()
	}
	if out, err := validate("observability/otel-collector.yaml"); err != nil {
		t.Errorf("%v %s", err, out)
	}
	text, err := os.ReadFile("observability/otel-collector.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"limit_mib": "limit_mb", "receivers: [otlp]": "receivers: [otlp, zipkin]", "timeout: 2s": "timeout: soon"} {
		broken := t.TempDir() + "/broken.yaml"
		if err := os.WriteFile(broken, bytes.Replace(text, []byte(from), []byte(to), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := validate(broken); err == nil {
			t.Errorf("with %s it is valid too: %s", to, out)
		}
	}
}

// One trace shows Envoy, authz, mcpbackend and the call of the API, where the
// collector takes it.
func TestOneTraceArrivesThroughTheCollector(t *testing.T) {
	t.Parallel()
	store := &kept{}
	server := httptest.NewServer(store)
	t.Cleanup(server.Close)
	tracing := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + startCollector(t, server.URL), "OTEL_BSP_SCHEDULE_DELAY=100"}
	g := gateway(t, local.Options{Ports: true, Env: map[string][]string{local.Authz: tracing, local.Backend: tracing, "envoyconf": tracing[:1]}})
	c := caller{t, g}
	if status, text := c.call(c.token(`{"kind":"opaque"}`), "list_companies", "{}"); status != http.StatusOK {
		t.Fatal(status, text)
	}
	want := []string{
		"neonpanel-mcp-authz: authz Check",
		"neonpanel-mcp-authz: issuer introspection",
		"neonpanel-mcp-backend: NeonPanel listCompanies",
		"neonpanel-mcp-backend: POST /mcp/tools/call",
		"neonpanel-mcp-backend: tools/call list_companies",
		"neonpanel-mcp-edge: POST tools-call",
		"neonpanel-mcp-edge: async envoy.service.auth.v3.Authorization.Check egress",
		"neonpanel-mcp-edge: mcpbackend",
	}
	deadline := time.Now().Add(60 * time.Second)
	for got := store.trace(); !slices.Equal(got, want); got = store.trace() {
		if time.Now().After(deadline) {
			t.Fatalf("the trace has\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("one trace:\n%s", strings.Join(store.trace(), "\n"))
	if store.who != "Bearer of the collector alone" {
		t.Errorf("they came with Authorization %q", store.who)
	}
}
