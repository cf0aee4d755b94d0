package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/documents"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
)

// changing is a catalogue that changes.
type changing struct{ *catalogue.Current }

func (c changing) DocumentJSON() []byte { return c.Get().DocumentJSON() }
func (c changing) DocumentYAML() []byte { return c.Get().DocumentYAML() }

func (c changing) renew(t testing.TB, replace func(documents.Catalogue) error) {
	c.OnChange(func(next *catalogue.Catalogue) {
		if err := replace(next); err != nil {
			t.Error(err)
		}
	})
}

// twoCatalogues differ in most of their tools: the second has no other than
// those of companies, and knows the type of a page as another.
func twoCatalogues(t *testing.T) (first, second *catalogue.Catalogue) {
	t.Helper()
	source, err := catalogue.Read(openapi.Document(), openapi.Overlay())
	if err != nil {
		t.Fatal(err)
	}
	options := catalogue.Options{Toolsets: []string{"companies", "purchasing", "sales"}}
	if first, err = source.Load(options); err != nil {
		t.Fatal(err)
	}
	options.Live = []byte(`{"openapi":"3.1.0","info":{"title":"T","version":"1"},"paths":{
		"/api/v1/companies":{"get":{"parameters":[{"name":"page","in":"query","schema":{"type":"string"}}]}},
		"/api/v1/permissions":{"get":{}}}}`)
	if second, err = source.Load(options); err != nil {
		t.Fatal(err)
	}
	return first, second
}

// signature is a list of tools in one line.
func signature(list []*mcp.Tool) string {
	var b strings.Builder
	for _, tool := range list {
		schema, err := json.Marshal(tool.InputSchema)
		fmt.Fprintln(&b, tool.Name, string(schema), tool.Meta["securitySchemes"], err)
	}
	return b.String()
}

// TestNobodySeesTwoCataloguesAtOnce changes the catalogue again and again while
// everything that shows it is read.
func TestNobodySeesTwoCataloguesAtOnce(t *testing.T) {
	t.Parallel()
	first, second := twoCatalogues(t)
	current := changing{catalogue.NewCurrent(first)}
	e := newEdgeOf(t, current, newRunner())
	client := e.start(t)(alice)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	sessions := map[string]*mcp.ClientSession{
		// Since 2026-07-28 the SDK's client keeps a list for as long as it may.
		"streamable": connect(t, &mcp.StreamableClientTransport{Endpoint: "http://backend/mcp", HTTPClient: client, DisableStandaloneSSE: true}, "2025-11-25"),
		"legacy SSE": connect(t, &mcp.SSEClientTransport{Endpoint: "http://backend/sse", HTTPClient: &http.Client{Transport: client.Transport}}, "2024-11-05"),
	}
	readers := map[string]func() (string, error){}
	for name, session := range sessions {
		readers[name] = func() (string, error) {
			list, err := session.ListTools(ctx, nil)
			if err != nil {
				return "", err
			}
			return signature(list.Tools), nil
		}
	}
	readers["templates"] = func() (string, error) {
		list, err := sessions["streamable"].ListResourceTemplates(ctx, nil)
		if err != nil {
			return "", err
		}
		var uris []string
		for _, template := range list.ResourceTemplates {
			uris = append(uris, template.URITemplate)
		}
		return strings.Join(uris, " "), nil
	}
	for _, path := range []string{"/mcp/capabilities", "/openapi.json", "/openapi.yaml", "/"} {
		readers[path] = func() (string, error) {
			got := e.do(alice, http.MethodGet, path, "")
			if got.Code != http.StatusOK {
				return "", fmt.Errorf("status %d", got.Code)
			}
			return got.Header().Get("ETag") + got.Body.String(), nil
		}
	}
	// What there is to see of each catalogue when nothing changes.
	want := map[string][]string{}
	for _, c := range []*catalogue.Catalogue{first, second} {
		current.Set(c)
		for name, read := range readers {
			got, err := read()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if slices.Contains(want[name], got) {
				t.Errorf("%s is the same for both", name)
			}
			want[name] = append(want[name], got)
		}
	}
	var reading sync.WaitGroup
	for name, read := range readers {
		reading.Go(func() {
			for range 15 {
				if got, err := read(); err != nil || !slices.Contains(want[name], got) {
					t.Errorf("%s shows neither the one nor the other: %v\n%s", name, err, got)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { reading.Wait(); close(done) }()
	for i := 0; ; i++ {
		current.Set([]*catalogue.Catalogue{first, second}[i%2])
		select {
		case <-done:
			return
		default:
		}
	}
}

// TestToolOfAnOperationThatIsGoneIsGone: on every way there is, in sessions that
// are open too.
func TestToolOfAnOperationThatIsGoneIsGone(t *testing.T) {
	t.Parallel()
	first, second := twoCatalogues(t)
	current := changing{catalogue.NewCurrent(first)}
	e := newEdgeOf(t, current, newRunner())
	everything := alice
	everything.scopes = "read:companies read:landed-cost"
	client := e.start(t)(everything)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	legacy := connect(t, &mcp.SSEClientTransport{Endpoint: "http://backend/sse", HTTPClient: &http.Client{Transport: client.Transport}}, "2024-11-05")
	stateless := connect(t, &mcp.StreamableClientTransport{Endpoint: "http://backend/mcp", HTTPClient: client, DisableStandaloneSSE: true}, "2025-11-25")
	call := func(name string) (answers map[string]bool) {
		answers = map[string]bool{}
		for via, session := range map[string]*mcp.ClientSession{"legacy": legacy, "streamable": stateless} {
			result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: map[string]any{"companyUuid": "c-1"}})
			answers[via] = err == nil && !result.IsError
		}
		got := e.do(everything, http.MethodPost, "/mcp/tools/call", `{"name":"`+name+`","arguments":{"companyUuid":"c-1"}}`)
		answers["plain"] = got.Code == http.StatusOK
		return answers
	}
	all := map[string]bool{"legacy": true, "streamable": true, "plain": true}
	none := map[string]bool{"legacy": false, "streamable": false, "plain": false}
	expect := func(tool string, want map[string]bool) {
		t.Helper()
		if got := call(tool); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s answers %v, want %v", tool, got, want)
		}
	}
	expect("vendors_list", all)
	expect("list_companies", all)
	current.Set(second)
	expect("vendors_list", none)
	expect("project_management_list_vendors", none) // its alias
	expect("list_companies", all)
	current.Set(first)
	expect("vendors_list", all)
}
