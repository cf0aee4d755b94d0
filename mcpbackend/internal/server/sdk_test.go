package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
)

// connect opens a session of the SDK's client that asks for one version.
func connect(t *testing.T, transport mcp.Transport, version string) *mcp.ClientSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

func TestSDKClientListsAndCalls(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, version string }{
		{"2026-07-28", "2026-07-28"}, {"2025-11-25", "2025-11-25"}, {"2025-06-18", "2025-06-18"}, {"2025-03-26", "2025-03-26"},
		{"legacy SSE", "2024-11-05"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t)
			client := e.start(t)(alice)
			var transport mcp.Transport = &mcp.StreamableClientTransport{Endpoint: "http://backend/mcp", HTTPClient: client, DisableStandaloneSSE: true}
			if tc.name == "legacy SSE" {
				transport = &mcp.SSEClientTransport{Endpoint: "http://backend/sse", HTTPClient: &http.Client{Transport: client.Transport}}
			}
			session := connect(t, transport, tc.version)
			if got := session.InitializeResult().ProtocolVersion; got != tc.version {
				t.Errorf("speaks %s, want %s", got, tc.version)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()

			list, err := session.ListTools(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := len(list.Tools), len(testTools()); got != want {
				t.Errorf("%d tools, want %d", got, want)
			}
			for i, tool := range list.Tools {
				if i > 0 && list.Tools[i-1].Name >= tool.Name {
					t.Errorf("%s comes after %s", tool.Name, list.Tools[i-1].Name)
				}
				if tool.Meta["securitySchemes"] == nil || tool.Annotations == nil || tool.Annotations.DestructiveHint == nil {
					t.Errorf("%s lacks securitySchemes or annotations", tool.Name)
				}
			}
			result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"company_uuid": "c-1"}})
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(result.StructuredContent)
			if err != nil {
				t.Fatal(err)
			}
			got := decode[struct {
				Tool, Bearer string
				Arguments    map[string]string
			}](t, data)
			if result.IsError || got.Tool != "echo" || got.Bearer != "alice-token" || got.Arguments["company_uuid"] != "c-1" {
				t.Errorf("result %s, error %v", data, result.IsError)
			}
			if text, ok := result.Content[0].(*mcp.TextContent); !ok || text.Text == "" {
				t.Error("no text for clients that read text only")
			}

			result, err = session.CallTool(ctx, &mcp.CallToolParams{Name: "panic"})
			if err != nil || !result.IsError {
				t.Errorf("a panic in a tool gave %v, %v, want an error result", result, err)
			}
			result, err = session.CallTool(ctx, &mcp.CallToolParams{Name: "fail"})
			if err != nil || !result.IsError || result.Content[0].(*mcp.TextContent).Text != "NeonPanel is busy. Try again in 7 s." {
				t.Errorf("a failed call gave %v, %v", result, err)
			}
			if _, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "nonsense"}); err == nil {
				t.Error("an unknown tool gave no error")
			}
			if tc.name == "legacy SSE" {
				result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "import"})
				if err != nil || !result.IsError || result.Meta[denial.MetaKey] == nil {
					t.Errorf("a missing scope gave %v, %v, want a challenge in the result", result, err)
				}
			}
		})
	}
}

func bareEcho(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: string(req.Params.Arguments)}}}, nil
}
