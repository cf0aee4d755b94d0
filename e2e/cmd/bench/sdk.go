package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// sdkCmd is a server as the SDK's documentation shows it, stateless and with
// JSON answers, that logs and counts nothing. Its list holds the tools of the
// server that it is compared with too, or it would have little to list.
type sdkCmd struct {
	API   string `name:"api" required:""`
	Body  string `required:""`
	Tools string `required:""`
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
	listed, err := readTools(c.Tools)
	if err != nil {
		return err
	}
	for i := range listed {
		if listed[i].Name != "list_companies" {
			server.AddTool(&listed[i], func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return &mcp.CallToolResult{Content: []mcp.Content{}}, nil
			})
		}
	}
	return serveMeasured(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true}))
}

// readTools reads what tools/list answered.
func readTools(file string) ([]mcp.Tool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Result struct{ Tools []mcp.Tool }
	}
	err = json.Unmarshal(data, &answer)
	return answer.Result.Tools, err
}

func (c *sdkCmd) fetch(ctx context.Context, authorization string) (map[string]any, error) {
	return fetchCompanies(ctx, c.API, authorization)
}

func fetchCompanies(ctx context.Context, api, authorization string) (map[string]any, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api, nil)
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

// plainCmd answers the same two methods with net/http and encoding/json alone: it
// knows nothing of MCP but the shape of its messages, checks nothing, and is the
// least that a Go program can do.
type plainCmd struct {
	API   string `name:"api" required:""`
	Tools string `required:""`
}

func (c *plainCmd) Run() error {
	listed, err := readTools(c.Tools)
	if err != nil {
		return err
	}
	type content struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	return serveMeasured(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var message struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
			Params struct {
				Name      string         `json:"name"`
				Arguments map[string]any `json:"arguments"`
			} `json:"params"`
		}
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			http.Error(w, "not JSON", http.StatusBadRequest)
			return
		}
		var result any = map[string]any{"tools": listed}
		if message.Method == "tools/call" {
			companies, err := fetchCompanies(r.Context(), c.API, r.Header.Get("Authorization"))
			if err != nil {
				http.Error(w, "no answer", http.StatusBadGateway)
				return
			}
			text, _ := json.Marshal(companies) // it was JSON
			result = map[string]any{"content": []content{{"text", string(text)}}, "structuredContent": companies}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "id": message.ID, "result": result}) // the client may be gone
	}))
}

// serveMeasured serves h, and beside it what the process has allocated, as
// Prometheus reads it.
func serveMeasured(h http.Handler) error {
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_, _ = fmt.Fprintf(w, "%s %d\n", allocatedMetric, m.TotalAlloc)
	})
	return serveHTTP(mux)
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
