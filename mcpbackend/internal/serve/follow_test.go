package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/documents"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
)

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestToolsFollowTheDocumentOfTheAPI runs the program against an API that takes
// an operation back, and then serves an error page.
func TestToolsFollowTheDocumentOfTheAPI(t *testing.T) {
	t.Parallel()
	without := strings.Replace(string(openapi.Document()), "\n  /api/v1/companies/{companyUuid}/payment-terms:\n", "\n  /api/v1/evil:\n", 1)
	documentsServed := []string{without, "<html>Bad gateway</html>"}
	var mu sync.Mutex
	asked := 0
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body := documentsServed[min(asked, len(documentsServed)-1)]
		asked++
		_, _ = io.WriteString(w, body)
	}))
	defer origin.Close()

	dir := t.TempDir()
	mainSocket, opsSocket := filepath.Join(dir, "main"), filepath.Join(dir, "ops")
	log := &safeBuffer{}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, config.Settings{
			PublicURL: "http://127.0.0.1:1", NeonpanelAPIURL: origin.URL, Listen: "unix:" + mainSocket, OpsListen: "unix:" + opsSocket,
			ReadOnly: "false", MaxStreams: "1", MaxStreamsPerSubject: "1", LogLevel: "info",
			OpenAPIURL: origin.URL + "/api/v1/openapi", OpenAPIRefresh: "1s",
		}, documents.Build{Version: "v1", Commit: "abc"}, log)
	}()
	get := func(socket, path string) string {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
		answer, err := client.Get("http://mcpbackend" + path)
		if err != nil {
			return ""
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return ""
		}
		return string(body)
	}
	// eventually waits for what the program does of itself.
	eventually := func(what string, is func() bool) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for !is() {
			if time.Now().After(deadline) {
				t.Fatalf("not within a minute: %s\n%s", what, log)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	eventually("the tool of the operation is gone", func() bool {
		capabilities := get(mainSocket, "/mcp/capabilities")
		return strings.Contains(capabilities, `"bills_list"`) && !strings.Contains(capabilities, `"payment_terms_list"`)
	})
	if document := get(mainSocket, "/openapi.json"); strings.Contains(document, "/payment-terms") || strings.Contains(document, "evil") || !strings.Contains(document, "/bills") {
		t.Errorf("the published document does not follow: %.300s", document)
	}
	eventually("the error page is reported", func() bool { return strings.Contains(get(opsSocket, "/readyz"), "cannot be used") })
	ready := get(opsSocket, "/readyz")
	if !strings.HasPrefix(ready, "ready\n") || !strings.Contains(ready, "live, last seen") {
		t.Errorf("/readyz says %q", ready)
	}
	var health struct{ OpenAPI documents.Description }
	if err := json.Unmarshal([]byte(get(mainSocket, "/health")), &health); err != nil || health.OpenAPI.Source != "live" || !health.OpenAPI.Failing {
		t.Errorf("/health says %+v, %v", health, err)
	}
	metrics := get(opsSocket, "/metrics")
	for _, want := range []string{
		`mcpbackend_openapi_fetches_total{outcome="replaced"} 1`, `mcpbackend_openapi_fetches_total{outcome="refused"} 0`,
		"mcpbackend_openapi_confirmed_timestamp_seconds 1", "mcpbackend_tools ",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if capabilities := get(mainSocket, "/mcp/capabilities"); !strings.Contains(capabilities, `"bills_list"`) || strings.Contains(capabilities, `"payment_terms_list"`) {
		t.Error("the last good document is no longer in force")
	}
	for _, want := range []string{`"removed":["payment_terms_list"]`, "web page", `"in_force":"the last good one"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestLiveDocumentComesByTheProxyThatIsSet: as the calls of the API do.
func TestLiveDocumentComesByTheProxyThatIsSet(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.String()
		_, _ = w.Write(openapi.Document())
	}))
	defer proxy.Close()
	source, err := catalogue.Read(openapi.Document(), openapi.Overlay())
	if err != nil {
		t.Fatal(err)
	}
	first, err := source.Load(catalogue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const at = "http://127.0.0.1:1/openapi.json"
	where, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	current := catalogue.NewCurrent(first)
	following, err := follow(config.Config{OpenAPIURL: where, OpenAPIRefresh: time.Minute, Proxy: proxy.URL},
		description{source: source, first: first}, current, "test/1", ops.NewMetrics("v1", "abc"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if d := about(following); d.Source != "built-in" || d.Failing {
		t.Errorf("before the first fetch: %+v", d)
	}
	if err := following.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-asked; got != at {
		t.Errorf("the proxy was asked for %s", got)
	}
	if d := about(following); d.Source != "live" || d.Failing || current.Get() == first {
		t.Errorf("after it: %+v", d)
	}
	if nothing, err := follow(config.Config{}, description{}, current, "", nil, nil); nothing != nil || err != nil {
		t.Errorf("without a URL: %v, %v", nothing, err)
	}
}
