package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

func aPDF() string {
	return base64.StdEncoding.EncodeToString([]byte("%PDF-1.4\n1 0 obj << >> endobj\ntrailer << >>\n%%EOF\n"))
}

// An import is followed to its end, and a client that wants to know is told how
// it is getting on.
func TestAnImportIsFollowedWithProgress(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.token(t, sellerOne)
	company := g.companies(t, token)[0].UUID
	params := map[string]any{
		"name":      "create_documents_by_pdf",
		"arguments": map[string]any{"companyUuid": company, "fileName": "progress.pdf", "content": aPDF()},
	}
	body, headers := message(modern, "tools/call", "create_documents_by_pdf", params)
	body = strings.Replace(body, `"_meta":{`, `"_meta":{"progressToken":"p-1",`, 1)
	r := g.send(t, http.MethodPost, "/mcp", body, append(headers, bearer(token)...)...)
	if r.Status != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") || r.Header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("%d %v %s", r.Status, r.Header, r.Body)
	}
	type event struct {
		Method string `json:"method"`
		Params struct {
			Token    any     `json:"progressToken"`
			Progress float64 `json:"progress"`
			Total    float64 `json:"total"`
			Message  string  `json:"message"`
		} `json:"params"`
		Result *toolResult `json:"result"`
	}
	last, told := -1.0, 0
	var result *toolResult
	for line := range strings.SplitSeq(r.Body, "\n") {
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var e event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if result = e.Result; e.Method != "notifications/progress" {
			continue
		}
		told++
		if e.Params.Token != "p-1" || e.Params.Progress <= last || e.Params.Total < e.Params.Progress || e.Params.Message == "" {
			t.Errorf("after %v: %s", last, data)
		}
		last = e.Params.Progress
	}
	if told < 2 || result == nil {
		t.Fatalf("%d times told, result %v: %s", told, result, r.Body)
	}
	if got := structured[struct{ Status string }](t, *result); got.Status != "done" {
		t.Errorf("%s", result.Structured)
	}
}

// When the process stops, an import that is under way is handed back at once
// with what to call next: nothing of it is lost.
func TestAnImportIsHandedBackWhenTheProcessStops(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{})
	token := g.token(t, sellerOne)
	company := g.companies(t, token)[0].UUID
	done := make(chan reply, 1)
	go func() {
		body, _ := json.Marshal(map[string]any{
			"name":      "create_documents_by_pdf",
			"arguments": map[string]any{"companyUuid": company, "fileName": "stop.pdf", "content": aPDF()},
		})
		r, err := g.trySend(t.Context(), http.MethodPost, "/mcp/tools/call", string(body), append([]string{"Content-Type", "application/json"}, bearer(token)...)...)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	path := "/api/v1/companies/" + company + "/import/bill/pdf"
	eventually(t, 60*time.Second, func() string {
		if g.attempts(t, path) == 0 {
			return "the import has not begun"
		}
		return ""
	})
	g.StopPart(stack.Backend)
	r := <-done
	var result toolResult
	if err := json.Unmarshal([]byte(r.Body), &result); err != nil || r.Status != 200 {
		t.Fatalf("%d %s %v", r.Status, r.Body, err)
	}
	next := structured[struct {
		Next struct {
			Tool      string         `json:"tool"`
			Arguments map[string]any `json:"arguments"`
		} `json:"_next"`
	}](t, result).Next
	if next.Tool != "check_import_processing" {
		t.Fatalf("%s", result.Structured)
	}
	if err := g.StartPart(stack.Backend); err != nil {
		t.Fatal(err)
	}
	if err := g.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := structured[struct{ Status string }](t, g.call(t, modern, token, next.Tool, next.Arguments)); got.Status != "done" {
		t.Errorf("in the end: %+v", got)
	}
}
