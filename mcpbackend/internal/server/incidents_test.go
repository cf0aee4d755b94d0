package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// plainAnswer is the answer of a plain call.
type plainAnswer struct {
	Structured json.RawMessage `json:"structuredContent"`
	IsError    bool            `json:"isError"`
	Content    []struct{ Text string }
}

func (e *edge) plainCall(t *testing.T, c caller, name, arguments string) plainAnswer {
	t.Helper()
	w := e.do(c, "POST", "/mcp/tools/call", `{"name":"`+name+`","arguments":`+arguments+`}`)
	if w.Code != 200 {
		t.Fatalf("%s: %d %s", name, w.Code, w.Body)
	}
	return decode[plainAnswer](t, w.Body.Bytes())
}

// Incident 37: a new connection for every call stalled everybody for 40 s.
func TestCallsShareTheirConnections(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"count":0,"data":[]}`)
	}))
	api.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	api.Start()
	defer api.Close()
	client, err := neonpanel.New(neonpanel.Options{BaseURL: api.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	tools, err := everyTool()
	if err != nil {
		t.Fatal(err)
	}
	e := newEdgeOf(t, tools, toolcall.New(client, toolcall.Options{}))
	for i := range 50 {
		c := everything
		c.subject = fmt.Sprint("user-", i)
		e.plainCall(t, c, "list_reports", "{}")
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for 50 calls", n)
	}
}

// Gap 13: only the first 60 companies could be found.
func TestEveryCompanyIsFound(t *testing.T) {
	t.Parallel()
	const companies = 130
	e, api := newReal(t)
	api.answer(func(w http.ResponseWriter, r *http.Request) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
		if page < 1 || size < 10 || size > 60 {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		var rows []string
		for i := (page - 1) * size; i < min(page*size, companies); i++ {
			rows = append(rows, fmt.Sprintf(`{"id":%d,"uuid":"%040d","name":"Company %d"}`, i, i, i))
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"current_page":%d,"per_page":%d,"last_page":%d,"data":[%s]}`, page, size, (companies+size-1)/size, strings.Join(rows, ","))
	})
	found := map[string]bool{}
	arguments := map[string]any{}
	for range companies {
		given, err := json.Marshal(arguments)
		if err != nil {
			t.Fatal(err)
		}
		got := decode[struct {
			Data   []struct{ UUID string }
			Cursor string `json:"next_cursor"`
		}](t, e.plainCall(t, everything, "list_companies", string(given)).Structured)
		for _, c := range got.Data {
			found[c.UUID] = true
		}
		if got.Cursor == "" {
			break
		}
		arguments["cursor"] = got.Cursor
	}
	if len(found) != companies {
		t.Errorf("%d of %d companies", len(found), companies)
	}
	got := decode[struct{ Total int }](t, e.plainCall(t, everything, "list_companies", `{"limit":200}`).Structured)
	if got.Total != companies {
		t.Errorf("total %d", got.Total)
	}
}
