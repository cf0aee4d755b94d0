package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/documents"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/serve"
)

// gateway adds what the gateway adds to a verified request.
type gateway struct{ next http.RoundTripper }

func (g gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Neonpanel-Auth", "bearer")
	r.Header.Set("X-Neonpanel-Subject", "46")
	r.Header.Set("X-Neonpanel-Expires", strconv.FormatInt(time.Now().Add(time.Minute).Unix(), 10))
	r.Header.Set("Authorization", "Bearer the-token")
	return g.next.RoundTrip(r)
}

// TestTheProgramServesCompaniesFromTheAPI runs all of the program but for its
// flags against an API of its own.
func TestTheProgramServesCompaniesFromTheAPI(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"current_page":1,"per_page":30,"last_page":1,"data":[{"uuid":"c-1","name":"Northwind"}]}`))
	}))
	defer api.Close()

	dir := t.TempDir()
	var command serveCommand
	k, err := kong.New(&command)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Parse([]string{
		"--public-url=http://127.0.0.1:1", "--neonpanel-api-url=" + api.URL,
		"--mcpbackend-listen=unix:" + filepath.Join(dir, "main"), "--mcpbackend-ops-listen=unix:" + filepath.Join(dir, "ops"),
		"--mcpbackend-log-level=error",
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- serve.Run(ctx, command.Settings, documents.Build{Version: "v1", Commit: "abc"}, io.Discard)
	}()
	for ops.Ask(ctx, "unix", filepath.Join(dir, "ops")) != nil {
		select {
		case err := <-done:
			t.Fatalf("it ended: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}

	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "main"))
	}}
	defer transport.CloseIdleConnections()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "t", Version: "1"}, nil).Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: "http://backend/mcp", HTTPClient: &http.Client{Transport: gateway{transport}}, DisableStandaloneSSE: true,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "list_companies"})
	if err != nil || result.IsError || !strings.Contains(result.Content[0].(*mcp.TextContent).Text, "Northwind") {
		t.Errorf("list_companies gave %+v, %v", result, err)
	}
	if got := <-asked; got != "GET /api/v1/companies Bearer the-token" {
		t.Errorf("the API was asked %q", got)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}

	cancel()
	if err := <-done; err != nil {
		t.Errorf("stopping: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
