package decision_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/denial"
	"github.com/neonpanel/mcp-gateway/authz/internal/limit"
	"github.com/neonpanel/mcp-gateway/authz/internal/scopes"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

const public = "https://mcp.example.com"

var now = time.Unix(1_800_000_000, 500_000_000)

// tokens is a verifier that knows a few tokens.
type tokens map[string]struct {
	who token.Identity
	err error
}

func (v tokens) Verify(_ context.Context, raw string) (token.Identity, error) {
	known, found := v[raw]
	if !found {
		return token.Identity{}, token.Refuse(token.SignatureInvalid, errors.New("no key fits"))
	}
	return known.who, known.err
}

var known = tokens{
	"good": {who: token.Identity{
		Subject: "user-46", ClientID: "client-1", Scopes: []string{"read:companies", "read:inventory"}, Expires: now.Add(10 * time.Minute),
	}},
	"long":        {who: token.Identity{Subject: "user-46", Expires: now.Add(24 * time.Hour)}},
	"plain":       {who: token.Identity{Subject: "user-46", Expires: now.Add(10 * time.Minute)}},
	"last-second": {who: token.Identity{Subject: "user-46", Expires: now.Add(400 * time.Millisecond)}},
	"expired":     {err: token.Refuse(token.Expired, nil)},
	"odd-subject": {who: token.Identity{Subject: "a\r\nx-neonpanel-auth: bearer", Expires: now.Add(time.Minute)}},
	"no-subject":  {who: token.Identity{Expires: now.Add(time.Minute)}},
	"too-long":    {err: token.Refuse(token.Oversize, nil)},
	"keyless":     {err: token.Refuse(token.KeysStale, errors.New("dial tcp: refused"))},
	"suspect":     {err: &token.Error{Kind: token.Unavailable, Reason: token.IntrospectionFailed, Suspect: true}},
	"bare-error":  {err: errors.New("unexpected")},
}

func options() decision.Options {
	unlimited, _ := limit.New(0, 1)
	return decision.Options{
		PublicURL:       public,
		Verifier:        known,
		ScopesSupported: func() []string { return []string{"read:companies", "read:inventory", "offline_access"} },
		ScopeMode:       scopes.Enforce,
		StreamMax:       time.Hour,
		Refused:         unlimited,
		Failed:          unlimited,
		Now:             func() time.Time { return now },
	}
}

