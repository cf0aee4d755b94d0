// Package explain says why a token is accepted or refused: it puts the server's
// own parts together, has them judge one token, and turns what they wrote down
// into something to read.
package explain

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/limit"
	"github.com/neonpanel/mcp-gateway/authz/internal/resource"
	"github.com/neonpanel/mcp-gateway/authz/internal/scopes"
	"github.com/neonpanel/mcp-gateway/authz/internal/serve"
	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

// Verdict is what the server would do with the token.
type Verdict string

const (
	Accepted Verdict = "accepted"
	Refused  Verdict = "refused"
	// Unknown: the server could not tell now, and would answer 503.
	Unknown Verdict = "unknown"
)

// Report is all that there is to say about one token.
type Report struct {
	Verdict Verdict `json:"verdict"`
	// Reason is the one that logs and metrics name.
	Reason string `json:"reason"`
	// Status and Challenge are the answer that the client gets; 0 means that the
	// request goes on.
	Status    int      `json:"status,omitempty"`
	Challenge string   `json:"challenge,omitempty"`
	Identity  *Bearer  `json:"identity,omitempty"`
	Checks    []Check  `json:"checks"`
	Proposal  Proposal `json:"proposal"`
	// Trouble is what the parts logged on the way.
	Trouble []string `json:"trouble,omitempty"`
}

// Bearer is who the token speaks for.
type Bearer struct {
	Subject  string    `json:"subject"`
	ClientID string    `json:"client_id,omitempty"`
	Scopes   []string  `json:"scopes"`
	Expires  time.Time `json:"expires"`
}

// Check is one check of the token.
type Check struct {
	Name   trail.Check  `json:"check"`
	Result trail.Result `json:"result"`
	Seen   string       `json:"seen,omitempty"`
	Note   string       `json:"note,omitempty"`
	// DecidedBy are the settings that the check goes by, as they are, or the rule
	// that no setting changes.
	DecidedBy string `json:"decided_by"`
	Reason    string `json:"reason,omitempty"`
	Fix       string `json:"fix,omitempty"`
}

// Failed lists the names of the failed checks.
func (r *Report) Failed() []trail.Check {
	var failed []trail.Check
	for _, c := range r.Checks {
		if c.Result == trail.Fail {
			failed = append(failed, c.Name)
		}
	}
	return failed
}

// Options are what an explanation needs.
type Options struct {
	Settings config.Settings
	// Transport, if set, reaches the issuer instead of the network.
	Transport http.RoundTripper
}

// Explain judges one token. The report shows neither its signature nor the
// whole of it. The error is one of the settings.
func Explain(ctx context.Context, o Options, raw string) (Report, error) {
	c, err := o.Settings.Validate()
	if err != nil {
		return Report{}, err
	}
	report, found, err := o.judge(ctx, c, raw)
	if err != nil {
		return Report{}, err
	}
	if report.Verdict == Refused {
		if report.Proposal, err = o.propose(ctx, c, &report, found, raw); err != nil {
			return Report{}, err
		}
	}
	report.mask(newSecrets(raw))
	return report, nil
}

// firstFetch is the longest wait for the issuer's documents.
const firstFetch = 10 * time.Second

// evidence is what proposals are made from, beside the report.
type evidence struct {
	who token.Identity
	// claims are those that were judged; nil if none could be read.
	claims strictjson.Object
}

