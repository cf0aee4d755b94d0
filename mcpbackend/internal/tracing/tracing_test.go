package tracing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/tracing"
)

type span struct {
	TraceID, SpanID, ParentSpanID, Name string
	Kind                                int
	Status                              struct{ Code int }
	Links                               []struct{ TraceID, SpanID string }
	Attributes                          []struct {
		Key   string
		Value struct{ StringValue, IntValue string }
	}
}

func (s span) attribute(key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.StringValue + a.Value.IntValue
		}
	}
	return ""
}

const ok, failed = 0, 2 // of Status

// collector keeps what it is sent.
type collector struct {
	*httptest.Server
	refuse atomic.Bool
	bodies chan []byte
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{bodies: make(chan []byte, 16)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		if c.refuse.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		c.bodies <- body
	}))
	t.Cleanup(c.Close)
	return c
}

// spans closes the tracer and returns all that it made, by name.
func (c *collector) spans(t *testing.T, tracer *tracing.Tracer, secrets ...string) map[string]span {
	t.Helper()
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := map[string]span{}
	for len(c.bodies) > 0 {
		body := <-c.bodies
		for _, secret := range secrets {
			if bytes.Contains(body, []byte(secret)) {
				t.Errorf("the collector is told %q: %s", secret, body)
			}
		}
		var sent struct {
			ResourceSpans []struct {
				Resource   struct{ Attributes []struct{ Key string } }
				ScopeSpans []struct {
					Scope struct{ Name string }
					Spans []span
				}
			}
		}
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Fatal(err)
		}
		for _, r := range sent.ResourceSpans {
			if len(r.Resource.Attributes) != 2 {
				t.Errorf("of a service: %+v", r.Resource)
			}
			for _, s := range r.ScopeSpans {
				for _, one := range s.Spans {
					all[one.Name] = one
				}
			}
		}
	}
	return all
}

func newTracer(t *testing.T, c *collector, o tracing.Options) *tracing.Tracer {
	t.Helper()
	o.Endpoint, o.Service, o.Version = c.URL, "backend-test", "v1"
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	tracer, err := tracing.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return tracer
}

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	parent  = "b7ad6b7169203331"
)

type run func(context.Context, toolcall.Caller) toolcall.Result

func (r run) Run(ctx context.Context, _ catalogue.Tool, _ json.RawMessage, c toolcall.Caller) toolcall.Result {
	return r(ctx, c)
}