func decider(t *testing.T, change func(*decision.Options)) *decision.Decider {
	t.Helper()
	o := options()
	if change != nil {
		change(&o)
	}
	d, err := decision.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func with(path string, authorization ...string) decision.Request {
	return decision.Request{Path: path, Authorization: authorization}
}

const (
	base    = `Bearer realm="mcp", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`
	inForce = `, scope="read:companies read:inventory"`
	jsonIs  = "application/json"
)

// TestDenialTable holds every row of the table, with every header byte.
func TestDenialTable(t *testing.T) {
	t.Parallel()
	const unsupported = `{"error":"invalid_token","error_description":"Unsupported authorization header. Use 'Authorization: Bearer <token>'."}`
	requireRead := func(o *decision.Options) { o.RequiredScopes = []string{"read:companies", "write:import"} }
	exhausted := func(o *decision.Options) {
		o.Refused, _ = limit.New(60, 1)
		o.Refused.Take(now, netip.MustParseAddr("192.0.2.1"))
	}
	for name, c := range map[string]struct {
		change     func(*decision.Options)
		request    decision.Request
		status     int
		challenge  string
		retryAfter string
		body       string
		reason     string
	}{
		"no credential": {
			nil, with("/mcp"), 401, base + inForce, "", unsupported, "no_credential",
		},
		"an empty credential": {
			nil, with("/mcp", "Bearer "), 401, base + inForce, "", unsupported, "no_credential",
		},
		"another scheme": {
			nil, with("/mcp", "Basic dGVzdDp0ZXN0"), 401, base + inForce, "", unsupported, "unsupported_scheme",
		},
		"no space after the scheme": {
			nil, with("/mcp", "BearerTOKEN123"), 401, base + inForce, "", unsupported, "unsupported_scheme",
		},
		"no scopes in force": {
			func(o *decision.Options) { o.ScopesSupported = func() []string { return nil } },
			with("/mcp"), 401, base, "", unsupported, "no_credential",
		},
		"invalid": {
			nil, with("/mcp", "Bearer forged"), 401,
			base + `, error="invalid_token", error_description="The access token's signature could not be verified; sign in again."` + inForce, "",
			`{"error":"invalid_token","error_description":"The access token's signature could not be verified; sign in again."}`, "signature_invalid",
		},
		"expired": {
			nil, with("/mcp", "Bearer expired"), 401,
			base + `, error="invalid_token", error_description="The access token has expired; refresh it or sign in again."` + inForce, "",
			`{"error":"invalid_token","error_description":"The access token has expired; refresh it or sign in again."}`, "token_expired",
		},
		"expires within this second": {
			nil, with("/mcp", "Bearer last-second"), 401,
			base + `, error="invalid_token", error_description="The access token has expired; refresh it or sign in again."` + inForce, "",
			`{"error":"invalid_token","error_description":"The access token has expired; refresh it or sign in again."}`, "token_expired",
		},
		"a subject that is no header value": {
			nil, with("/mcp", "Bearer odd-subject"), 401,
			base + `, error="invalid_token", error_description="The access token cannot be read; sign in again."` + inForce, "",
			`{"error":"invalid_token","error_description":"The access token cannot be read; sign in again."}`, "claim_invalid",
		},
		"no subject": {
			nil, with("/mcp", "Bearer no-subject"), 401,
			base + `, error="invalid_token", error_description="The access token is not one that this server accepts; sign in again."` + inForce, "",
			`{"error":"invalid_token","error_description":"The access token is not one that this server accepts; sign in again."}`, "subject_missing",
		},
		"more than one credential": {
			nil, with("/mcp", "Bearer a,Bearer b"), 400,
			base + `, error="invalid_request", error_description="More than one access token was sent. Send one, in one Authorization header."` + inForce, "",
			`{"error":"invalid_request","error_description":"More than one access token was sent. Send one, in one Authorization header."}`, "multiple_credentials",
		},
		"oversize": {
			nil, with("/mcp", "Bearer "+strings.Repeat("a", 9000)), 400,
			base + `, error="invalid_request", error_description="The access token is too long."` + inForce, "",
			`{"error":"invalid_request","error_description":"The access token is too long."}`, "token_oversize",
		},
		"oversize for the verifier": {
			nil, with("/mcp", "Bearer too-long"), 400,
			base + `, error="invalid_request", error_description="The access token is too long."` + inForce, "",
			`{"error":"invalid_request","error_description":"The access token is too long."}`, "token_oversize",
		},
		"control bytes": {
			nil, with("/mcp", "Bearer a\x01b"), 400,
			base + `, error="invalid_request", error_description="The access token contains characters that no bearer token may contain."` + inForce, "",
			`{"error":"invalid_request","error_description":"The access token contains characters that no bearer token may contain."}`, "token_characters",
		},
		"scope missing": {
			requireRead, with("/mcp", "Bearer good"), 403,
			base + `, error="insufficient_scope", error_description="The access token lacks a scope that this request needs; sign in again to grant it.", scope="read:companies write:import"`, "",
			`{"error":"insufficient_scope","error_description":"The access token lacks a scope that this request needs; sign in again to grant it."}`, "insufficient_scope",
		},
		"too many failures": {
			exhausted, decision.Request{Path: "/mcp", Client: netip.MustParseAddr("192.0.2.1")}, 429, "", "1",
			`{"error":"too_many_requests","error_description":"Too many refused requests from this address. Try again later."}`, "too_many_requests",
		},
		"cannot be verified now": {
			nil, with("/mcp", "Bearer keyless"), 503, "", "30",
			`{"error":"temporarily_unavailable","error_description":"The access token cannot be verified at the moment; try again shortly."}`, "keys_stale",
		},
		"an error of no known kind": {
			nil, with("/mcp", "Bearer bare-error"), 503, "", "5",
			`{"error":"temporarily_unavailable","error_description":"The access token cannot be verified at the moment; try again shortly."}`, "internal",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := decider(t, c.change).Decide(t.Context(), c.request)
			want := []denial.Header{}
			if c.challenge != "" {
				want = append(want, denial.Header{Name: "www-authenticate", Value: c.challenge})
			}
			if c.retryAfter != "" {
				want = append(want, denial.Header{Name: "retry-after", Value: c.retryAfter})
			}
			want = append(want, denial.Header{Name: "content-type", Value: jsonIs}, denial.Header{Name: "cache-control", Value: "no-store"})
			if got.Allowed() || got.Status != c.status {
				t.Errorf("status %d, want %d", got.Status, c.status)
			}
			sameHeaders(t, got.Headers, want)
			if got.Body != c.body {
				t.Errorf("body\n got %s\nwant %s", got.Body, c.body)
			}
			if !slices.Contains(decision.Refusals(), c.reason) {
				t.Errorf("%s is not in the closed set", c.reason)
			}
			if got.Facts != (decision.Facts{Reason: c.reason}) {
				t.Errorf("facts %+v, want only the reason %s", got.Facts, c.reason)
			}
		})
	}
}

