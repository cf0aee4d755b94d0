package serve_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/metrics"
	"github.com/neonpanel/mcp-gateway/authz/internal/serve"
)

// verdict is an answer to Envoy in short.
type verdict struct {
	status     int // 0: the request goes on
	reason     string
	challenge  string
	retryAfter string
	headers    map[string]string
}

// ask puts a question from an address, as Envoy does.
func (g *gateway) ask(t testing.TB, path, authorization, address string) verdict {
	t.Helper()
	headers := []*corev3.HeaderValue{{Key: "x-envoy-external-address", RawValue: []byte(address)}}
	if authorization != "" {
		headers = append(headers, &corev3.HeaderValue{Key: "authorization", RawValue: []byte(authorization)})
	}
	out, err := authv3.NewAuthorizationClient(g.conn).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Path: path, HeaderMap: &corev3.HeaderMap{Headers: headers}}},
	}}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	v := verdict{reason: out.GetDynamicMetadata().GetFields()["reason"].GetStringValue(), headers: map[string]string{}}
	if ok := out.GetOkResponse(); ok != nil {
		for _, h := range ok.GetHeaders() {
			v.headers[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		}
		if out.GetStatus().GetCode() != 0 {
			t.Errorf("an OK answer with status %d", out.GetStatus().GetCode())
		}
		return v
	}
	denied := out.GetDeniedResponse()
	v.status = int(denied.GetStatus().GetCode())
	v.challenge, v.retryAfter = header(denied.GetHeaders(), "www-authenticate"), header(denied.GetHeaders(), "retry-after")
	if out.GetStatus().GetCode() == 0 {
		t.Error("a denial with status OK")
	}
	return v
}

func (g *gateway) bearer(t testing.TB, raw string) verdict {
	t.Helper()
	return g.ask(t, "/mcp", "Bearer "+raw, "192.0.2.1")
}

func serveKeys(issuer *issuertest.Server, signers ...*issuertest.Signer) {
	issuer.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signers...)))
}

// Each algorithm that can be set, from the settings to the answer on the wire.
func TestEveryAlgorithm(t *testing.T) {
	t.Parallel()
	algorithms := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	issuer := issuertest.Start(t)
	var signers []*issuertest.Signer
	for i, algorithm := range algorithms {
		signers = append(signers, issuertest.NewSigner(algorithm, algorithm, i))
	}
	serveKeys(issuer, signers...)
	g := start(t, issuer.Issuer, func(s *config.Settings) { s.Algorithms = strings.Join(algorithms, ",") })
	g.await(t)
	// Older than the keys, so that none of the bad ones waits for newer keys.
	old := claims(issuer.Issuer, map[string]any{"iat": 1})
	for i, signer := range signers {
		raw := signer.Sign(old)
		if v := g.bearer(t, raw); v.status != 0 || v.headers["x-neonpanel-subject"] != "46" {
			t.Errorf("%s: %+v", signer.Algorithm, v)
		}
		at := strings.LastIndexByte(raw, '.') + 1
		zeros := raw[:at] + strings.Repeat("A", len(raw)-at)
		// Under this kid, by another key of the same algorithm.
		forged := issuertest.NewSigner(signer.Algorithm, signer.Algorithm, i+100).Sign(old)
		// Under another's kid, whose key is for another algorithm.
		other := algorithms[(i+6)%len(algorithms)]
		crossed := (&issuertest.Signer{Algorithm: signer.Algorithm, KeyID: other, Private: signer.Private}).Sign(old)
		for how, c := range map[string]struct{ raw, reason string }{
			"a signature of zeros":      {zeros, "signature_invalid"},
			"another key":               {forged, "signature_invalid"},
			"the kid of another kind":   {crossed, ""},
			"no signature":              {raw[:at], "signature_invalid"},
			"the same, said to be none": {issuertest.Base64(`{"alg":"none"}`) + raw[strings.IndexByte(raw, '.'):], "algorithm_refused"},
		} {
			v := g.bearer(t, c.raw)
			if v.status != 401 || c.reason != "" && v.reason != c.reason || !strings.Contains(v.challenge, `error="invalid_token"`) {
				t.Errorf("%s with %s: %+v", signer.Algorithm, how, v)
			}
		}
	}
}

