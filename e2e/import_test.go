package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

func structured[T any](t *testing.T, r toolResult) (v T) {
	t.Helper()
	if r.IsError {
		t.Fatal(r.text())
	}
	if err := json.Unmarshal(r.Structured, &v); err != nil {
		t.Fatalf("%s: %v", r.Structured, err)
	}
	return v
}

type rows struct {
	Data []struct {
		ID        json.Number `json:"id"`
		RefNumber string      `json:"ref_number"`
	} `json:"data"`
}

// What a model creates is in the seller's books, and in nobody else's.
func TestImportOfADocument(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	one, two := g.token(t, sellerOne), g.token(t, sellerTwo)
	mine, theirs := g.companies(t, one)[0].UUID, g.companies(t, two)[0].UUID
	service := structured[rows](t, g.call(t, modern, one, "services_list", map[string]any{"companyUuid": mine})).Data[0].ID
	ref := fmt.Sprintf("E2E-%d", time.Now().UnixNano())
	bill := func(company string) map[string]any {
		return map[string]any{"companyUuid": company, "type": "bill", "data": map[string]any{
			"date": time.Now().UTC().Format(time.DateOnly), "ref_number": ref,
			"details": []any{map[string]any{"service_id": service, "quantity": 2, "rate": 10.5}},
		}}
	}
	find := func(token, company string) int {
		return len(structured[rows](t, g.call(t, modern, token, "bills_list", map[string]any{"companyUuid": company, "search": ref})).Data)
	}

	if r := g.call(t, modern, one, "create_documents", bill(theirs)); !r.IsError {
		t.Errorf("created in the other's company: %s", r.text())
	}
	if r := g.call(t, modern, one, "create_documents", map[string]any{"companyUuid": mine, "data": map[string]any{"ref_number": ref}}); !r.IsError ||
		!strings.Contains(r.text(), "date") || !strings.Contains(r.text(), "details") {
		t.Errorf("a bill without lines: isError %v, %s", r.IsError, r.text())
	}
	reader := g.mint(t, stack.TokenRequest{Account: sellerOne, Scope: "read:companies read:inventory"})
	body, _ := json.Marshal(map[string]any{"name": "create_documents", "arguments": bill(mine)})
	refused := g.send(t, http.MethodPost, "/mcp/tools/call", string(body), append([]string{"Content-Type", "application/json"}, bearer(reader)...)...)
	if refused.Status != 403 || !strings.Contains(refused.Header.Get("WWW-Authenticate"), "write:import") {
		t.Errorf("without the scope: %d %s", refused.Status, refused.Body)
	}
	if n := find(one, mine) + find(two, theirs); n != 0 {
		t.Fatalf("%d bills after calls that failed", n)
	}

	if r := g.call(t, modern, one, "create_documents", bill(mine)); r.IsError {
		t.Fatal(r.text())
	}
	if n := find(one, mine); n != 1 {
		t.Errorf("%d bills after one call", n)
	}
	if n := find(two, theirs); n != 0 {
		t.Errorf("%d bills at the other seller", n)
	}
}

func TestImportOfAPDF(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.token(t, sellerOne)
	company := g.companies(t, token)[0].UUID
	arguments := func(key, value string) map[string]any {
		return map[string]any{"companyUuid": company, "fileName": "bill.pdf", key: value}
	}
	// The gateway fetches nothing and hands on only what NeonPanel may fetch.
	for _, link := range []string{
		"http://files.example.com/a.pdf", "https://127.0.0.1/a.pdf", "https://[::1]/a.pdf", "https://localhost/a.pdf",
		"https://files.example.com:8443/a.pdf", "https://user@files.example.com/a.pdf", "file:///etc/passwd", "nonsense",
	} {
		if r := g.call(t, modern, token, "create_documents_by_pdf", arguments("link", link)); !r.IsError || !strings.Contains(r.text(), "link") {
			t.Errorf("%s: isError %v, %s", link, r.IsError, r.text())
		}
	}
	for _, content := range []string{"not base64!", base64.StdEncoding.EncodeToString([]byte("not a PDF"))} {
		if r := g.call(t, modern, token, "create_documents_by_pdf", arguments("content", content)); !r.IsError {
			t.Errorf("%q: %s", content, r.text())
		}
	}

	pdf := base64.StdEncoding.EncodeToString([]byte("%PDF-1.4\n1 0 obj << >> endobj\ntrailer << >>\n%%EOF\n"))
	started := structured[struct {
		RequestID string `json:"request_id"`
	}](t, g.call(t, modern, token, "create_documents_by_pdf", arguments("content", pdf)))
	if started.RequestID == "" {
		t.Fatal("no request_id")
	}
	var status struct {
		Status    string            `json:"status"`
		Documents []json.RawMessage `json:"documents"`
	}
	eventually(t, 60*time.Second, func() string {
		status = structured[struct {
			Status    string            `json:"status"`
			Documents []json.RawMessage `json:"documents"`
		}](t, g.call(t, modern, token, "check_import_processing", map[string]any{"companyUuid": company, "requestId": started.RequestID}))
		switch status.Status {
		case "queued", "processing":
			time.Sleep(500 * time.Millisecond)
			return status.Status
		}
		return ""
	})
	if status.Status != "done" || len(status.Documents) == 0 {
		t.Errorf("%+v", status)
	}
	// Somebody else's import is not there for others.
	two := g.token(t, sellerTwo)
	r := g.call(t, modern, two, "check_import_processing", map[string]any{"companyUuid": g.companies(t, two)[0].UUID, "requestId": started.RequestID})
	if !r.IsError {
		t.Errorf("the other seller sees the import: %s", r.text())
	}
}
