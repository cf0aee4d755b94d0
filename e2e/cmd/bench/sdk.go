package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// sdkCmd is a server as the SDK's documentation shows it, stateless and with
// JSON answers, that logs and counts nothing.
type sdkCmd struct {
	API  string `name:"api" required:""`
	Body string `required:""`
}

func (c *sdkCmd) Run() error {
	data, err := os.ReadFile(c.Body)
	if err != nil {
		return err
	}
	var canned map[string]any
	if err := json.Unmarshal(data, &canned); err != nil {
		return err
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "stock", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "canned", Description: "Companies, from memory."},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, map[string]any, error) {
			return nil, canned, nil
		})
	mcp.AddTool(server, &mcp.Tool{Name: "list_companies", Description: "Companies, from the API."},
		func(ctx context.Context, call *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, map[string]any, error) {
			companies, err := c.fetch(ctx, call.Extra.Header.Get("Authorization"))
			return nil, companies, err
		})
	return serveHTTP(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true}))
}

func (c *sdkCmd) fetch(ctx context.Context, authorization string) (map[string]any, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.API, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", authorization)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the API answered %s", resp.Status)
	}
	var companies map[string]any
	err = json.NewDecoder(resp.Body).Decode(&companies)
	return companies, err
}

// apiCmd answers every request with the content of a file, as the REST API
// answers one.
type apiCmd struct {
	Body string `arg:""`
}

func (c *apiCmd) Run() error {
	data, err := os.ReadFile(c.Body)
	if err != nil {
		return err
	}
	return serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(data)
	}))
}