// What other servers of this kind were seen to get wrong, and what all of them
// get right.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	issuer := issuertest.Start(t)
	serveKeys(issuer, signer)
	g := start(t, issuer.Issuer, nil)
	g.await(t)
	now := time.Now()
	sign := func(changes map[string]any) string {
		c := claims(issuer.Issuer, changes)
		// Older than the keys, so that none of the bad ones waits for newer keys.
		c["iat"] = 1
		maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
		return signer.Sign(c)
	}
	headed := func(changes map[string]any) string {
		header := signer.Header()
		maps.Copy(header, changes)
		maps.DeleteFunc(header, func(_ string, v any) bool { return v == nil })
		return signer.SignText(issuertest.Encode(header), issuertest.Encode(claims(issuer.Issuer, nil)))
	}
	good := sign(nil)
	middle := strings.IndexByte(good, '.') + 10
	for name, c := range map[string]struct {
		raw    string
		status int
		reason string
	}{
		"good":                          {good, 0, "ok"},
		"no kid":                        {headed(map[string]any{"kid": nil}), 0, "ok"},
		"typ at+jwt":                    {headed(map[string]any{"typ": "at+jwt"}), 0, "ok"},
		"no scope":                      {sign(map[string]any{"scope": nil}), 0, "ok"},
		"no exp":                        {sign(map[string]any{"exp": nil}), 401, "expiry_missing"},
		"expired 10 minutes ago":        {sign(map[string]any{"exp": now.Add(-10 * time.Minute).Unix()}), 401, "token_expired"},
		"expired 5 seconds ago":         {sign(map[string]any{"exp": now.Add(-5 * time.Second).Unix()}), 401, "token_expired"},
		"nbf in an hour":                {sign(map[string]any{"nbf": now.Add(time.Hour).Unix()}), 401, "token_not_yet_valid"},
		"wrong iss":                     {sign(map[string]any{"iss": "https://evil.example"}), 401, "issuer_mismatch"},
		"no iss":                        {sign(map[string]any{"iss": nil}), 401, "issuer_missing"},
		"wrong aud":                     {sign(map[string]any{"aud": "https://other.example"}), 401, "audience_mismatch"},
		"unknown crit":                  {headed(map[string]any{"crit": []string{"x"}, "x": 1}), 401, "header_refused"},
		"alg none":                      {issuertest.Base64(`{"alg":"none"}`) + good[strings.IndexByte(good, '.'):strings.LastIndexByte(good, '.')+1], 401, "algorithm_refused"},
		"PS256 with the RS256 key":      {(&issuertest.Signer{Algorithm: "PS256", KeyID: "one", Private: signer.Private}).Sign(claims(issuer.Issuer, map[string]any{"iat": 1})), 401, "algorithm_refused"},
		"tampered":                      {good[:middle] + "A" + good[middle+1:], 401, ""},
		"wrong key":                     {issuertest.NewSigner("RS256", "one", 2).Sign(claims(issuer.Issuer, map[string]any{"iat": 1})), 401, "signature_invalid"},
		"unknown kid":                   {issuertest.NewSigner("RS256", "elsewhere", 2).Sign(claims(issuer.Issuer, map[string]any{"iat": 1})), 401, "key_unknown"},
		"opaque, without introspection": {"opaque-token", 401, "token_opaque"},
		"80 kB":                         {sign(map[string]any{"x": strings.Repeat("x", 60_000)}), 400, "token_oversize"},
		"malformed":                     {"a.b.c", 401, ""},
		"malformed in the header":       {"eyJhbGciOiJSUzI1NiI.e30.e30", 401, "token_undecodable"},
	} {
		v := g.bearer(t, c.raw)
		if v.status != c.status || c.reason != "" && v.reason != c.reason || (c.status != 0) != strings.HasPrefix(v.challenge, "Bearer ") {
			t.Errorf("%s: %+v, want %d %s", name, v, c.status, c.reason)
		}
	}
}

