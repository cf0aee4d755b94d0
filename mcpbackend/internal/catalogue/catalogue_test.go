package catalogue

import (
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
)

func TestEmbeddedDocumentLoads(t *testing.T) {
	t.Parallel()
	c, err := Load(openapi.Document(), openapi.Overlay(), Options{APIURL: "https://api.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) != 0 {
		t.Errorf("warnings: %v", w)
	}
	for _, tool := range c.Tools() {
		t.Logf("%s %s", tool.Name, tool.InputSchema)
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := Load(openapi.Document(), openapi.Overlay(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