func TestHeaderContract(t *testing.T) {
	t.Parallel()
	challenge := denial.Header{Name: "x-neonpanel-challenge", Value: strings.TrimPrefix(base, "Bearer ")}
	supported := denial.Header{Name: "x-neonpanel-scopes-supported", Value: "read:companies read:inventory"}
	for name, c := range map[string]struct {
		change  func(*decision.Options)
		request decision.Request
		want    []denial.Header
		reason  string
	}{
		"a good token": {
			nil, with("/mcp", "Bearer good"), []denial.Header{
				{Name: "x-neonpanel-auth", Value: "bearer"}, {Name: "x-neonpanel-subject", Value: "user-46"},
				{Name: "x-neonpanel-client-id", Value: "client-1"}, {Name: "x-neonpanel-scopes", Value: "read:companies read:inventory"},
				supported, {Name: "x-neonpanel-scope-mode", Value: "enforce"}, {Name: "x-neonpanel-expires", Value: "1800000600"}, challenge,
			}, "ok",
		},
		"a token that outlives the longest stream": {
			nil, with("/mcp", "Bearer long"), []denial.Header{
				{Name: "x-neonpanel-auth", Value: "bearer"}, {Name: "x-neonpanel-subject", Value: "user-46"},
				supported, {Name: "x-neonpanel-scope-mode", Value: "enforce"}, {Name: "x-neonpanel-expires", Value: "1800003600"}, challenge,
			}, "ok",
		},
		"nothing but a subject": {
			func(o *decision.Options) { o.ScopesSupported = func() []string { return nil } },
			with("/mcp", "Bearer plain"), []denial.Header{
				{Name: "x-neonpanel-auth", Value: "bearer"}, {Name: "x-neonpanel-subject", Value: "user-46"},
				{Name: "x-neonpanel-scope-mode", Value: "enforce"}, {Name: "x-neonpanel-expires", Value: "1800000600"}, challenge,
			}, "ok",
		},
		"scopes of the operator": {
			func(o *decision.Options) { o.Scopes = []string{"neonpanel.mcp"} },
			with("/mcp", "Bearer plain"), []denial.Header{
				{Name: "x-neonpanel-auth", Value: "bearer"}, {Name: "x-neonpanel-subject", Value: "user-46"},
				{Name: "x-neonpanel-scopes-supported", Value: "neonpanel.mcp"},
				{Name: "x-neonpanel-scope-mode", Value: "enforce"}, {Name: "x-neonpanel-expires", Value: "1800000600"}, challenge,
			}, "ok",
		},
		"a missing scope, reported": {
			func(o *decision.Options) { o.RequiredScopes, o.ScopeMode = []string{"write:import"}, scopes.Report },
			with("/mcp", "Bearer plain"), []denial.Header{
				{Name: "x-neonpanel-auth", Value: "bearer"}, {Name: "x-neonpanel-subject", Value: "user-46"}, supported,
				{Name: "x-neonpanel-scope-mode", Value: "report"}, {Name: "x-neonpanel-expires", Value: "1800000600"}, challenge,
			}, "insufficient_scope_reported",
		},
		"a missing scope, not looked at": {
			func(o *decision.Options) { o.RequiredScopes, o.ScopeMode = []string{"write:import"}, scopes.Off },
			with("/mcp", "Bearer plain"), []denial.Header{
				{Name: "x-neonpanel-auth", Value: "bearer"}, {Name: "x-neonpanel-subject", Value: "user-46"}, supported,
				{Name: "x-neonpanel-scope-mode", Value: "off"}, {Name: "x-neonpanel-expires", Value: "1800000600"}, challenge,
			}, "ok",
		},
		"a required scope that was granted": {
			func(o *decision.Options) { o.RequiredScopes = []string{"read:companies"} },
			with("/mcp", "Bearer good"), []denial.Header{
				{Name: "x-neonpanel-auth", Value: "bearer"}, {Name: "x-neonpanel-subject", Value: "user-46"},
				{Name: "x-neonpanel-client-id", Value: "client-1"}, {Name: "x-neonpanel-scopes", Value: "read:companies read:inventory"},
				supported, {Name: "x-neonpanel-scope-mode", Value: "enforce"}, {Name: "x-neonpanel-expires", Value: "1800000600"}, challenge,
			}, "ok",
		},
		"anonymous": {
			func(o *decision.Options) { o.AnonymousDiscovery = true },
			with("/mcp"), []denial.Header{
				{Name: "x-neonpanel-auth", Value: "anonymous"}, supported, {Name: "x-neonpanel-scope-mode", Value: "enforce"}, challenge,
			}, "anonymous",
		},
		"anonymous by an empty bearer": {
			func(o *decision.Options) { o.AnonymousDiscovery = true },
			with("/mcp", "Bearer "), []denial.Header{
				{Name: "x-neonpanel-auth", Value: "anonymous"}, supported, {Name: "x-neonpanel-scope-mode", Value: "enforce"}, challenge,
			}, "anonymous",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := decider(t, c.change).Decide(t.Context(), c.request)
			if !got.Allowed() || got.Body != "" {
				t.Fatalf("refused: %d %s", got.Status, got.Body)
			}
			sameHeaders(t, got.Headers, c.want)
			if !slices.Contains(decision.Passes(), c.reason) {
				t.Errorf("%s is not in the closed set", c.reason)
			}
			if got.Facts.Reason != c.reason {
				t.Errorf("reason %q, want %q", got.Facts.Reason, c.reason)
			}
		})
	}
}

