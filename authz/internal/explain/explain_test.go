package explain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/explain"
	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	public   = "https://mcp.example.com"
	audience = public + "/mcp"
	passport = "9d2f1c7e-0000-4000-8000-000000000001"
)

var signer = issuertest.NewSigner("RS256", "one", 1)

func newIssuer(t testing.TB) *issuertest.Server {
	server := issuertest.Start(t)
	server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
	return server
}

func settings(server *issuertest.Server) config.Settings {
	return config.Settings{PublicURL: public, NeonpanelIssuer: server.Issuer}
}

// claims are those of a good token, with changes; a nil value removes.
func claims(issuer string, changes map[string]any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": issuer, "sub": "46", "aud": audience, "client_id": "client-1", "jti": "token-1",
		"scope": "read:inventory read:analytics", "iat": now, "exp": now + 3600,
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// specimen has the shape of the tokens of Laravel Passport: fractional dates, no
// iss, the client in aud, scopes an empty array.
func specimen(expires float64) string {
	return signer.SignText(`{"typ":"JWT","alg":"RS256"}`, issuertest.Encode(map[string]any{
		"aud": passport, "jti": strings.Repeat("5e", 40), "iat": 1710929557.944255, "nbf": 1710929557.944257,
		"exp": expires, "sub": "46", "scopes": []string{},
	}))
}

func run(t testing.TB, s config.Settings, raw string) explain.Report {
	t.Helper()
	report, err := explain.Explain(context.Background(), explain.Options{Settings: s}, raw)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestExplanations(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
		about := map[string]map[string]any{
			"good-opaque-token":    claims(server.Issuer, nil),
			"opaque-for-client":    claims(server.Issuer, map[string]any{"aud": "client-1"}),
			"opaque-for-elsewhere": claims(server.Issuer, map[string]any{"aud": "https://api.example.com"}),
			"opaque-of-another":    claims(server.Issuer, map[string]any{"iss": "https://other.example"}),
			"opaque-without-iss":   claims(server.Issuer, map[string]any{"iss": nil}),
		}[r.PostFormValue("token")]
		answer := map[string]any{"active": about != nil}
		maps.Copy(answer, about)
		maps.DeleteFunc(answer, func(_ string, v any) bool { return v == nil })
		issuertest.JSON(issuertest.Encode(answer))(w, r)
	})
	sign := func(changes map[string]any) string { return signer.Sign(claims(server.Issuer, changes)) }
	es := issuertest.NewSigner("ES256", "two", 1)
	server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer, es)))
	introspecting := func(s *config.Settings) { s.IntrospectionClientID, s.IntrospectionClientSecret = "gateway", "secret" }
	deny := filepath.Join(t.TempDir(), "deny.yaml")
	if err := os.WriteFile(deny, []byte(`subjects: ["46"]`), 0o600); err != nil {
		t.Fatal(err)
	}
	expired := float64(1726827157.939847)
	alive := float64(time.Now().Add(time.Hour).UnixMicro()) / 1e6

	for name, c := range map[string]struct {
		raw     string
		late    func() string // gives raw, where time matters
		set     func(*config.Settings)
		verdict explain.Verdict
		reason  string
		failed  []trail.Check
		// changes are the settings that are proposed, and remaining the checks
		// that fail even so; others are those that are not tried.
		changes, others []string
		remaining       []trail.Check
	}{
		"good": {raw: sign(nil), verdict: explain.Accepted, reason: decision.ReasonOK},
		"the Passport specimen, expired": {
			raw: specimen(expired), verdict: explain.Refused, reason: token.IssuerMissing,
			failed:    []trail.Check{trail.Issuer, trail.Expiry, trail.Audience},
			changes:   []string{"AUTHZ_ALLOW_MISSING_ISSUER=true", "AUTHZ_CLIENT_IDS=" + passport},
			remaining: []trail.Check{trail.Expiry},
			others:    []string{"AUTHZ_AUDIENCES=" + public + "," + audience + "," + public + "/sse," + public + "/sse/,any", "AUTHZ_AUDIENCE_MODE=report"},
		},
		"a Passport token": {
			raw: specimen(alive), verdict: explain.Refused, reason: token.IssuerMissing,
			failed:  []trail.Check{trail.Issuer, trail.Audience},
			changes: []string{"AUTHZ_ALLOW_MISSING_ISSUER=true", "AUTHZ_CLIENT_IDS=" + passport},
			others:  []string{"AUTHZ_AUDIENCES=" + public + "," + audience + "," + public + "/sse," + public + "/sse/,any", "AUTHZ_AUDIENCE_MODE=report"},
		},
		"a Passport token beside a client that is listed": {
			raw: specimen(alive), set: func(s *config.Settings) { s.AllowMissingIssuer, s.ClientIDs, s.Audiences = "true", "other", audience },
			verdict: explain.Refused, reason: token.AudienceMismatch, failed: []trail.Check{trail.Audience},
			changes: []string{"AUTHZ_CLIENT_IDS=other," + passport},
			others:  []string{"AUTHZ_AUDIENCES=" + audience + ",any", "AUTHZ_AUDIENCE_MODE=report"},
		},
		"a client in aud, and no scope claim": {
			raw: sign(map[string]any{"aud": "client-1", "scope": nil}), set: func(s *config.Settings) { s.Audiences = audience },
			verdict: explain.Refused, reason: token.AudienceMismatch, failed: []trail.Check{trail.Audience},
			changes: []string{"AUTHZ_AUDIENCES=" + audience + ",client-1"}, others: []string{"AUTHZ_AUDIENCE_MODE=report"},
		},
		"a listed client, and no scope claim": {
			raw: sign(map[string]any{"aud": "client-1", "scope": nil}), set: func(s *config.Settings) { s.Audiences, s.ClientIDs = audience, "client-1" },
			verdict: explain.Refused, reason: token.ScopeClaimMissing, failed: []trail.Check{trail.Audience},
			changes: []string{"AUTHZ_AUDIENCES=" + audience + ",client-1"}, others: []string{"AUTHZ_AUDIENCE_MODE=report"},
		},
		"another's URL in aud": {
			raw: sign(map[string]any{"aud": "mcp://neonpanel"}), set: func(s *config.Settings) { s.Audiences = audience },
			verdict: explain.Refused, reason: token.AudienceMismatch, failed: []trail.Check{trail.Audience},
			changes: []string{"AUTHZ_AUDIENCES=" + audience + ",mcp://neonpanel"}, others: []string{"AUTHZ_AUDIENCE_MODE=report"},
		},
		"no aud": {
			raw: sign(map[string]any{"aud": nil}), set: func(s *config.Settings) { s.Audiences = audience },
			verdict: explain.Refused, reason: token.AudienceMissing, failed: []trail.Check{trail.Audience},
			changes: []string{"AUTHZ_AUDIENCES=" + audience + ",any"}, others: []string{"AUTHZ_AUDIENCE_MODE=report"},
		},
		"no aud and no scope claim": {
			raw:     sign(map[string]any{"aud": nil, "scope": nil}),
			verdict: explain.Refused, reason: token.AudienceMissing, failed: []trail.Check{trail.Audience},
			changes: []string{"AUTHZ_AUDIENCE_MODE=report"},
		},
		"an aud that fits into no setting": {
			raw:     sign(map[string]any{"aud": "a,b"}),
			verdict: explain.Refused, reason: token.AudienceMismatch, failed: []trail.Check{trail.Audience},
			others: []string{"AUTHZ_AUDIENCE_MODE=report"},
		},
		"another issuer": {
			raw:     sign(map[string]any{"iss": "https://evil.example"}),
			verdict: explain.Refused, reason: token.IssuerMismatch, failed: []trail.Check{trail.Issuer},
			others: []string{"NEONPANEL_ISSUER=https://evil.example"},
		},
		"an algorithm that could be listed": {
			raw: es.Sign(claims(server.Issuer, nil)), verdict: explain.Refused, reason: token.AlgorithmRefused,
			failed: []trail.Check{trail.Algorithm}, changes: []string{"AUTHZ_ALGORITHMS=RS256,ES256"},
		},
		"an algorithm that can never be listed": {
			raw:     issuertest.Base64(`{"alg":"none"}`) + "." + issuertest.Base64(issuertest.Encode(claims(server.Issuer, nil))) + ".",
			verdict: explain.Refused, reason: token.AlgorithmRefused, failed: []trail.Check{trail.Algorithm},
		},
		"not valid yet": {
			// Signed when it is looked at, since the proposal is rounded up to minutes.
			late:    func() string { return sign(map[string]any{"nbf": time.Now().Add(119 * time.Second).Unix()}) },
			verdict: explain.Refused, reason: token.NotYetValid, failed: []trail.Check{trail.NotBefore}, changes: []string{"AUTHZ_LEEWAY=2m0s"},
		},
		"not valid for long": {
			raw:     sign(map[string]any{"nbf": time.Now().Add(30 * time.Minute).Unix()}),
			verdict: explain.Refused, reason: token.NotYetValid, failed: []trail.Check{trail.NotBefore},
		},
		"a required scope missing": {
			raw: sign(nil), set: func(s *config.Settings) { s.RequiredScopes = "read:inventory,write:import" },
			verdict: explain.Refused, reason: decision.ReasonInsufficientScope, failed: []trail.Check{trail.RequiredScopes},
			changes: []string{"AUTHZ_REQUIRED_SCOPES=read:inventory"}, others: []string{"AUTHZ_SCOPE_MODE=report"},
		},
		"a required scope missing, reported": {
			raw: sign(nil), set: func(s *config.Settings) { s.RequiredScopes, s.ScopeMode = "write:import", "report" },
			verdict: explain.Accepted, reason: decision.ReasonScopeReported,
		},
		"expired, and a required scope missing": {
			raw: sign(map[string]any{"exp": 1}), set: func(s *config.Settings) { s.RequiredScopes = "write:import" },
			verdict: explain.Refused, reason: token.Expired, failed: []trail.Check{trail.Expiry, trail.RequiredScopes},
			changes: []string{"AUTHZ_REQUIRED_SCOPES="}, others: []string{"AUTHZ_SCOPE_MODE=report"}, remaining: []trail.Check{trail.Expiry},
		},
		"a subject that fits into no header": {
			raw: sign(map[string]any{"sub": "é"}), verdict: explain.Refused, reason: token.ClaimInvalid, failed: []trail.Check{trail.Subject},
		},
		"denied": {
			raw: sign(nil), set: func(s *config.Settings) { s.DenyFile = deny },
			verdict: explain.Refused, reason: token.Denied, failed: []trail.Check{trail.DenyList},
		},
		"an unknown kid": {
			raw:     issuertest.NewSigner("RS256", "elsewhere", 2).Sign(claims(server.Issuer, map[string]any{"iat": 1})),
			verdict: explain.Refused, reason: token.KeyUnknown, failed: []trail.Check{trail.KeyID},
			others: []string{"AUTHZ_JWKS_URL=(where the issuer has the key of this kid)"},
		},
		"a forged signature": {
			raw:     issuertest.NewSigner("RS256", "one", 2).Sign(claims(server.Issuer, nil)),
			verdict: explain.Refused, reason: token.SignatureInvalid, failed: []trail.Check{trail.Signature},
		},
		"an ID token": {
			raw: sign(map[string]any{"nonce": "n"}), verdict: explain.Refused, reason: token.IDToken, failed: []trail.Check{trail.IDToken},
		},
		"bound to a key": {
			raw: sign(map[string]any{"cnf": map[string]any{"jkt": "x"}}), verdict: explain.Refused, reason: token.SenderBound, failed: []trail.Check{trail.Confirmation},
		},
		"pasted with its scheme": {
			raw: "Bearer " + sign(nil), verdict: explain.Refused, reason: token.CharactersRefused, failed: []trail.Check{trail.Form},
		},
		"too long": {
			raw: sign(map[string]any{"x": strings.Repeat("x", 9000)}), verdict: explain.Refused, reason: token.Oversize, failed: []trail.Check{trail.Size},
		},
		"opaque, without introspection": {
			raw: "good-opaque-token", verdict: explain.Refused, reason: token.Opaque, failed: []trail.Check{trail.Form},
			others: []string{"AUTHZ_INTROSPECTION_CLIENT_ID=(a client that may introspect), with AUTHZ_INTROSPECTION_CLIENT_SECRET_FILE or AUTHZ_INTROSPECTION_KEY_FILE"},
		},
		"opaque and good": {raw: "good-opaque-token", set: introspecting, verdict: explain.Accepted, reason: decision.ReasonOK},
		"opaque, for a client": {
			raw: "opaque-for-client", set: func(s *config.Settings) { introspecting(s); s.Audiences = audience },
			verdict: explain.Refused, reason: token.AudienceMismatch, failed: []trail.Check{trail.Audience},
			changes: []string{"AUTHZ_CLIENT_IDS=client-1"}, others: []string{"AUTHZ_AUDIENCES=" + audience + ",any", "AUTHZ_AUDIENCE_MODE=report"},
		},
		"opaque, for another resource": {
			raw: "opaque-for-elsewhere", set: func(s *config.Settings) { introspecting(s); s.Audiences = audience },
			verdict: explain.Refused, reason: token.AudienceMismatch, failed: []trail.Check{trail.Audience},
			changes: []string{"AUTHZ_AUDIENCES=" + audience + ",https://api.example.com"}, others: []string{"AUTHZ_AUDIENCE_MODE=report"},
		},
		"opaque, of another issuer": {
			raw: "opaque-of-another", set: introspecting,
			verdict: explain.Refused, reason: token.IssuerMismatch, failed: []trail.Check{trail.Issuer}, others: []string{"NEONPANEL_ISSUER=https://other.example"},
		},
		"opaque, without iss in the answer": {
			raw: "opaque-without-iss", set: introspecting,
			verdict: explain.Refused, reason: token.IssuerMissing, failed: []trail.Check{trail.Issuer}, changes: []string{"AUTHZ_ALLOW_MISSING_ISSUER=true"},
		},
		"opaque, without iss where that is allowed": {
			raw: "opaque-without-iss", set: func(s *config.Settings) { introspecting(s); s.AllowMissingIssuer = "true" },
			verdict: explain.Accepted, reason: decision.ReasonOK,
		},
		"opaque and revoked": {
			raw: "revoked-opaque-token", set: introspecting, verdict: explain.Refused, reason: token.Inactive, failed: []trail.Check{trail.Introspection},
		},
		"opaque where only JWTs are accepted": {
			raw: "good-opaque-token", set: func(s *config.Settings) { introspecting(s); s.TokenMode = "jwt" },
			verdict: explain.Refused, reason: token.Opaque, failed: []trail.Check{trail.Form}, changes: []string{"AUTHZ_TOKEN_MODE=auto"},
		},
		"a JWT that the issuer calls inactive": {
			raw: sign(nil), set: func(s *config.Settings) { introspecting(s); s.IntrospectJWT = "true" },
			verdict: explain.Refused, reason: token.Inactive, failed: []trail.Check{trail.Introspection}, changes: []string{"AUTHZ_INTROSPECT_JWT=false"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.late != nil {
				c.raw = c.late()
			}
			s := settings(server)
			if c.set != nil {
				c.set(&s)
			}
			report := run(t, s, c.raw)
			if report.Verdict != c.verdict || report.Reason != c.reason || !slices.Equal(report.Failed(), c.failed) {
				t.Errorf("%s, %s, failed %q; want %s, %s, %q", report.Verdict, report.Reason, report.Failed(), c.verdict, c.reason, c.failed)
			}
			p := report.Proposal
			if got := written(p.Changes); !slices.Equal(got, c.changes) {
				t.Errorf("proposes %q, want %q", got, c.changes)
			}
			if got := written(p.Others); !slices.Equal(got, c.others) {
				t.Errorf("names %q as other settings, want %q", got, c.others)
			}
			if len(p.Changes) > 0 && (p.Outcome == explain.Accepted) != (len(c.remaining) == 0) || !slices.Equal(p.Remaining, c.remaining) {
				t.Errorf("under what is proposed: %s, remaining %q; want remaining %q", p.Outcome, p.Remaining, c.remaining)
			}
			for _, check := range report.Checks {
				if check.DecidedBy == "" || check.Result == trail.Fail && (check.Fix == "" || check.Reason == "") {
					t.Errorf("incomplete: %+v", check)
				}
			}
			for _, output := range []string{string(report.Text()), string(report.JSON())} {
				if signature := c.raw[strings.LastIndexByte(c.raw, '.')+1:]; len(signature) > 7 && strings.Contains(output, signature) || strings.Contains(output, c.raw) {
					t.Error("the output holds the signature or the token:", output)
				}
			}
		})
	}
	if n := server.Calls("/evil.example"); n != 0 {
		t.Error("a token chose what was fetched")
	}
}

