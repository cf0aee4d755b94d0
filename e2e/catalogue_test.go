package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// Adding an operation to the document adds a tool: no Go changes.
func TestAddedOperationIsATool(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile(filepath.Join(root(t), "mcpbackend", "internal", "openapi", "neonpanel.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(document), "\npaths:\n", `
paths:
  /api/v1/import/bill/instructions:
    get:
      operationId: billInstructions.read
      tags: [import]
      summary: How to write a bill
      responses:
        '200': {description: Instructions, content: {application/json: {schema: {type: object}}}}
`, 1)
	if changed == string(document) {
		t.Fatal("the document has no paths")
	}
	file := filepath.Join(t.TempDir(), "openapi.yaml")
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Backend: {"MCPBACKEND_OPENAPI_FILE=" + file}}})
	token := g.token(t, sellerOne)
	const added = "bill_instructions_read"
	if slices.Contains(names(sharedGateway(t).tools(t, modern, sharedGateway(t).token(t, sellerOne))), added) {
		t.Fatal("the operation was there before: this test proves nothing")
	}
	if !slices.Contains(names(g.tools(t, legacy, token)), added) {
		t.Errorf("no tool %s", added)
	}
	truth := g.api(t, token, "/api/v1/import/bill/instructions")
	r := g.call(t, modern, token, added, nil)
	var got, want any
	if r.IsError || json.Unmarshal(r.Structured, &got) != nil || json.Unmarshal(truth, &want) != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("isError %v: %s, the API says %s", r.IsError, r.text(), truth)
	}
	for _, path := range []string{"/openapi.json", "/openapi.yaml", "/mcp/capabilities"} {
		if doc := g.send(t, http.MethodGet, path, ""); !strings.Contains(doc.Body, "bill") || !strings.Contains(doc.Body, "How to write a bill") {
			t.Errorf("%s does not show it", path)
		}
	}
}
