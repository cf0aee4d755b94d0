package documents

import (
	"bytes"
	_ "embed"
	"html/template"
	"strings"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

type set struct {
	Name  string
	Tools []catalogue.Tool
}

// page returns the page for people and the policy that lets it use its own
// style and script and nothing else.
func page(o Options, tools []catalogue.Tool) (html []byte, policy string, err error) {
	t, err := template.New("page").Funcs(template.FuncMap{"sentence": sentence, "heading": heading}).Parse(pageHTML)
	if err != nil {
		return nil, "", err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"About": about, "MCP": o.PublicURL + "/mcp", "SSE": o.PublicURL + "/sse", "Origin": o.PublicURL,
		"Build": o.Build, "Sets": bySet(tools), "Total": len(tools),
		"CSS": template.CSS(pageCSS), "JS": template.JS(pageJS),
	})
	if err != nil {
		return nil, "", err
	}
	policy = "default-src 'none'; style-src " + hashSource(pageCSS) + "; script-src " + hashSource(pageJS) +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return b.Bytes(), policy, nil
}

// sentence returns the first sentence of a description.
func sentence(s string) string {
	if i := strings.Index(s, ". "); i >= 0 {
		return s[:i+1]
	}
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return s[:i]
	}
	return s
}

// heading turns the name of a toolset into a title.
func heading(s string) string {
	s = strings.NewReplacer("_", " ", "-", " ").Replace(s)
	if s == "" {
		return "Other"
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
