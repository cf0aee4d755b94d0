package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Result is how a check ended.
type Result string

// A warning is what works today and is likely to break something; a check is
// skipped when it cannot be made, and then says why.
const (
	OK   Result = "ok"
	Warn Result = "warn"
	Fail Result = "fail"
	Skip Result = "skip"
)

// Finding is what one check found.
type Finding struct {
	Check  string `json:"check"`
	Result Result `json:"result"`
	// Seen is what was there, Fix what to do about it.
	Seen string `json:"seen"`
	Fix  string `json:"fix,omitempty"`
}

// Report is a whole examination.
type Report struct {
	URL    string         `json:"url"`
	Issuer string         `json:"issuer,omitempty"`
	Counts map[Result]int `json:"counts"`
	Checks []Finding      `json:"checks"`
}

// Failed is how many checks failed.
func (r *Report) Failed() int { return r.Counts[Fail] }

// checkWidth is that of the longest name of a check.
const checkWidth = 22

// line is a finding on one line of text.
func (f Finding) line() string {
	result := string(f.Result)
	if f.Result == Fail {
		// What has to be found among forty lines.
		result = "FAIL"
	}
	text := fmt.Sprintf("%-4s  %-*s  %s", result, checkWidth, f.Check, f.Seen)
	if f.Fix != "" {
		text += "; fix: " + f.Fix
	}
	return text
}

// summary is the last line of the text.
func (r *Report) summary() string {
	return fmt.Sprintf("%d ok, %d warn, %d failed, %d skipped", r.Counts[OK], r.Counts[Warn], r.Counts[Fail], r.Counts[Skip])
}

// writeJSON writes the report as one JSON document.
func (r *Report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// maxSeen bounds a line: most of it is what another server sent.
const maxSeen = 400

// printable makes text of other servers safe for one line of a terminal, and
// hides the token should a server have sent it back.
func printable(text, token string) string {
	if token != "" {
		text = strings.ReplaceAll(text, token, "(the token)")
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > maxSeen {
		text = string(runes[:maxSeen]) + "…"
	}
	return text
}

// problems are what is wrong in several places. Places with the same trouble
// are named together.
type problems struct {
	what  []string
	where map[string][]string
}

func (p *problems) add(where, what string) {
	if p.where == nil {
		p.where = map[string][]string{}
	}
	if p.where[what] == nil {
		p.what = append(p.what, what)
	}
	p.where[what] = append(p.where[what], where)
}

func (p *problems) any() bool { return p.what != nil }

func (p *problems) String() string {
	texts := make([]string, 0, len(p.what))
	for _, what := range p.what {
		texts = append(texts, strings.Join(p.where[what], ", ")+": "+what)
	}
	return strings.Join(texts, "; ")
}
