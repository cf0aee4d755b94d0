package resource_test

import (
	"slices"
	"testing"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/resource"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	s, err := resource.New("https://mcp.example/mcp", "https://mcp.example", "https://mcp.example/sse", "https://mcp.example/sse/")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ asked, want []string }{
		"none means the first":     {nil, []string{"https://mcp.example/mcp"}},
		"as configured":            {[]string{"https://mcp.example/sse"}, []string{"https://mcp.example/sse"}},
		"two":                      {[]string{"https://mcp.example/sse", "https://mcp.example/mcp"}, []string{"https://mcp.example/sse", "https://mcp.example/mcp"}},
		"the same twice":           {[]string{"https://mcp.example", "https://mcp.example/"}, []string{"https://mcp.example"}},
		"host in upper case":       {[]string{"HTTPS://MCP.Example/mcp"}, []string{"https://mcp.example/mcp"}},
		"origin with a slash":      {[]string{"https://mcp.example/"}, []string{"https://mcp.example"}},
		"path with its slash":      {[]string{"https://mcp.example/sse/"}, []string{"https://mcp.example/sse/"}},
		"path with another slash":  {[]string{"https://mcp.example/mcp/"}, nil},
		"path in upper case":       {[]string{"https://mcp.example/MCP"}, nil},
		"query":                    {[]string{"https://mcp.example/mcp?x"}, nil},
		"fragment":                 {[]string{"https://mcp.example/mcp#"}, nil},
		"user name":                {[]string{"https://x@mcp.example/mcp"}, nil},
		"another port":             {[]string{"https://mcp.example:444/mcp"}, nil},
		"another scheme":           {[]string{"http://mcp.example/mcp"}, nil},
		"relative":                 {[]string{"/mcp"}, nil},
		"empty":                    {[]string{""}, nil},
		"one good, one unknown":    {[]string{"https://mcp.example/mcp", "https://x.example"}, nil},
		"more than anybody needs":  {slices.Repeat([]string{"https://mcp.example/mcp"}, 11), nil},
		"a host that is a prefix":  {[]string{"https://mcp.example.evil/mcp"}, nil},
		"escapes are not resolved": {[]string{"https://mcp.example/%6dcp"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := s.Resolve(c.asked)
			if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
	if _, err := resource.New(); err == nil {
		t.Error("a set without resources is accepted")
	}
}