func TestAnonymousDiscoveryIsOnlyForRequestsToMCPWithoutCredential(t *testing.T) {
	t.Parallel()
	d := decider(t, func(o *decision.Options) { o.AnonymousDiscovery = true })
	for _, r := range []decision.Request{
		with("/sse"), with("/sse/"), with("/messages"), with("/mcp/tools/call"), with("/"), with("/mcp/"),
		with("/mcp", "Basic dGVzdDp0ZXN0"), with("/mcp", "Bearer forged"), with("/mcp", "BearerTOKEN"), with("/mcp", "Bearer expired"),
	} {
		if got := d.Decide(t.Context(), r); got.Status != 401 {
			t.Errorf("%s %q: status %d, want 401", r.Path, r.Authorization, got.Status)
		}
	}
}

func TestChallengeNamesTheDocumentOfThePathAskedFor(t *testing.T) {
	t.Parallel()
	d := decider(t, nil)
	for path, document := range map[string]string{
		"/mcp": "/mcp", "/mcp/tools/call": "/mcp", "/sse": "/sse", "/messages": "/sse", "/sse/": "/sse/", "/": "", "": "", "/other": "",
	} {
		want := `Bearer realm="mcp", resource_metadata="` + public + "/.well-known/oauth-protected-resource" + document + `"` + inForce
		if got := header(d.Decide(t.Context(), with(path)).Headers, "www-authenticate"); got != want {
			t.Errorf("%q:\n got %s\nwant %s", path, got, want)
		}
	}
}