// Whatever stands in aud, every check is shown, and nothing is proposed that could
// not be set.
func TestAnAudienceThatFitsNoSetting(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	for _, aud := range []string{"https://a.example/x#y", "https://a/%zz", "http:", "https://[bad", "https://a.example/x,y", "any", "://", "a\nb"} {
		t.Run(aud, func(t *testing.T) {
			t.Parallel()
			report := run(t, settings(server), signer.Sign(claims(server.Issuer, map[string]any{"aud": aud})))
			if report.Verdict != explain.Refused || report.Reason != token.AudienceMismatch || len(report.Checks) < 15 {
				t.Errorf("%s, %s, %d checks", report.Verdict, report.Reason, len(report.Checks))
			}
			if p := report.Proposal; len(p.Changes) != 0 || !strings.Contains(strings.Join(p.Notes, ""), "This aud cannot be an element of AUTHZ_AUDIENCES") {
				t.Errorf("%+v", p)
			}
			if text := string(report.Text()); !strings.Contains(text, "This aud cannot") {
				t.Error(text)
			}
			// Beside one that can be set, that one is proposed.
			report = run(t, settings(server), signer.Sign(claims(server.Issuer, map[string]any{"aud": []string{aud, "https://api.example.com"}})))
			if p := report.Proposal; len(p.Changes) != 1 || !strings.HasSuffix(p.Changes[0].Value, ",https://api.example.com") || p.Outcome != explain.Accepted || len(p.Notes) != 1 {
				t.Errorf("%+v", p)
			}
		})
	}
}

