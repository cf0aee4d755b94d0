package explain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
)

// JSON writes the report for programs.
func (r *Report) JSON() []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	// A Report holds nothing that has no JSON.
	_ = encoder.Encode(r)
	return b.Bytes()
}

// Text writes the report for people.
func (r *Report) Text() []byte {
	var b bytes.Buffer
	for _, c := range r.Checks {
		c.text(&b)
	}
	for _, line := range r.Trouble {
		fmt.Fprintf(&b, "trouble  %s\n", line)
	}
	r.verdict(&b)
	r.Proposal.text(&b)
	return b.Bytes()
}

func (c *Check) text(b *bytes.Buffer) {
	line := fmt.Sprintf("%-7s  %-15s  %s", c.Result, c.Name, strings.Join(present(c.Seen, parenthesised(c.Note)), " "))
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	if c.Result == trail.Skipped {
		return
	}
	fmt.Fprintf(b, "%26srule: %s\n", "", c.DecidedBy)
	if c.Result == trail.Fail {
		fmt.Fprintf(b, "%26sreason: %s\n%26sfix: %s\n", "", c.Reason, "", c.Fix)
	}
}

func (r *Report) verdict(b *bytes.Buffer) {
	switch r.Verdict {
	case Accepted:
		fmt.Fprintf(b, "\nACCEPTED (%s): subject %s, client %s, scopes %s, until %s\n", r.Reason, printable(r.Identity.Subject),
			or(printable(r.Identity.ClientID), "(unknown)"), or(strings.Join(r.Identity.Scopes, " "), "(none)"), r.Identity.Expires.UTC().Format(time.RFC3339))
	case Unknown:
		fmt.Fprintf(b, "\nCANNOT TELL NOW (%s): the client gets %d\n", r.Reason, r.Status)
	default:
		fmt.Fprintf(b, "\nREFUSED (%s): the client gets %d", r.Reason, r.Status)
		if r.Challenge != "" {
			fmt.Fprintf(b, " and WWW-Authenticate: %s", r.Challenge)
		}
		b.WriteString("\n")
	}
}

func (p *Proposal) text(b *bytes.Buffer) {
	if len(p.Changes) > 0 {
		switch p.Outcome {
		case Accepted:
			b.WriteString("\nThese settings would accept it (tried):\n")
		default:
			b.WriteString("\nThese settings would answer some of the faults (tried):\n")
		}
		for _, c := range p.Changes {
			c.text(b)
		}
		if len(p.Remaining) > 0 {
			names := make([]string, 0, len(p.Remaining))
			for _, check := range p.Remaining {
				names = append(names, string(check))
			}
			fmt.Fprintf(b, "  What would remain: %s\n", strings.Join(names, ", "))
		}
	}
	if len(p.Others) > 0 {
		b.WriteString("\nOther settings (not tried):\n")
		for _, c := range p.Others {
			c.text(b)
		}
	}
	if len(p.Notes) > 0 {
		b.WriteString("\n")
		for _, note := range p.Notes {
			b.WriteString(note + "\n")
		}
	}
}

func (c *Change) text(b *bytes.Buffer) {
	value := c.Value
	if !c.words {
		value = quoted(value)
	}
	fmt.Fprintf(b, "  %s=%s\n      for %s. Gives up: %s\n", c.Setting, value, c.Because, c.GivesUp)
}

// quoted is a value as a POSIX shell takes it for itself: it may come from a token,
// and is copied into a command line.
func quoted(value string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_@%+=:,./-", r)
	}
	if !strings.ContainsFunc(value, func(r rune) bool { return !plain(r) }) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

func parenthesised(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

func present(list ...string) []string {
	var out []string
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}