func TestScopesFollowTheIssuersMetadata(t *testing.T) {
	t.Parallel()
	supported := []string(nil)
	d := decider(t, func(o *decision.Options) { o.ScopesSupported = func() []string { return supported } })
	for _, step := range []struct {
		supported []string
		want      string
	}{
		{nil, ""}, {[]string{"a", "b"}, `a b`}, {[]string{"b"}, `b`},
		{[]string{"b", "offline_access", "b", `q"uote`, "x\ny"}, `b`},
	} {
		supported = step.supported
		got := header(d.Decide(t.Context(), with("/mcp", "Bearer plain")).Headers, "x-neonpanel-scopes-supported")
		if got != step.want {
			t.Errorf("%q: %q, want %q", step.supported, got, step.want)
		}
	}
}

func TestGoodTokensAreNeverLimited(t *testing.T) {
	t.Parallel()
	d := decider(t, func(o *decision.Options) { o.Refused, _ = limit.New(60, 2) })
	from := netip.MustParseAddr("2001:db8::1")
	request := func(authorization string) int {
		return d.Decide(t.Context(), decision.Request{Path: "/mcp", Authorization: []string{authorization}, Client: from}).Status
	}
	for _, step := range []struct {
		authorization string
		want          int
	}{
		{"Bearer good", 0}, {"Bearer forged", 401}, {"Bearer keyless", 503}, {"Basic x", 401},
		{"Bearer forged", 429}, {"Bearer good", 0}, {"Bearer keyless", 503}, {"", 429}, {"Bearer a,b", 429},
	} {
		if got := request(step.authorization); got != step.want {
			t.Errorf("%q: status %d, want %d", step.authorization, got, step.want)
		}
	}
	neighbour := decision.Request{Path: "/mcp", Client: netip.MustParseAddr("2001:db8:0:1::1")}
	if got := d.Decide(t.Context(), neighbour).Status; got != 401 {
		t.Errorf("the next /64: status %d, want 401", got)
	}
}

// doubting is a verifier that tells whether it was asked in doubt.
type doubting struct{ doubted bool }

func (d *doubting) Verify(ctx context.Context, raw string) (token.Identity, error) {
	d.doubted = token.Doubted(ctx)
	return known.Verify(ctx, raw)
}