// What is proposed is copied into shells.
func TestProposalsAreQuotedForAShell(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	out := filepath.Join(t.TempDir(), "out")
	for _, aud := range []string{"https://api.example.com/$(touch " + out + ")", "https://api.example.com/`touch " + out + "`", "https://api.example.com/';touch " + out + ";'", "it's a; client & $HOME"} {
		report := run(t, settings(server), signer.Sign(claims(server.Issuer, map[string]any{"aud": aud})))
		if len(report.Proposal.Changes) != 1 {
			t.Fatalf("%+v", report.Proposal)
		}
		change := report.Proposal.Changes[0]
		_, rest, _ := strings.Cut(string(report.Text()), "\n  "+change.Setting+"=")
		line, _, _ := strings.Cut(rest, "\n")
		said, err := exec.Command("sh", "-c", "printf %s "+line).Output()
		if err != nil || string(said) != change.Value {
			t.Errorf("a shell reads %s as %q, %v; want %q", line, said, err, change.Value)
		}
		if _, err := os.Stat(out); err == nil {
			t.Fatal("a shell ran what the token says")
		}
	}
}

// Anybody can write such a token.
func TestNothingIsProposedForAForgedToken(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	changes := map[string]any{"aud": "https://evil.example", "iss": "https://evil.example"}
	payload := issuertest.Encode(claims(server.Issuer, changes))
	for name, raw := range map[string]string{
		"no signature":    issuertest.Base64(`{"alg":"none"}`) + "." + issuertest.Base64(payload) + ".",
		"a public secret": issuertest.Base64(`{"alg":"HS256"}`) + "." + issuertest.Base64(payload) + ".c2lnbmF0dXJl",
		"another key":     issuertest.NewSigner("RS256", "one", 2).Sign(claims(server.Issuer, changes)),
	} {
		p := run(t, settings(server), raw).Proposal
		if len(p.Changes)+len(p.Others) != 0 || len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "nobody vouches") {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func written(changes []explain.Change) []string {
	var out []string
	for _, c := range changes {
		if c.GivesUp == "" || c.Because == "" {
			out = append(out, "incomplete: "+c.Setting)
		}
		out = append(out, c.Setting+"="+c.Value)
	}
	return out
}

// What is named but not tried because there is a stricter way accepts the token
// as well.
func TestOtherSettingsWorkToo(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	s := settings(server)
	s.AllowMissingIssuer = "true"
	raw := specimen(float64(time.Now().Add(time.Hour).Unix()))
	others := run(t, s, raw).Proposal.Others
	if len(others) != 2 {
		t.Fatalf("%+v", others)
	}
	for _, other := range others {
		changed := s
		switch other.Setting {
		case "AUTHZ_AUDIENCES":
			changed.Audiences = other.Value
		case "AUTHZ_AUDIENCE_MODE":
			changed.AudienceMode = other.Value
		default:
			t.Fatal(other.Setting)
		}
		if report := run(t, changed, raw); report.Verdict != explain.Accepted {
			t.Errorf("%s=%s: %s", other.Setting, other.Value, report.Reason)
		}
	}
}

func TestScopesThatWereNotGrantedAreNamed(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	raw := signer.Sign(claims(server.Issuer, map[string]any{"scope": "read:analytics"}))
	s := settings(server)
	for want, configured := range map[string]string{
		"of those in force not granted: read:inventory":              "",
		"of those in force not granted: read:companies write:import": "read:analytics,read:companies,write:import",
		"": "read:analytics",
	} {
		s.Scopes = configured
		report := run(t, s, raw)
		at := slices.IndexFunc(report.Checks, func(c explain.Check) bool { return c.Name == trail.Scopes })
		if got := report.Checks[at]; report.Verdict != explain.Accepted || got.Note != want || !strings.HasPrefix(got.DecidedBy, "AUTHZ_SCOPES=") {
			t.Errorf("%q: %+v", configured, got)
		}
	}
}

func TestEveryReasonHasAFix(t *testing.T) {
	t.Parallel()
	for _, reason := range decision.Refusals() {
		switch reason {
		case token.NotOpaque, decision.ReasonNoCredential, decision.ReasonUnsupportedScheme, decision.ReasonMultiple, decision.ReasonTooManyRequests:
			continue // no token leads there
		}
		if explain.Fix(reason) == "" {
			t.Errorf("%s has no fix", reason)
		}
	}
}

func TestCannotTellDuringAnOutage(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"keys": issuertest.PathJWKS, "metadata": issuertest.PathOAuth} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newIssuer(t)
			server.Serve(path, issuertest.Status(503))
			report := run(t, settings(server), signer.Sign(claims(server.Issuer, nil)))
			if report.Verdict != explain.Unknown || report.Reason != token.KeysMissing || !slices.Equal(report.Failed(), []trail.Check{trail.Keys}) {
				t.Errorf("%s, %s, %q", report.Verdict, report.Reason, report.Failed())
			}
			if len(report.Trouble) == 0 {
				t.Error("the report does not say what went wrong")
			}
			if text := string(report.Text()); !strings.Contains(text, "CANNOT TELL NOW (keys_missing): the client gets 503") || !strings.Contains(text, "status 503") {
				t.Error(text)
			}
			// What can be told without the issuer is told.
			report = run(t, settings(server), signer.Sign(claims(server.Issuer, map[string]any{"exp": 1})))
			if report.Verdict != explain.Refused || report.Reason != token.Expired {
				t.Errorf("%s, %s", report.Verdict, report.Reason)
			}
		})
	}
}

