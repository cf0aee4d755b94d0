package envoy_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/envoy/internal/command"
)

// The example for readers is what render writes, by the very flags of the go:generate line.
func TestExampleIsFresh(t *testing.T) {
	source, err := os.ReadFile("generate.go")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^//go:generate go run ./cmd/envoyconf render (.*) --output bootstrap.yaml$`).FindSubmatch(source)
	if line == nil {
		t.Fatal("generate.go has no go:generate line that renders bootstrap.yaml")
	}
	var render command.Render
	parser, err := kong.New(&render)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range os.Environ() {
		if name, value, _ := strings.Cut(name, "="); strings.HasPrefix(name, "EDGE_") || name == "PUBLIC_URL" {
			os.Unsetenv(name)
			t.Cleanup(func() { os.Setenv(name, value) })
		}
	}
	if _, err := parser.Parse(strings.Fields(string(line[1]))); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := render.Run(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("bootstrap.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("bootstrap.yaml is stale; refresh it with: (cd envoy && GOWORK=off go generate .)")
	}
}
