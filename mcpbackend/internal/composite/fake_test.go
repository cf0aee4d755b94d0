package composite

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// api answers by operation and notes what it was asked.
// ctx keeps the literals below short.
type ctx = context.Context

type api struct {
	// answer gives the JSON of an answer, or an error.
	answer func(ctx context.Context, r neonpanel.Request) (string, error)

	mu       sync.Mutex
	requests []neonpanel.Request
}

func (a *api) Do(ctx context.Context, r neonpanel.Request) (*neonpanel.Response, error) {
	a.mu.Lock()
	a.requests = append(a.requests, r)
	a.mu.Unlock()
	body, err := a.answer(ctx, r)
	if err != nil {
		return nil, err
	}
	return &neonpanel.Response{Status: http.StatusOK, MediaType: "application/json", Body: []byte(body)}, nil
}

// asked gives the requests of an operation as "path?query".
func (a *api) asked(operation string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, r := range a.requests {
		if r.Operation != operation {
			continue
		}
		path := r.Path
		for name, value := range r.PathArguments {
			path = strings.ReplaceAll(path, "{"+name+"}", value)
		}
		var pairs []string
		for _, p := range r.Query {
			pairs = append(pairs, p.Name+"="+p.Value)
		}
		out = append(out, path+"?"+strings.Join(pairs, "&"))
	}
	return out
}

func queryOf(r neonpanel.Request, name string) string {
	for _, p := range r.Query {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

const (
	acme  = `{"id":1,"uuid":"aaaa","name":"Acme Toys","short_name":"ACME","currency":"USD","timezone":"America/Denver"}`
	birch = `{"id":2,"uuid":"bbbb","name":"Birch GmbH","short_name":"BIRCH","currency":"EUR","timezone":"Europe/Berlin"}`
)

func list(rows ...string) string {
	return pageOf(1, 1, rows...)
}

func pageOf(current, last int, rows ...string) string {
	return fmt.Sprintf(`{"current_page":%d,"per_page":60,"last_page":%d,"data":[%s]}`, current, last, strings.Join(rows, ","))
}

// answers answers each operation with the same text; what is not among them is
// an empty list.
func answers(by map[string]string) func(context.Context, neonpanel.Request) (string, error) {
	return func(_ context.Context, r neonpanel.Request) (string, error) {
		if body, ok := by[r.Operation]; ok {
			return body, nil
		}
		return list(), nil
	}
}

// failing lets one operation fail.
func failing(operation string, err error, otherwise func(context.Context, neonpanel.Request) (string, error)) func(context.Context, neonpanel.Request) (string, error) {
	return func(ctx context.Context, r neonpanel.Request) (string, error) {
		if r.Operation == operation {
			return "", err
		}
		return otherwise(ctx, r)
	}
}

// noon is in the evening before in Denver.
var noon = time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)

var load = sync.OnceValues(func() (*catalogue.Catalogue, error) {
	return catalogue.Load(openapi.Document(), openapi.Overlay(), catalogue.Options{Compose: Tools})
})

func tools(t testing.TB) *catalogue.Catalogue {
	t.Helper()
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run calls a tool of the real catalogue.
func run(ctx context.Context, t testing.TB, a *api, name, arguments string) toolcall.Result {
	t.Helper()
	tool, ok := tools(t).Lookup(name)
	if !ok {
		t.Fatalf("no tool %s", name)
	}
	return runTool(ctx, t, a, tool, arguments)
}

func runTool(ctx context.Context, t testing.TB, a *api, tool catalogue.Tool, arguments string) toolcall.Result {
	t.Helper()
	r, err := New(nil, a, Options{APIURL: "https://my.neonpanel.com", Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	return r.Run(ctx, tool, json.RawMessage(arguments), toolcall.Caller{Bearer: "secret-token", Subject: "46"})
}

// decoded is a successful result.
func decoded[T any](t testing.TB, r toolcall.Result) T {
	t.Helper()
	if r.Failure != nil {
		t.Fatalf("%s: %s", r.Failure.Kind, r.Failure.Message)
	}
	if string(r.Structured) != r.Text {
		t.Errorf("the text is not the structured content:\n%s\n%s", r.Text, r.Structured)
	}
	var v T
	if err := json.Unmarshal(r.Structured, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