// Each setting that changes a verdict does so in the running server.
func TestSettingsTakeEffect(t *testing.T) {
	t.Parallel()
	issuer := issuertest.Start(t)
	es := issuertest.NewSigner("ES256", "es", 1)
	serveKeys(issuer, signer, es)
	issuer.Serve("/elsewhere", issuertest.JSON(issuertest.JWKS(issuertest.NewSigner("RS256", "far", 5))))
	issuer.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("token") == "opaque-good" {
			issuertest.JSON(issuertest.Encode(claims(issuer.Issuer, map[string]any{"active": true})))(w, r)
			return
		}
		issuertest.JSON(`{"active":false}`)(w, r)
	})
	deny := filepath.Join(t.TempDir(), "deny.yaml")
	if err := os.WriteFile(deny, []byte(`clients: [client-1]`), 0o600); err != nil {
		t.Fatal(err)
	}
	introspecting := func(s *config.Settings) { s.IntrospectionClientID, s.IntrospectionClientSecret = "gateway", "secret" }
	sent := func(authorization string) func() string { return func() string { return authorization } }
	sign := func(changes map[string]any) func() string {
		c := claims(issuer.Issuer, changes)
		maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
		return sent("Bearer " + signer.Sign(c))
	}
	// Made when it is sent: its time is near.
	early := func(by time.Duration) func() string {
		return func() string { return sign(map[string]any{"nbf": time.Now().Add(by).Unix()})() }
	}
	for setting, c := range map[string]struct {
		set           func(*config.Settings)
		authorization func() string
		before, after string // reasons without and with it
		header, value string // of the answer with it
	}{
		"AUTHZ_JWKS_URL":             {func(s *config.Settings) { s.JWKSURL = issuer.Issuer + "/elsewhere" }, sent("Bearer " + issuertest.NewSigner("RS256", "far", 5).Sign(claims(issuer.Issuer, map[string]any{"iat": 1}))), "key_unknown", "ok", "", ""},
		"AUTHZ_TOKEN_MODE=jwt":       {func(s *config.Settings) { introspecting(s); s.TokenMode = "jwt" }, sent("Bearer opaque-good"), "token_opaque", "token_opaque", "", ""},
		"AUTHZ_TOKEN_MODE=opaque":    {func(s *config.Settings) { introspecting(s); s.TokenMode = "opaque" }, sign(nil), "ok", "token_inactive", "", ""},
		"introspection":              {introspecting, sent("Bearer opaque-good"), "token_opaque", "ok", "x-neonpanel-subject", "46"},
		"AUTHZ_INTROSPECTION_URL":    {func(s *config.Settings) { introspecting(s); s.IntrospectionURL = issuer.Issuer + "/none" }, sent("Bearer opaque-good"), "token_opaque", "introspection_failed", "", ""},
		"AUTHZ_INTROSPECT_JWT":       {func(s *config.Settings) { introspecting(s); s.IntrospectJWT = "true" }, sign(nil), "ok", "token_inactive", "", ""},
		"AUTHZ_ALGORITHMS":           {func(s *config.Settings) { s.Algorithms = "ES256" }, sent("Bearer " + es.Sign(claims(issuer.Issuer, nil))), "algorithm_refused", "ok", "", ""},
		"AUTHZ_AUDIENCES":            {func(s *config.Settings) { s.Audiences = "https://other.example" }, sign(map[string]any{"aud": "https://other.example"}), "audience_mismatch", "ok", "", ""},
		"AUTHZ_AUDIENCES=any":        {func(s *config.Settings) { s.Audiences = "any" }, sign(map[string]any{"aud": "client-9"}), "audience_mismatch", "ok", "", ""},
		"AUTHZ_CLIENT_IDS":           {func(s *config.Settings) { s.ClientIDs = "client-8,client-9" }, sign(map[string]any{"aud": "client-9"}), "audience_mismatch", "ok", "", ""},
		"AUTHZ_AUDIENCE_MODE":        {func(s *config.Settings) { s.AudienceMode = "report" }, sign(map[string]any{"aud": "https://other.example"}), "audience_mismatch", "ok", "", ""},
		"AUTHZ_ALLOW_MISSING_ISSUER": {func(s *config.Settings) { s.AllowMissingIssuer = "true" }, sign(map[string]any{"iss": nil}), "issuer_missing", "ok", "", ""},
		"AUTHZ_LEEWAY=0s":            {func(s *config.Settings) { s.Leeway = "0s" }, early(15 * time.Second), "ok", "token_not_yet_valid", "", ""},
		"AUTHZ_LEEWAY=5m":            {func(s *config.Settings) { s.Leeway = "5m" }, early(2 * time.Minute), "token_not_yet_valid", "ok", "", ""},
		"AUTHZ_SCOPES":               {func(s *config.Settings) { s.Scopes = "b,a" }, sign(nil), "ok", "ok", "x-neonpanel-scopes-supported", "b a"},
		"AUTHZ_REQUIRED_SCOPES":      {func(s *config.Settings) { s.RequiredScopes = "read:inventory,write:import" }, sign(nil), "ok", "insufficient_scope", "", ""},
		"AUTHZ_SCOPE_MODE=report":    {func(s *config.Settings) { s.RequiredScopes, s.ScopeMode = "write:import", "report" }, sign(nil), "ok", "insufficient_scope_reported", "x-neonpanel-scope-mode", "report"},
		"AUTHZ_SCOPE_MODE=off":       {func(s *config.Settings) { s.RequiredScopes, s.ScopeMode = "write:import", "off" }, sign(nil), "ok", "ok", "x-neonpanel-scope-mode", "off"},
		"AUTHZ_DENY_FILE":            {func(s *config.Settings) { s.DenyFile = deny }, sign(nil), "ok", "token_denied", "", ""},
		"AUTHZ_ANONYMOUS_DISCOVERY":  {func(s *config.Settings) { s.AnonymousDiscovery = "true" }, sent(""), "no_credential", "anonymous", "x-neonpanel-auth", "anonymous"},
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			for _, with := range []bool{false, true} {
				g := start(t, issuer.Issuer, func(s *config.Settings) {
					if with {
						c.set(s)
					}
				})
				g.await(t)
				want := c.before
				if with {
					want = c.after
				}
				v := g.ask(t, "/mcp", c.authorization(), "192.0.2.1")
				if v.reason != want {
					t.Errorf("with it %v: %+v, want %s", with, v, want)
				}
				if with && c.header != "" && v.headers[c.header] != c.value {
					t.Errorf("%s: %q, want %q", c.header, v.headers[c.header], c.value)
				}
			}
		})
	}
}

