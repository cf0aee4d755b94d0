package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"pgregory.net/rapid"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// upstream is an API whose next answers a test sets.
type upstream struct {
	mu      sync.Mutex
	handler http.HandlerFunc
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	handler := u.handler
	u.mu.Unlock()
	if handler == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	handler(w, r)
}

func (u *upstream) answer(h http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.handler = h
}

func (u *upstream) json(status int, body string) {
	u.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// newReal is the service with its real tools and client, on an API of the test.
func newReal(t testing.TB) (*edge, *upstream) {
	t.Helper()
	u := &upstream{}
	api := httptest.NewServer(u)
	t.Cleanup(api.Close)
	client, err := neonpanel.New(neonpanel.Options{BaseURL: api.URL, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	tools, err := everyTool()
	if err != nil {
		t.Fatal(err)
	}
	return newEdgeOf(t, tools, toolcall.New(client, toolcall.Options{Tools: tools})), u
}

var everything = caller{
	subject: "alice", client: "app", token: "alice-token",
	scopes:  "read:analytics read:cogs read:companies read:inventory read:landed-cost read:reports read:revenue read:warehouses write:import",
	inForce: "read:analytics read:cogs read:companies read:inventory read:landed-cost read:reports read:revenue read:warehouses write:import",
}

// wire keeps what came over the network, before the client's decoder had it.
type wire struct {
	next http.RoundTripper
	mu   sync.Mutex
	b    bytes.Buffer
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(r)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(response.Body, w), response.Body}
	}
	return response, err
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// structured takes the structuredContent of the only result out of what came.
func (w *wire) structured(t *rapid.T) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.b.Reset()
	for line := range strings.SplitSeq(w.b.String(), "\n") {
		line = strings.TrimPrefix(line, "data: ")
		var message struct {
			Result struct {
				Structured json.RawMessage `json:"structuredContent"`
			} `json:"result"`
		}
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &message) == nil && message.Result.Structured != nil {
			return message.Result.Structured
		}
	}
	t.Fatalf("no result in %q", w.b.String())
	return nil
}

// literals decodes JSON with its numbers as they are written.
func literals(t *rapid.T, data []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%v in %q", err, data)
	}
	return v
}

var (
	number = rapid.OneOf(
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,6})?`),                         // prices
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?`), // what a client can read: not beyond a double
		rapid.SampledFrom([]string{"0", "-0", "0.0", "1.10", "100", "0.1", "9007199254740993", "123456789012345678901234567890.10", "1E+2", "2.2250738585072014e-308"}),
	)
	date = rapid.OneOf(
		rapid.StringMatching(`(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9])`),
		rapid.StringMatching(`20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9])T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|\+00:00)`),
	)
	space = rapid.SampledFrom([]string{"", " ", "\n  ", "\t"})
)

func drawRow(t *rapid.T) string {
	quoted, _ := json.Marshal(rapid.String().Draw(t, "text"))
	s := space.Draw(t, "space")
	return fmt.Sprintf(`{%s"price":%s%s,"quantity":%s,"date":"%s","nested":{"costs":[%s,%s%s]},"name":%s}`, s, s,
		number.Draw(t, "price"), number.Draw(t, "quantity"), date.Draw(t, "date"),
		number.Draw(t, "cost"), s, number.Draw(t, "cost"), quoted)
}

// reader is a client of one version.
type reader struct {
	name    string
	wire    *wire
	session *mcp.ClientSession
}

func (r *reader) String() string { return r.name }

// Prices, quantities and dates arrive at the client exactly as NeonPanel sent
// them, digit for digit, over every transport, in both forms of the answer.
func TestFiguresArriveExactlyAsTheyWereSent(t *testing.T) {
	t.Parallel()
	e, api := newReal(t)
	as := e.start(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	var clients []*reader
	for _, version := range []string{"2026-07-28", "2025-11-25", "2024-11-05"} {
		w := &wire{next: as(everything).Transport}
		http := &http.Client{Transport: w}
		var transport mcp.Transport = &mcp.StreamableClientTransport{Endpoint: "http://backend/mcp", HTTPClient: http, DisableStandaloneSSE: true}
		if version == "2024-11-05" {
			transport = &mcp.SSEClientTransport{Endpoint: "http://backend/sse", HTTPClient: http}
		}
		session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
			Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = session.Close() })
		clients = append(clients, &reader{version, w, session})
	}
	rapid.Check(t, func(r *rapid.T) {
		var rows []string
		for range rapid.IntRange(0, 5).Draw(r, "rows") {
			rows = append(rows, drawRow(r))
		}
		sent := "[" + strings.Join(rows, ",") + "]"
		amount := number.Draw(r, "amount")
		api.json(200, fmt.Sprintf(`{"current_page":1,"per_page":15,"last_page":1,"amount":%s,"data":%s}`, amount, sent))
		want := map[string]any{
			"amount": json.Number(amount), "data": literals(r, []byte(sent)),
			"total": json.Number(fmt.Sprint(len(rows))), "next_cursor": nil,
		}
		c := rapid.SampledFrom(clients).Draw(r, "client")
		c.wire.reset()
		result, err := c.session.CallTool(ctx, &mcp.CallToolParams{Name: "bills_list", Arguments: map[string]any{"companyUuid": "a"}})
		if err != nil || result.IsError || len(result.Content) != 1 {
			r.Fatalf("%s: %v %+v", c.name, err, result)
		}
		if got := literals(r, c.wire.structured(r)); !reflect.DeepEqual(got, want) {
			r.Fatalf("%s: structuredContent\ngot  %v\nwant %v", c.name, got, want)
		}
		if got := literals(r, []byte(text(result))); !reflect.DeepEqual(got, want) {
			r.Fatalf("%s: text\ngot  %v\nwant %v", c.name, got, want)
		}

		// And the other way: what a model writes is what NeonPanel gets.
		document := drawRow(r)
		var received []byte
		api.answer(func(w http.ResponseWriter, req *http.Request) {
			received, _ = io.ReadAll(req.Body)
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"status":"done"}`)
		})
		result, err = clients[0].session.CallTool(ctx, &mcp.CallToolParams{
			Name: "create_documents", Arguments: json.RawMessage(`{"companyUuid":"a","repeat":true,"data":` + document + `}`),
		})
		if err != nil || result.IsError {
			r.Fatalf("%v %s", err, text(result))
		}
		if got, want := literals(r, received), (map[string]any{"data": literals(r, []byte(document))}); !reflect.DeepEqual(got, want) {
			r.Fatalf("NeonPanel got\n%v\nwant %v", got, want)
		}
	})
}

func (w *wire) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Reset()
}