// Metadata that names no endpoint is not waited for.
func TestOpaqueWithoutAnEndpointIsToldAtOnce(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	server.Serve(issuertest.PathOAuth, issuertest.JSON(issuertest.Encode(map[string]any{"issuer": server.Issuer})))
	s := settings(server)
	s.TokenMode, s.IntrospectionClientID, s.IntrospectionClientSecret = "opaque", "gateway", "secret"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	report, err := explain.Explain(ctx, explain.Options{Settings: s}, "opaque-token")
	if err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	if text := string(report.Text()); report.Verdict != explain.Unknown || !strings.Contains(text, "has no introspection_endpoint: set AUTHZ_INTROSPECTION_URL") {
		t.Error(text)
	}
}

// Whatever claims hold, the report shows neither the signature nor controls a
// terminal.
func TestReportIsHarmless(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	rapid.Check(t, func(t *rapid.T) {
		c := claims(server.Issuer, map[string]any{
			rapid.SampledFrom([]string{"sub", "iss", "aud", "scope", "typ", "nonce", "client_id"}).Draw(t, "claim"): rapid.String().Draw(t, "value"),
			rapid.String().Draw(t, "name"): rapid.String().Draw(t, "other value"),
		})
		header := signer.Header()
		header[rapid.SampledFrom([]string{"kid", "typ", "alg", "x"}).Draw(t, "member")] = rapid.String().Draw(t, "member value")
		raw := signer.SignText(issuertest.Encode(header), issuertest.Encode(c))
		report, err := explain.Explain(context.Background(), explain.Options{Settings: settings(server)}, raw)
		if err != nil {
			t.Fatal(err)
		}
		text, document := string(report.Text()), report.JSON()
		signature := raw[strings.LastIndexByte(raw, '.')+1:]
		if strings.Contains(text, signature) || bytes.Contains(document, []byte(signature)) {
			t.Fatal("the signature is shown")
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 }); i >= 0 {
			t.Fatalf("byte %#x in the text", text[i])
		}
		var back explain.Report
		if err := json.Unmarshal(document, &back); err != nil || back.Verdict != report.Verdict || len(back.Checks) != len(trail.Checks) {
			t.Fatalf("%v: %s", err, document)
		}
	})
}