func TestStreamMaxBoundsTheExpiry(t *testing.T) {
	t.Parallel()
	issuer := issuertest.Start(t)
	serveKeys(issuer, signer)
	g := start(t, issuer.Issuer, func(s *config.Settings) { s.StreamMax = "10s" })
	g.await(t)
	v := g.bearer(t, signer.Sign(claims(issuer.Issuer, nil)))
	expires, err := strconv.ParseInt(v.headers["x-neonpanel-expires"], 10, 64)
	if left := time.Until(time.Unix(expires, 0)); err != nil || left > 10*time.Second || left < -time.Minute {
		t.Errorf("%v, %v", left, err)
	}
}

// No setting that the verifier needs is lost on the way.
func TestVerifierGetsEveryOption(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("subjects: []"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Settings{
		PublicURL: public, JWKSURL: "https://x.example/k", UpstreamProxy: "http://proxy:1", TokenMode: "opaque", Audiences: "any", ClientIDs: "x",
		AudienceMode: "report", AllowMissingIssuer: "true", Leeway: "0s", IntrospectionURL: "https://x.example/i", IntrospectionClientID: "x",
		IntrospectionClientSecret: "x", IntrospectJWT: "true", DenyFile: file,
	}.Validate()
	if err != nil {
		t.Fatal(err)
	}
	// Each excludes another setting.
	c.CAFile, c.Introspection.KeyAudience = "x", "x"
	c.Introspection.Key = nil
	options := reflect.ValueOf(serve.VerifierOptions(c, nil, slog.Default()))
	for i := range options.NumField() {
		name := options.Type().Field(i).Name
		switch name {
		case "Transport", "Observer", "IntrospectionInFlight", "IntrospectionKey", "Shared":
			continue
		}
		if options.Field(i).IsZero() {
			t.Errorf("%s is not set", name)
		}
	}
}

// The kill switch works on a token whose verdict is cached.
func TestDenyFileStopsACachedToken(t *testing.T) {
	t.Parallel()
	issuer := issuertest.Start(t)
	serveKeys(issuer, signer)
	file := filepath.Join(t.TempDir(), "deny.yaml")
	write := func(text string) {
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("subjects: []")
	g := start(t, issuer.Issuer, func(s *config.Settings) { s.DenyFile = file })
	g.await(t)
	raw := signer.Sign(claims(issuer.Issuer, nil))
	for range 2 {
		if v := g.bearer(t, raw); v.status != 0 {
			t.Fatalf("%+v", v)
		}
	}
	write(`subjects: ["46"]`)
	g.log.await(t, "deny file read", 1)
	if v := g.bearer(t, raw); v.status != 401 || v.reason != "token_denied" || !strings.Contains(v.challenge, `error="invalid_token"`) {
		t.Errorf("%+v", v)
	}
	write(`subjects: [`)
	g.log.await(t, "deny file is broken", 1)
	if _, text := g.get(t, "ops", "/metrics"); !strings.Contains(text, "\nauthz_deny_file_broken 1\n") {
		t.Error("a broken file is not reported")
	}
	if v := g.bearer(t, raw); v.reason != "token_denied" {
		t.Errorf("a broken file let go: %+v", v)
	}
	write(`subjects: ["47"]`)
	g.log.await(t, "deny file read", 2)
	if v := g.bearer(t, raw); v.status != 0 {
		t.Errorf("a mended file is not in force: %+v", v)
	}
	if _, text := g.get(t, "ops", "/metrics"); !strings.Contains(text, `authz_deny_file_reads_total{outcome="error"} 1`) {
		t.Error("a broken reading is not counted")
	}
}

// Cache a token, replace the key under the same kid, refresh: it is refused. The
// same for a key that is removed.
func TestCachedTokenEndsWithItsKey(t *testing.T) {
	t.Parallel()
	two := issuertest.NewSigner("RS256", "two", 2)
	with := func(changes map[string]any) string {
		jwk := signer.JWK()
		maps.Copy(jwk, changes)
		return issuertest.Encode(map[string]any{"keys": []any{jwk, two.JWK()}})
	}
	for how, next := range map[string]struct {
		document string
		good     *issuertest.Signer
	}{
		"replaced under the same kid": {issuertest.JWKS(issuertest.NewSigner("RS256", "one", 2)), issuertest.NewSigner("RS256", "one", 2)},
		"removed":                     {issuertest.JWKS(two), two},
		"for encryption from now on":  {with(map[string]any{"use": "enc"}), two},
		"not to verify from now on":   {with(map[string]any{"key_ops": []string{"sign"}}), two},
		"for another algorithm":       {with(map[string]any{"alg": "PS256"}), two},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			issuer := issuertest.Start(t)
			serveKeys(issuer, signer)
			g := start(t, issuer.Issuer, func(s *config.Settings) { s.KeysRefresh, s.Algorithms = "100ms", "RS256,PS256" })
			g.await(t)
			// Older than the keys, so that it does not wait for newer ones in the end.
			raw := signer.Sign(claims(issuer.Issuer, map[string]any{"iat": 1}))
			for range 3 {
				if v := g.bearer(t, raw); v.status != 0 {
					t.Fatalf("%+v", v)
				}
			}
			issuer.Serve(issuertest.PathJWKS, issuertest.JSON(next.document))
			// One fetch may have been under way.
			g.log.await(t, "issuer keys fetched", g.log.count("issuer keys fetched")+2)
			if v := g.bearer(t, raw); v.status != 401 {
				t.Errorf("the cached token: %+v", v)
			}
			if v := g.bearer(t, next.good.Sign(claims(issuer.Issuer, nil))); v.status != 0 {
				t.Errorf("the new key: %+v", v)
			}
		})
	}
}