// TestOneTraceLeadsFromTheGatewayToTheAPI with the real client of the API.
func TestOneTraceLeadsFromTheGatewayToTheAPI(t *testing.T) {
	t.Parallel()
	for name, tellAPI := range map[string]bool{"the API is not told": false, "the API is told": true} {
		c := newCollector(t)
		tracer := newTracer(t, c, tracing.Options{TellAPI: tellAPI})
		told := make(chan string, 1)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			told <- r.Header.Get("Traceparent")
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"secret":"hunter2"}`))
		}))
		api, err := neonpanel.New(neonpanel.Options{BaseURL: server.URL, Trace: tracer.Attempt})
		if err != nil {
			t.Fatal(err)
		}
		tool := tracer.Runner(run(func(ctx context.Context, caller toolcall.Caller) toolcall.Result {
			if _, err := api.Do(ctx, neonpanel.Request{
				Operation: "getCompany", Method: http.MethodGet, Path: "/api/{id}", PathArguments: map[string]string{"id": "hunter2"},
				Query: []neonpanel.Pair{{Name: "q", Value: "hunter2"}}, Bearer: caller.Bearer,
			}); err != nil {
				t.Error(err)
			}
			return toolcall.Result{}
		}))
		mux := http.NewServeMux()
		mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
			tool.Run(r.Context(), catalogue.Tool{Name: "get_company"}, json.RawMessage(`{"id":"hunter2"}`), toolcall.Caller{Bearer: "hunter2", Subject: "subject-46", ClientID: "client-7"})
			w.WriteHeader(http.StatusAccepted)
		})
		r := httptest.NewRequest(http.MethodPost, "/mcp?q=hunter2", strings.NewReader("hunter2"))
		r.Header.Set("Traceparent", "00-"+traceID+"-"+parent+"-01")
		r.Header.Set("Authorization", "Bearer hunter2")
		tracer.Handler(mux).ServeHTTP(httptest.NewRecorder(), r)
		api.Close()
		server.Close()

		spans := c.spans(t, tracer, "hunter2", "subject-46", "client-7", "?")
		request, call, attempt := spans["POST /mcp"], spans["tools/call get_company"], spans["NeonPanel getCompany"]
		if request.TraceID != traceID || request.ParentSpanID != parent || request.Kind != 2 {
			t.Errorf("%s: %+v", name, request)
		}
		if call.TraceID != traceID || call.ParentSpanID != request.SpanID || call.attribute("mcp.tool.outcome") != "ok" {
			t.Errorf("%s: %+v", name, call)
		}
		if attempt.TraceID != traceID || attempt.ParentSpanID != call.SpanID || attempt.Kind != 3 || attempt.attribute("url.template") != "/api/{id}" || attempt.attribute("http.response.status_code") != "200" {
			t.Errorf("%s: %+v", name, attempt)
		}
		if request.attribute("http.response.status_code") != "202" || request.attribute("http.route") != "/mcp" {
			t.Errorf("%s: %+v", name, request)
		}
		want := ""
		if tellAPI {
			want = "00-" + traceID + "-" + attempt.SpanID + "-01"
		}
		if got := <-told; got != want {
			t.Errorf("%s: traceparent %q, want %q", name, got, want)
		}
	}
}

func TestFailuresAreOfClosedLists(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	tracer := newTracer(t, c, tracing.Options{Share: 1})
	broken := tracer.Runner(run(func(ctx context.Context, _ toolcall.Caller) toolcall.Result {
		tracer.Attempt(ctx, neonpanel.Request{Operation: "x", Method: "GET", Path: "/x"}, http.Header{})(neonpanel.Attempt{Class: neonpanel.Unavailable})
		return toolcall.Result{Text: "hunter2", Failure: &toolcall.Failure{Kind: toolcall.Forbidden, Message: "hunter2"}}
	}))
	mux := http.NewServeMux()
	mux.HandleFunc("/sse/{$}", func(w http.ResponseWriter, r *http.Request) {
		broken.Run(r.Context(), catalogue.Tool{Name: "broken"}, nil, toolcall.Caller{})
		w.WriteHeader(http.StatusInternalServerError)
	})
	mux.HandleFunc("/", http.NotFound)
	for _, r := range []*http.Request{httptest.NewRequest("BREW", "/hunter2", nil), httptest.NewRequest(http.MethodGet, "/sse/", nil)} {
		tracer.Handler(mux).ServeHTTP(httptest.NewRecorder(), r)
	}
	spans := c.spans(t, tracer, "hunter2", "BREW")
	for name, want := range map[string]struct {
		status int
		key    string
		value  string
	}{
		"_OTHER other": {ok, "http.response.status_code", "404"}, "GET /sse/": {failed, "http.response.status_code", "500"},
		"tools/call broken": {failed, "mcp.tool.outcome", "forbidden"}, "NeonPanel x": {failed, "neonpanel.operation", "x"},
	} {
		if s := spans[name]; s.Name == "" || s.Status.Code != want.status || s.attribute(want.key) != want.value {
			t.Errorf("%s: %+v, want %+v", name, s, want)
		}
	}
	if len(spans) != 4 {
		t.Errorf("%+v", spans)
	}
}

func TestTheGatewayDecidesWhatIsTraced(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		share  float64
		header string
		want   int
	}{
		"the gateway says no":  {1, "00-" + traceID + "-" + parent + "-00", 0},
		"the gateway says yes": {0, "00-" + traceID + "-" + parent + "-01", 2},
		"nobody, and all":      {1, "", 2},
		"nobody, and none":     {0, "", 0},
		"rubbish":              {0, "rubbish", 0},
	} {
		c := newCollector(t)
		tracer := newTracer(t, c, tracing.Options{Share: tc.share})
		r := httptest.NewRequest(http.MethodGet, "/health", nil)
		if tc.header != "" {
			r.Header.Set("Traceparent", tc.header)
		}
		tracer.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			tracer.Attempt(r.Context(), neonpanel.Request{Operation: "x"}, http.Header{})(neonpanel.Attempt{})
		})).ServeHTTP(httptest.NewRecorder(), r)
		if spans := c.spans(t, tracer); len(spans) != tc.want {
			t.Errorf("%s: %+v", name, spans)
		}
	}
}

// A client's own trace is named by the call's span and decides nothing.
func TestAClientsTraceIsLinkedAndNotFollowed(t *testing.T) {
	t.Parallel()
	const foreign, place = "11112222333344445555666677778888", "aaaabbbbccccdddd"
	for name, tc := range map[string]struct {
		share  float64
		edge   string
		client string
		spans  int
		linked bool
	}{
		"in the gateway's trace":   {0, "00-" + traceID + "-" + parent + "-01", "00-" + foreign + "-" + place + "-00", 2, true},
		"without the gateway's":    {1, "", "00-" + foreign + "-" + place + "-00", 2, true},
		"its flag samples nothing": {0, "", "00-" + foreign + "-" + place + "-01", 0, false},
		"not against the gateway":  {1, "00-" + traceID + "-" + parent + "-00", "00-" + foreign + "-" + place + "-01", 0, false},
		"rubbish":                  {1, "", "00-zz-" + place + "-01", 2, false},
		"zeros":                    {1, "", "00-00000000000000000000000000000000-" + place + "-01", 2, false},
	} {
		c := newCollector(t)
		tracer := newTracer(t, c, tracing.Options{Share: tc.share})
		r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
		if tc.edge != "" {
			r.Header.Set("Traceparent", tc.edge)
		}
		runner := tracer.Runner(run(func(context.Context, toolcall.Caller) toolcall.Result { return toolcall.Result{} }))
		tracer.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			runner.Run(tracer.Link(r.Context(), tc.client), catalogue.Tool{Name: "echo"}, nil, toolcall.Caller{})
		})).ServeHTTP(httptest.NewRecorder(), r)
		spans := c.spans(t, tracer)
		call := spans["tools/call echo"]
		if len(spans) != tc.spans {
			t.Errorf("%s: %+v", name, spans)
		}
		if call.TraceID == foreign || call.ParentSpanID == place {
			t.Errorf("%s: the client chose the trace", name)
		}
		if got := len(call.Links) == 1 && call.Links[0].TraceID == foreign && call.Links[0].SpanID == place; got != tc.linked {
			t.Errorf("%s: links %+v", name, call.Links)
		}
	}
}

// TestAStreamIsFlushedThroughTheTracer: what a handler can do to a response it
// can still do.
func TestAStreamIsFlushedThroughTheTracer(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	tracer := newTracer(t, c, tracing.Options{Share: 1})
	w := httptest.NewRecorder()
	tracer.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/sse", nil))
	if !w.Flushed {
		t.Error("not flushed")
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAPanicIsPassedOnAndNotTold(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	tracer := newTracer(t, c, tracing.Options{Share: 1})
	func() {
		defer func() {
			if v := recover(); v != "hunter2" {
				t.Errorf("the panic became %v", v)
			}
		}()
		tracer.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("hunter2") })).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}()
	if spans := c.spans(t, tracer, "hunter2"); len(spans) != 1 {
		t.Errorf("%+v", spans)
	}
}

func TestACollectorThatIsDownIsToldOnce(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1") // each span is sent on its own
	c := newCollector(t)
	c.refuse.Store(true)
	var log bytes.Buffer
	tracer := newTracer(t, c, tracing.Options{Share: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 {
		tracer.Attempt(context.Background(), neonpanel.Request{Operation: "x"}, http.Header{})(neonpanel.Attempt{})
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "503") {
		t.Errorf("%d warnings: %s", n, &log)
	}
	if _, err := tracing.New(tracing.Options{Endpoint: c.URL, CAFile: "/does/not/exist"}); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a CA file that is not there: %v", err)
	}
}