func TestTokensOfAnAddressThatKeepsBeingRefusedAreDoubted(t *testing.T) {
	t.Parallel()
	v := new(doubting)
	clock := now
	d := decider(t, func(o *decision.Options) {
		o.Failed, _ = limit.New(60, 2)
		o.Verifier = v
		o.Now = func() time.Time { return clock }
	})
	ask := func(from, authorization string) {
		d.Decide(t.Context(), decision.Request{Path: "/mcp", Authorization: []string{authorization}, Client: netip.MustParseAddr(from)})
	}
	for i, step := range []struct {
		from, authorization string
		want                bool
	}{
		{"192.0.2.1", "Bearer forged", false}, {"192.0.2.1", "Bearer forged", false},
		{"192.0.2.1", "Bearer forged", true}, {"192.0.2.1", "Bearer good", true}, {"192.0.2.2", "Bearer good", false},
	} {
		if ask(step.from, step.authorization); v.doubted != step.want {
			t.Errorf("step %d: doubted is %v", i, v.doubted)
		}
	}
	clock = clock.Add(time.Minute)
	if ask("192.0.2.1", "Bearer good"); v.doubted {
		t.Error("doubted after a minute's rest")
	}
	// Nor what says nothing about a token, and a failure that is nobody's.
	for _, authorization := range []string{"", "Basic x", "Bearer keyless"} {
		for range 3 {
			ask("192.0.2.3", authorization)
		}
		if ask("192.0.2.3", "Bearer good"); v.doubted {
			t.Errorf("doubted after %q", authorization)
		}
	}
	for range 2 {
		ask("192.0.2.3", "Bearer suspect")
	}
	if ask("192.0.2.3", "Bearer good"); !v.doubted {
		t.Error("not doubted although only its own tokens get no verdict")
	}
}

func TestAnonymousRequestsCountAgainstTheirAddress(t *testing.T) {
	t.Parallel()
	d := decider(t, func(o *decision.Options) { o.Refused, _ = limit.New(60, 2); o.AnonymousDiscovery = true })
	for i, want := range []int{0, 0, 429} {
		if got := d.Decide(t.Context(), with("/mcp")).Status; got != want {
			t.Errorf("request %d: status %d, want %d", i+1, got, want)
		}
	}
}

func TestNewRefusesHalfOptions(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*decision.Options){
		"public URL": func(o *decision.Options) { o.PublicURL = "" },
		"verifier":   func(o *decision.Options) { o.Verifier = nil },
		"scope mode": func(o *decision.Options) { o.ScopeMode = "some" },
		"stream max": func(o *decision.Options) { o.StreamMax = 0 },
	} {
		o := options()
		change(&o)
		if _, err := decision.New(o); err == nil {
			t.Errorf("without %s: no error", name)
		}
	}
}

// FuzzNothingSentIsReflected looks for what a client sent in what it gets back.
func FuzzNothingSentIsReflected(f *testing.F) {
	for _, seed := range []string{"Bearer forged", "Basic abcdefgh", "Bearer a,Bearer bcdefghij", "Bearer \"quoted\\\"", "Bearer a\r\nset-cookie: x=y", "Bearer keyless"} {
		f.Add("/mcp", seed)
	}
	f.Add("/sse/<script>alert(1)</script>", "Bearer x")
	o := options()
	d, err := decision.New(o)
	if err != nil {
		f.Fatal(err)
	}
	clean := map[string]bool{}
	for _, path := range []string{"/mcp", "/sse", "/sse/", ""} {
		for _, authorization := range []string{"", "Bearer forged", "Bearer a,b", "Bearer a b", "Bearer keyless", "Bearer expired",
			"Bearer too-long", "Bearer odd-subject", "Bearer no-subject", "Bearer bare-error", "Bearer " + strings.Repeat("a", 9000)} {
			clean[answer(d.Decide(f.Context(), with(path, authorization)))] = true
		}
	}
	f.Fuzz(func(t *testing.T, path, authorization string) {
		got := d.Decide(t.Context(), with(path, authorization))
		if got.Allowed() {
			return
		}
		// There are only so many answers; one that is not among them could only
		// come from what was sent.
		if !clean[answer(got)] {
			t.Fatalf("an answer of its own for %q %q: %+v", path, authorization, got)
		}
	})
}

func answer(r decision.Response) string {
	var b strings.Builder
	for _, h := range r.Headers {
		b.WriteString(h.Name + ": " + h.Value + "\n")
	}
	return b.String() + r.Body
}

func header(headers []denial.Header, name string) string {
	for _, h := range headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

func sameHeaders(t *testing.T, got, want []denial.Header) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w denial.Header
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("header %d\n got %s: %s\nwant %s: %s", i, g.Name, g.Value, w.Name, w.Value)
		}
	}
}