// judge has the server's parts judge the token under some settings.
func (o Options) judge(ctx context.Context, c config.Config, raw string) (Report, evidence, error) {
	heard := newWitness()
	options := serve.VerifierOptions(c, heard, slog.New(heard))
	options.Transport = o.Transport
	verify, err := verifier.New(options)
	if err != nil {
		return Report{}, evidence{}, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- verify.Run(running) }()
	defer func() {
		stop()
		<-ended
	}()
	waiting, cancel := context.WithTimeout(ctx, firstFetch)
	heard.wait(waiting, verify, options.Mode)
	cancel()

	t := trail.New()
	who, refusal := verify.Explain(ctx, raw, t)
	// The rest is for the decider, which asks the verifier as Envoy's questions
	// make it ask; nobody is limited here.
	unlimited, err := limit.New(0, 1)
	if err != nil {
		return Report{}, evidence{}, err
	}
	decider, err := decision.New(serve.DeciderOptions(c, answered{who, refusal}, verify.Metadata().ScopesSupported, unlimited, unlimited))
	if err != nil {
		return Report{}, evidence{}, err
	}
	answer := decider.Decide(ctx, decision.Request{Path: resource.MCP.Path(), Authorization: []string{"Bearer " + raw}})
	report := Report{Reason: answer.Facts.Reason, Status: answer.Status, Trouble: heard.trouble()}
	for _, h := range answer.Headers {
		if strings.EqualFold(h.Name, "www-authenticate") {
			report.Challenge = h.Value
		}
	}
	switch {
	case answer.Allowed():
		report.Verdict = Accepted
		report.Identity = &Bearer{Subject: who.Subject, ClientID: who.ClientID, Scopes: who.Scopes, Expires: who.Expires}
	case answer.Status == http.StatusServiceUnavailable:
		report.Verdict = Unknown
	default:
		report.Verdict = Refused
	}
	if refusal == nil && !answer.Allowed() && answer.Facts.Reason != decision.ReasonInsufficientScope {
		// What the decider refuses by itself.
		at := trail.Subject
		if answer.Facts.Reason == token.Expired {
			at = trail.Expiry
		}
		_ = t.Fail(at, answer.Facts.Reason, answer.Cause)
	}
	report.Checks = describe(c, verify.Metadata(), t.Steps(), who, newSecrets(raw))
	return report, evidence{who, t.Judged()}, nil
}

// answered is a verifier that has been asked already.
type answered struct {
	who token.Identity
	err error
}

func (a answered) Verify(context.Context, string) (token.Identity, error) {
	if a.err != nil {
		return token.Identity{}, a.err
	}
	return a.who, nil
}

// describe adds to each step what decided it and what to do about it.
func describe(c config.Config, issuer verifier.Metadata, steps []trail.Step, who token.Identity, hidden *secrets) []Check {
	unread := slices.ContainsFunc(steps, func(s trail.Step) bool {
		return s.Check == trail.Scopes && s.Result != trail.Pass
	})
	checks := make([]Check, 0, len(steps))
	for _, s := range steps {
		check := Check{
			Name: s.Check, Result: s.Result, Seen: printable(hidden.value(s.Seen)), Note: s.Note, Reason: s.Reason,
			DecidedBy: foreign(decidedBy(c, issuer, s.Check)),
		}
		// Why a check was skipped is said in words of ours alone.
		if s.Result != trail.Skipped {
			check.Note = printable(hidden.sentence(s.Note))
		}
		switch {
		case s.Check == trail.Scopes && s.Result == trail.Pass && len(who.Scopes) > 0:
			// Whether a call needs one of them is for mcpbackend to say.
			if missing := who.Missing(inForce(c, issuer)...); len(missing) > 0 {
				check.Note = printable("of those in force not granted: " + scopes.Join(missing))
			}
		case s.Check == trail.RequiredScopes:
			check.required(c, unread, who, hidden)
		}
		if check.Result == trail.Fail {
			check.Fix = Fix(check.Reason)
		}
		checks = append(checks, check)
	}
	return checks
}

// required says whether scopes are missing that every request needs.
func (check *Check) required(c config.Config, unread bool, who token.Identity, hidden *secrets) {
	missing := who.Missing(c.RequiredScopes...)
	switch {
	case len(c.RequiredScopes) == 0:
		check.Result, check.Note = trail.Skipped, "none are required"
	case c.ScopeMode == scopes.Off:
		check.Result, check.Note = trail.Skipped, "AUTHZ_SCOPE_MODE is off"
	case unread:
		check.Result, check.Note = trail.Skipped, "the scopes could not be read"
	case len(missing) == 0:
		check.Result, check.Note = trail.Pass, ""
	case c.ScopeMode == scopes.Report:
		check.Result, check.Note = trail.Pass, "missing, only reported: "+scopes.Join(missing)
	default:
		check.Result, check.Note, check.Reason = trail.Fail, "missing: "+scopes.Join(missing), decision.ReasonInsufficientScope
	}
	check.Seen = printable(hidden.value(scopes.Join(who.Scopes)))
}

// longest bounds what is shown of one value.
const longest = 400

// printable keeps a value from controlling a terminal or filling it.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() > longest {
			return b.String() + "…"
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			fmt.Fprintf(&b, "\\u%04x", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
