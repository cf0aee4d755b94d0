package envoy_test

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/envoy/internal/command"
)

// What is written out for readers is what the commands write, by the very flags of the go:generate lines.
func TestExamplesAreFresh(t *testing.T) {
	source, err := os.ReadFile("generate.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range os.Environ() {
		if name, value, _ := strings.Cut(name, "="); strings.HasPrefix(name, "EDGE_") || name == "PUBLIC_URL" {
			os.Unsetenv(name)
			t.Cleanup(func() { os.Setenv(name, value) })
		}
	}
	for verb, command := range map[string]interface{ Run(io.Writer) error }{"render": &command.Render{}, "ratelimit": &command.RateLimit{}} {
		line := regexp.MustCompile(`(?m)^//go:generate go run ./cmd/envoyconf ` + verb + ` (.*) --output (.*)$`).FindSubmatch(source)
		if line == nil {
			t.Fatal("generate.go has no go:generate line for " + verb)
		}
		parser, err := kong.New(command)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(strings.Fields(string(line[1]))); err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		if err := command.Run(&want); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(string(line[2]))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s is stale; refresh it with: (cd envoy && GOWORK=off go generate .)", line[2])
		}
	}
}