func TestIntrospectionThroughItsOutage(t *testing.T) {
	t.Parallel()
	issuer := issuertest.Start(t)
	serveKeys(issuer, signer)
	secret := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	answer := func(accepted string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if _, password, _ := r.BasicAuth(); password != accepted {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			about := map[string]any{"active": false}
			if strings.HasPrefix(r.PostFormValue("token"), "good") {
				about = claims(issuer.Issuer, map[string]any{"active": true})
			}
			issuertest.JSON(issuertest.Encode(about))(w, r)
		}
	}
	issuer.Serve(issuertest.PathIntrospect, answer("first"))
	g := start(t, issuer.Issuer, func(s *config.Settings) {
		s.IntrospectionClientID, s.IntrospectionClientSecretFile = "gateway", secret
	})
	g.await(t)
	if v := g.bearer(t, "good-known"); v.status != 0 {
		t.Fatalf("%+v", v)
	}
	for range 5 {
		if v := g.bearer(t, "bad"); v.status != 401 || v.reason != "token_inactive" {
			t.Errorf("%+v", v)
		}
	}
	if n := issuer.Calls(issuertest.PathIntrospect); n != 2 {
		t.Errorf("%d calls for two tokens", n)
	}

	// The issuer takes another secret from now on; the file follows.
	issuer.Serve(issuertest.PathIntrospect, answer("second"))
	if v := g.bearer(t, "good-1"); v.status != 503 || v.retryAfter == "" || v.challenge != "" {
		t.Errorf("our own credentials refused: %+v, want 503 with Retry-After and no challenge", v)
	}
	write("second")
	if v := g.bearer(t, "good-2"); v.status != 0 {
		t.Errorf("after the secret was changed: %+v", v)
	}

	issuer.Serve(issuertest.PathIntrospect, issuertest.Status(http.StatusServiceUnavailable))
	for i := range 8 {
		if v := g.bearer(t, fmt.Sprint("good-new-", i)); v.status != 503 || v.retryAfter == "" || v.challenge != "" {
			t.Errorf("an unknown token in an outage: %+v, want 503 with Retry-After and no challenge", v)
		}
		if v := g.bearer(t, "good-known"); v.status != 0 {
			t.Errorf("a known token in an outage: %+v", v)
		}
		if v := g.bearer(t, signer.Sign(claims(issuer.Issuer, nil))); v.status != 0 {
			t.Errorf("a JWT in an outage of introspection: %+v", v)
		}
	}
	_, text := g.get(t, "ops", "/metrics")
	for _, line := range []string{
		`authz_issuer_call_duration_seconds_count{call="introspection",outcome="ok"} 3`,
		`authz_verdicts_total{reason="ok",source="introspection"} 2`, `authz_verdicts_total{reason="token_inactive",source="cache"} 4`,
		`authz_decisions_total{decision="deny",reason="introspection_failed"} 9`,
		`authz_build_info{commit="c0ffee",go="` + runtime.Version() + `",version="v1"} 1`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	if t.Failed() {
		for line := range strings.Lines(text) {
			if strings.Contains(line, "_count{") || strings.Contains(line, "_total{") && !strings.HasSuffix(line, " 0\n") {
				t.Log(line)
			}
		}
	}
}

// The key of private_key_jwt is read again when its file changes.
func TestIntrospectionWithAKeyFile(t *testing.T) {
	t.Parallel()
	issuer := issuertest.Start(t)
	serveKeys(issuer, signer)
	file := filepath.Join(t.TempDir(), "key.pem")
	own := []*issuertest.Signer{issuertest.NewSigner("ES256", "", 1), issuertest.NewSigner("ES256", "", 2)}
	write := func(signer *issuertest.Signer) {
		der, err := x509.MarshalPKCS8PrivateKey(signer.Private)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(own[0])
	g := start(t, issuer.Issuer, func(s *config.Settings) { s.IntrospectionClientID, s.IntrospectionKeyFile = "gateway", file })
	g.await(t)
	for i, key := range own {
		write(key)
		issuer.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
			assertion, err := jose.ParseSignedCompact(r.PostFormValue("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
			if err == nil {
				_, err = assertion.Verify(key.Private.Public())
			}
			if err != nil || r.Header.Get("Authorization") != "" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			issuertest.JSON(issuertest.Encode(claims(issuer.Issuer, map[string]any{"active": true})))(w, r)
		})
		if v := g.bearer(t, fmt.Sprint("opaque-", i)); v.status != 0 {
			t.Errorf("key %d: %+v", i, v)
		}
	}
}

// A flood from one address is slowed down at the gateway and on its way to the
// issuer; others, and good tokens from the same address, are not.
func TestFloodFromOneAddress(t *testing.T) {
	t.Parallel()
	issuer := issuertest.Start(t)
	serveKeys(issuer, signer)
	issuer.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
		about := map[string]any{"active": false}
		if strings.HasPrefix(r.PostFormValue("token"), "good") {
			about = claims(issuer.Issuer, map[string]any{"active": true})
		}
		issuertest.JSON(issuertest.Encode(about))(w, r)
	})
	g := start(t, issuer.Issuer, func(s *config.Settings) {
		s.IntrospectionClientID, s.IntrospectionClientSecret = "gateway", "secret"
		s.RefusedPerMinute, s.RefusedBurst, s.CacheSize = "1", "20", "50"
	})
	g.await(t)
	const attacker, neighbour, stranger = "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"
	jwt := signer.Sign(claims(issuer.Issuer, nil))
	if v := g.ask(t, "/mcp", "Bearer good-known", attacker); v.status != 0 {
		t.Fatalf("%+v", v)
	}
	statuses := map[int]int{}
	began := time.Now()
	for i := range 500 {
		statuses[g.ask(t, "/mcp", fmt.Sprint("Bearer flood-", i), attacker).status]++
	}
	took := time.Since(began)
	// 20 are refused, then the address is limited; of what it goes on to send a
	// trickle is asked about.
	most := 1 + 20 + 100 + int(took/(10*time.Millisecond)) + 2
	if n := issuer.Calls(issuertest.PathIntrospect); n > most {
		t.Errorf("%d calls in %s, want at most %d", n, took, most)
	}
	if statuses[401] < 20 || statuses[401] > 22 || statuses[401]+statuses[429]+statuses[503] != 500 {
		t.Errorf("%v", statuses)
	}
	// The whole /64 is one address; another is not.
	if v := g.ask(t, "/mcp", "", neighbour); v.status != 429 || v.retryAfter == "" || v.challenge != "" {
		t.Errorf("the same /64: %+v", v)
	}
	if v := g.ask(t, "/mcp", "", stranger); v.status != 401 {
		t.Errorf("another /64: %+v", v)
	}
	for who, authorization := range map[string]string{"known": "Bearer good-known", "a JWT": "Bearer " + jwt} {
		if v := g.ask(t, "/mcp", authorization, attacker); v.status != 0 {
			t.Errorf("a good token from the same address, %s: %+v", who, v)
		}
	}
	if v := g.ask(t, "/mcp", "Bearer good-new", stranger); v.status != 0 {
		t.Errorf("a new token from elsewhere: %+v", v)
	}
}