func TestASecretThatAClaimRepeatsIsHidden(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	server.Serve(issuertest.PathIntrospect, issuertest.JSON(issuertest.Encode(claims(server.Issuer, map[string]any{"active": true, "jti": "opaque-secret-1"}))))
	s := settings(server)
	s.IntrospectionClientID, s.IntrospectionClientSecret = "gateway", "hunter2-hunter2"
	report := run(t, s, "opaque-secret-1")
	text := string(report.Text())
	if report.Verdict != explain.Accepted || strings.Contains(text, "opaque-secret-1") || strings.Contains(text, "hunter2") || !strings.Contains(text, "[secret]") {
		t.Error(text)
	}
}

// strs are all strings of a JSON document, names as well.
func strs(document any) (out []string) {
	switch value := document.(type) {
	case string:
		return []string{value}
	case []any:
		for _, element := range value {
			out = append(out, strs(element)...)
		}
	case map[string]any:
		for name, member := range value {
			out = append(append(out, name), strs(member)...)
		}
	}
	return out
}

// The issuer repeats what it was asked about wherever it can.
func TestWhatIsPastedAroundATokenHidesNoSecret(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	inner := signer.Sign(claims(server.Issuer, nil))
	header, signature := inner[:strings.IndexByte(inner, '.')], inner[strings.LastIndexByte(inner, '.')+1:]
	nested := strings.Join([]string{header, issuertest.Base64(`{"sub":"46"}`), "AAEC" + strings.Repeat("x9Q-", 10)}, ".")
	for name, c := range map[string]struct {
		raw     string
		secrets []string
	}{
		"a JWT":                     {inner, []string{signature}},
		"in quotes":                 {`"` + inner + `"`, []string{signature}},
		"nested, in quotes":         {`"` + nested + `"`, []string{nested[strings.LastIndexByte(nested, '.')+1:]}},
		"in apostrophes":            {"'" + inner + "'", []string{signature}},
		"JSON":                      {`{"access_token":"` + inner + `","token_type":"Bearer"}`, []string{signature}},
		"JSON with spaces":          {`{ "access_token": "` + inner + `" }`, []string{signature}},
		"JSON of an opaque token":   {`{"access_token":"fa7c1b\/9e02-d4"}`, []string{`fa7c1b/9e02-d4`, `fa7c1b\/9e02-d4`}},
		"damaged JSON":              {`{"access_token":"` + inner + `",`, []string{signature}},
		"with its scheme":           {"Bearer " + inner, []string{signature}},
		"two lines":                 {inner + "\n" + nested, []string{signature, nested[strings.LastIndexByte(nested, '.')+1:]}},
		"opaque with punctuation":   {`opa"que\SEC<RET&more'of-it`, []string{`opa"que\SEC<RET&more'of-it`, `SEC<RET&`}},
		"opaque of many quotes":     {`a"b\c"d\e"f\g"h"`, []string{`a"b\c"d\e"f\g"h"`, "abcdefgh"}},
		"opaque and not ASCII":      {"gehêim-\u2028-\x01-tøken", []string{"gehêim-\u2028-\x01-tøken", "tøken"}},
		"opaque and long":           {strings.Repeat("k7", 300), []string{strings.Repeat("k7", 20)}},
		"encrypted":                 {header + ".a2V5.aXY.Y2lwaGVydGV4dA.dGFnLXRhZw", []string{"Y2lwaGVydGV4dA", "dGFnLXRhZw"}},
		"a JWT after other letters": {"\x01" + nested, []string{nested[strings.LastIndexByte(nested, '.')+1:]}},
	} {
		for _, echo := range []string{"jti", "sub", "aud", "client_id", "scope", "iss", "another's"} {
			t.Run(name+", in "+echo, func(t *testing.T) {
				t.Parallel()
				server := newIssuer(t)
				server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
					about := claims(server.Issuer, map[string]any{"active": true})
					if echo == "another's" {
						about["jti"] = "about " + inner + " and \x07" + nested
					} else {
						about[echo] = r.PostFormValue("token")
					}
					issuertest.JSON(issuertest.Encode(about))(w, r)
				})
				s := settings(server)
				s.IntrospectionClientID, s.IntrospectionClientSecret, s.IntrospectJWT = "gateway", "secret", "true"
				report := run(t, s, c.raw)
				document := report.JSON()
				var back any
				if err := json.Unmarshal(document, &back); err != nil {
					t.Fatalf("%v: %s", err, document)
				}
				shown := append(strs(back), string(report.Text()), string(document))
				bare := strings.NewReplacer(`"`, "", `\`, "")
				secrets := c.secrets
				if echo == "another's" {
					secrets = append(slices.Clone(secrets), signature, nested[strings.LastIndexByte(nested, '.')+1:])
				}
				for _, secret := range secrets {
					for _, text := range shown {
						if strings.Contains(text, secret) || strings.Contains(bare.Replace(text), bare.Replace(secret)) {
							t.Errorf("%q is shown: %s", secret, text)
						}
					}
				}
			})
		}
	}
}

// What a token holds changes neither the form of a report nor what it says in
// words of its own.
func TestOnlyValuesAreMasked(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	head := issuertest.Base64(`{"alg":"RS256"}`) + ".e30."
	for _, raw := range []string{
		head + `"verdict"`, head + `"decided_by"`, head + `"check": "`, head + "AUTHZ_TOKEN_MODE", head + "AUTHZ_ALGORITHMS", head + "REFUSED (undecodable)",
		"AUTHZ_TOKEN_MODE", "decided_by", `"decided_by"`, "signature", "required_scopes", "REFUSED (token_opaque)", "not configured",
	} {
		for _, mode := range []string{"auto", "opaque"} {
			s := settings(server)
			s.TokenMode, s.IntrospectionClientID, s.IntrospectionClientSecret = mode, "gateway", "secret"
			server.Serve(issuertest.PathIntrospect, issuertest.JSON(`{"active":false}`))
			report := run(t, s, raw)
			var back explain.Report
			if document := report.JSON(); json.Unmarshal(document, &back) != nil || len(back.Checks) != len(trail.Checks) || back.Verdict != report.Verdict || bytes.Contains(document, []byte("[secret]")) {
				t.Errorf("%s: %s", raw, document)
			}
			text := string(report.Text())
			for _, own := range []string{"AUTHZ_TOKEN_MODE=" + mode + ";", "REFUSED (", "signature  ", "required_scopes  "} {
				if !strings.Contains(text, own) {
					t.Errorf("%s: %q is missing from %s", raw, own, text)
				}
			}
		}
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	server := newIssuer(t)
	good := signer.Sign(claims(server.Issuer, nil))
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(good+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		command explain.Command
		stdin   string
		status  int
		output  string
	}{
		"accepted":                 {explain.Command{Settings: settings(server)}, good + "\n", 0, "ACCEPTED (ok): subject 46, client client-1, scopes read:analytics read:inventory"},
		"from a file":              {explain.Command{Settings: settings(server), File: file}, "", 0, "ACCEPTED"},
		"from standard input":      {explain.Command{Settings: settings(server), File: "-"}, good, 0, "ACCEPTED"},
		"as JSON":                  {explain.Command{Settings: settings(server), JSON: true}, good, 0, `"verdict": "accepted"`},
		"refused":                  {explain.Command{Settings: settings(server)}, "opaque-token", 1, "REFUSED (token_opaque): the client gets 401"},
		"cannot tell":              {explain.Command{Settings: config.Settings{PublicURL: public, NeonpanelIssuer: "http://127.0.0.1:1"}}, signer.Sign(claims("http://127.0.0.1:1", nil)), 2, "CANNOT TELL NOW"},
		"no token":                 {explain.Command{Settings: settings(server)}, "\n", 3, ""},
		"no such file":             {explain.Command{Settings: settings(server), File: file + ".absent"}, "", 3, ""},
		"far too long":             {explain.Command{Settings: settings(server)}, strings.Repeat("a", 1<<20+1), 3, ""},
		"an argument":              {explain.Command{Settings: settings(server), Argument: []string{good}}, "", 3, ""},
		"settings that are faulty": {explain.Command{Settings: config.Settings{PublicURL: "x", Leeway: "long"}}, good, 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var output bytes.Buffer
			err := c.command.Main(context.Background(), strings.NewReader(c.stdin), &output)
			var status explain.Status
			if errors.As(err, &status); status.ExitCode() != c.status || (err == nil) != (c.status == 0) {
				t.Errorf("%v, want exit status %d; %s", err, c.status, output.String())
			}
			if !strings.Contains(output.String(), c.output) || c.output == "" && output.Len() > 0 {
				t.Errorf("%s\nwant %q", output.String(), c.output)
			}
			if err != nil && strings.Contains(err.Error(), good) {
				t.Error("the error quotes the token")
			}
			if c.status == 3 && status.Err == nil {
				t.Error("wrong usage is not explained")
			}
		})
	}
}
