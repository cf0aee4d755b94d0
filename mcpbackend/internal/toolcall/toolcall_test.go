package toolcall

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
)

// stage is a runner whose API is a real HTTP server on loopback.
type stage struct {
	runner    Runner
	catalogue *catalogue.Catalogue
}

func newStage(t testing.TB, handler http.Handler) *stage {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := neonpanel.New(neonpanel.Options{
		BaseURL: server.URL, Timeout: 2 * time.Second, AttemptTimeout: 300 * time.Millisecond,
		Backoff: time.Millisecond, MaxBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	tools, err := catalogue.Load(openapi.Document(), openapi.Overlay(), catalogue.Options{Toolsets: []string{"all"}})
	if err != nil {
		t.Fatal(err)
	}
	return &stage{runner: New(client, Options{}), catalogue: tools}
}

func (s *stage) call(t testing.TB, name, arguments string) Result {
	t.Helper()
	tool, ok := s.catalogue.Lookup(name)
	if !ok {
		t.Fatalf("no tool %s", name)
	}
	return s.runner.Run(t.Context(), tool, json.RawMessage(arguments), "token-of-the-caller")
}

func TestAnswerArrivesAsItWasSent(t *testing.T) {
	t.Parallel()
	s := newStage(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.URL.RequestURI(), "/api/v1/companies/ab12/warehouses?page=2&per_page=30&search=north+%26+south"; got != want {
			t.Errorf("called %s, want %s", got, want)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer token-of-the-caller" {
			t.Errorf("Authorization %q", got)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{ "current_page": 2, "per_page": 30, "last_page": 3, "data": [ {"price": 10.50, "n": 12345678901234567890} ] }`))
	}))
	result := s.call(t, "list_warehouses", `{"companyUuid":"ab12","page":"2","search":"north & south"}`)
	if result.Failure != nil {
		t.Fatal(result.Failure)
	}
	const want = `{"current_page":2,"per_page":30,"last_page":3,"data":[{"price":10.50,"n":12345678901234567890}]}`
	if string(result.Structured) != want {
		t.Errorf("structured %s", result.Structured)
	}
	if want := want + "\n\nPage 2 of 3. For more, call list_warehouses again with page=3."; result.Text != want {
		t.Errorf("text %s", result.Text)
	}
}