// What AUTHZ_AUDIENCE_MODE=report lets through is counted at each request, and said
// once in a cache life.
func TestReportedAudiencesAreCountedPerRequest(t *testing.T) {
	t.Parallel()
	issuer := issuertest.Start(t)
	serveKeys(issuer, signer)
	g := start(t, issuer.Issuer, func(s *config.Settings) { s.AudienceMode = "report" })
	g.await(t)
	for _, c := range []struct {
		aud any
		n   int
	}{{"https://other.example", 3}, {[]string{}, 2}, {public + "/mcp", 4}} {
		raw := signer.Sign(claims(issuer.Issuer, map[string]any{"aud": c.aud}))
		for range c.n {
			if v := g.bearer(t, raw); v.reason != "ok" {
				t.Fatalf("%+v", v)
			}
		}
	}
	_, text := g.get(t, "ops", "/metrics")
	for _, line := range []string{
		`authz_audience_reported_total{reason="audience_mismatch"} 3`, `authz_audience_reported_total{reason="audience_missing"} 2`,
		`authz_audience_reported_total{reason="scope_claim_missing"} 0`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	if n := strings.Count(g.log.String(), "token would be refused for its audience"); n != 2 {
		t.Errorf("said %d times", n)
	}
}

// Every reason that an answer can have is counted from the start, and so is
// every kind of call.
func TestMetricsExistBeforeTheirFirstEvent(t *testing.T) {
	t.Parallel()
	issuer := issuertest.Start(t)
	serveKeys(issuer, signer)
	g := start(t, issuer.Issuer, nil)
	g.await(t)
	_, text := g.get(t, "ops", "/metrics")
	for _, name := range []string{
		"authz_decisions_total{", "authz_decision_duration_seconds_bucket{", "authz_issuer_call_duration_seconds_bucket{", "authz_keys ", "authz_keys_age_seconds ",
		"authz_cached_accepted ", "authz_cached_refused ", "authz_deny_file_broken ", "go_goroutines ", "process_cpu_seconds_total ",
		`authz_issuer_call_duration_seconds_count{call="introspection",outcome="error"} 0`, `authz_issuer_call_duration_seconds_count{call="metadata",outcome="ok"} `,
		`authz_audience_reported_total{reason="audience_mismatch"} 0`, `authz_deny_file_reads_total{outcome="error"} 0`,
		`authz_decisions_total{decision="allow",reason="anonymous"} 0`, `authz_decisions_total{decision="deny",reason="too_many_requests"} 0`,
	} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("/metrics lacks %s", name)
		}
	}
}

// A broken kill switch, like any fault, keeps the server from starting.
func TestFaultsKeepItFromStarting(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "deny.yaml")
	if err := os.WriteFile(file, []byte("subjects: {"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Settings{PublicURL: public}.Validate()
	if err != nil {
		t.Fatal(err)
	}
	// Broken since it was looked at.
	c.DenyFile = file
	if err := serve.Run(t.Context(), c, metrics.Build{}, io.Discard); err == nil || !strings.Contains(err.Error(), "AUTHZ_DENY_FILE") {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); !slices.Equal(left, []string{file}) {
		t.Error(left)
	}
}
