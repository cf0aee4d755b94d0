package documents

import (
	"bytes"
	_ "embed"
	"encoding/base64"
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

//go:embed page.svg
var pageIcon []byte

type set struct {
	Name  string
	Tools []catalogue.Tool
}

// snippet is text to copy, and what it is.
type snippet struct{ Text, What string }

// question is one that somebody may ask whose assistant has the tool.
type question struct{ tool, text string }

var questions = []question{
	{"company_overview", "How is my company doing today?"},
	{"inventory_health", "Which items run out before a new order could arrive?"},
	{"profit_summary", "What was my margin last month in each market, against the month before?"},
	{"payment_requests_list", "Which payments are due this week?"},
	{"create_documents_by_pdf", "Put this supplier's invoice into my books."},
	{"list_inventory_landed_costs", "What does this item really cost me, with freight and duty?"},
}

// page returns the page for people and the policy that lets it use its own
// style, script and icon and nothing else.
func page(o Options, tools []catalogue.Tool) (html []byte, policy string, err error) {
	t, err := template.New("page").Funcs(template.FuncMap{
		"sentence": sentence, "heading": heading,
		"snippet": func(text, what string) snippet { return snippet{text, what} },
	}).Parse(pageHTML)
	if err != nil {
		return nil, "", err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"About": about, "MCP": o.PublicURL + "/mcp", "SSE": o.PublicURL + "/sse", "Origin": o.PublicURL,
		"Build": o.Build, "Sets": bySet(tools), "Total": len(tools), "Writing": writing(tools), "Questions": asked(tools),
		"CSS": template.CSS(pageCSS), "JS": template.JS(pageJS),
		"Icon": template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(pageIcon)),
	})
	if err != nil {
		return nil, "", err
	}
	policy = "default-src 'none'; style-src " + hashSource(pageCSS) + "; script-src " + hashSource(pageJS) +
		"; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return b.Bytes(), policy, nil
}

// writing counts the tools that change something.
func writing(tools []catalogue.Tool) (n int) {
	for _, t := range tools {
		if !t.ReadOnly {
			n++
		}
	}
	return n
}

// asked are the questions that these tools can answer.
func asked(tools []catalogue.Tool) (texts []string) {
	there := make(map[string]bool, len(tools))
	for _, t := range tools {
		there[t.Name] = true
	}
	for _, q := range questions {
		if there[q.tool] {
			texts = append(texts, q.text)
		}
	}
	return texts
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
