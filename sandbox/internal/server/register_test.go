package server_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/config"
)

func TestMetadata(t *testing.T) {
	t.Parallel()
	s := shared(t)
	var documents []string
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		a := s.get(path)
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %s %v", path, a.Status, a.Header)
		}
		documents = append(documents, string(a.body))
	}
	if documents[0] != documents[1] {
		t.Error("the two documents differ")
	}
	var m struct {
		Issuer       string   `json:"issuer"`
		Authorize    string   `json:"authorization_endpoint"`
		Token        string   `json:"token_endpoint"`
		Register     string   `json:"registration_endpoint"`
		JWKS         string   `json:"jwks_uri"`
		Challenge    []string `json:"code_challenge_methods_supported"`
		Methods      []string `json:"token_endpoint_auth_methods_supported"`
		Grants       []string `json:"grant_types_supported"`
		IssInAnswers bool     `json:"authorization_response_iss_parameter_supported"`
		Scopes       []string `json:"scopes_supported"`
	}
	if err := json.Unmarshal([]byte(documents[0]), &m); err != nil {
		t.Fatal(err)
	}
	if m.Issuer != s.issuer || m.Authorize != s.issuer+"/oauth2/authorize" || m.Token != s.issuer+"/oauth2/token" || m.Register != s.issuer+"/oauth2/register" || m.JWKS != s.issuer+"/.well-known/jwks.json" {
		t.Errorf("endpoints: %+v", m)
	}
	if !slices.Equal(m.Challenge, []string{"S256"}) || !m.IssInAnswers || !slices.Contains(m.Scopes, "read:companies") {
		t.Errorf("features: %+v", m)
	}
	// What the document promises is tried by TestClientAuthentication.
	if !slices.Equal(m.Methods, []string{"none", "client_secret_basic", "client_secret_post"}) || !slices.Equal(m.Grants, []string{"authorization_code", "refresh_token"}) {
		t.Errorf("methods %v, grants %v", m.Methods, m.Grants)
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	s := shared(t)
	a := s.postJSON(s.issuer+"/oauth2/register", map[string]any{
		"client_name": "Editor", "redirect_uris": []string{native}, "client_uri": "https://editor.example", "scope": "openid",
		"grant_types": []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"}, "application_type": "native",
	})
	m := a.json(t)
	if a.StatusCode != http.StatusCreated || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s %s", a.Status, a.body)
	}
	// Defaults of RFC 7591 §2; of the grants, those that exist.
	if m["token_endpoint_auth_method"] != "client_secret_basic" || str(t, m, "client_secret") == "" || m["client_secret_expires_at"] != 0.0 || len(m["grant_types"].([]any)) != 2 {
		t.Errorf("got %v", m)
	}
	id := str(t, m, "client_id")
	if len(id) != 40 || str(t, m, "registration_client_uri") != s.issuer+"/oauth2/register/"+id || str(t, m, "registration_access_token") == "" || m["client_id_issued_at"] == nil {
		t.Errorf("got %v", m)
	}
}

func TestRegisterRefuses(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for name, c := range map[string]struct{ body, contentType, want string }{
		"nothing":           {"", "application/json", "invalid_client_metadata"},
		"not JSON":          {"redirect_uris=x", "application/json", "invalid_client_metadata"},
		"a form":            {"redirect_uris=x", "application/x-www-form-urlencoded", "invalid_client_metadata"},
		"no redirect":       {"{}", "application/json", "invalid_redirect_uri"},
		"plain http":        {`{"redirect_uris":["http://client.example/"]}`, "application/json", "invalid_redirect_uri"},
		"private_key_jwt":   {`{"redirect_uris":["https://c.example/"],"token_endpoint_auth_method":"private_key_jwt"}`, "application/json", "invalid_client_metadata"},
		"bigger than 64 KB": {`{"client_name":"` + strings.Repeat("x", 70<<10) + `"}`, "application/json", "invalid_client_metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := do(t, plain(), request(t, http.MethodPost, s.issuer+"/oauth2/register", c.body, "Content-Type", c.contentType))
			if a.StatusCode != http.StatusBadRequest || a.text(t, "error") != c.want || a.text(t, "error_description") == "" {
				t.Errorf("got %s %s, want 400 %s", a.Status, a.body, c.want)
			}
		})
	}
}

// RFC 7592: read and delete, with the client's own token only.
func TestManageRegistration(t *testing.T) {
	t.Parallel()
	s := shared(t)
	mine, foreign := s.register("none", web), s.register("none", web)
	manage := func(method string, a app, token string) answer {
		t.Helper()
		return do(t, plain(), request(t, method, a.management, "", "Authorization", token))
	}
	tokens := s.grant(s.story(mine), "seller-one@example.com")

	for name, a := range map[string]answer{
		"no token":        manage(http.MethodGet, mine, ""),
		"another's token": manage(http.MethodGet, mine, "Bearer "+foreign.token),
		"another scheme":  manage(http.MethodDelete, mine, "Basic "+mine.token),
		"a Basic pair":    manage(http.MethodDelete, mine, basic(mine.id, mine.token)[1]),
		"unknown client":  do(t, plain(), request(t, http.MethodGet, s.issuer+"/oauth2/register/nobody", "", "Authorization", "Bearer "+mine.token)),
		"permanent one":   do(t, plain(), request(t, http.MethodDelete, s.issuer+"/oauth2/register/neonpanel-sandbox", "", "Authorization", "Bearer ")),
	} {
		if a.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: %s", name, a.Status)
		}
	}
	if a := manage(http.MethodPut, mine, "Bearer "+mine.token); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %s", a.Status)
	}
	if a := manage(http.MethodGet, mine, "Bearer "+mine.token); a.StatusCode != http.StatusOK || a.text(t, "client_id") != mine.id {
		t.Errorf("GET: %s %s", a.Status, a.body)
	}
	if a := manage(http.MethodDelete, mine, "Bearer "+mine.token); a.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE: %s %s", a.Status, a.body)
	}
	if a := manage(http.MethodGet, mine, "Bearer "+mine.token); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("GET after DELETE: %s", a.Status)
	}
	if a := s.api(str(t, tokens, "access_token")); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("its token after DELETE: %s", a.Status)
	}
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {str(t, tokens, "refresh_token")}, "client_id": {mine.id}}
	if a := s.postForm("/oauth2/token", refresh); a.StatusCode != http.StatusUnauthorized || a.text(t, "error") != "invalid_client" {
		t.Errorf("its refresh token after DELETE: %s %s", a.Status, a.body)
	}
	if a := s.get("/oauth2/authorize?" + s.story(mine).params.Encode()); a.StatusCode != http.StatusBadRequest {
		t.Errorf("authorize after DELETE: %s", a.Status)
	}
}

func TestQuirks(t *testing.T) {
	t.Parallel()
	quirky := start(t, func(f *config.Flags) { f.Quirks = []string{"register-html", "basic-html"} })
	isPage := func(a answer) bool {
		return a.StatusCode == http.StatusInternalServerError && strings.HasPrefix(a.Header.Get("Content-Type"), "text/html")
	}
	if a := quirky.postJSON(quirky.issuer+"/oauth2/register", map[string]any{"redirect_uris": []string{web}}); !isPage(a) || !strings.Contains(string(a.body), "$secretHash") {
		t.Errorf("register: %s %s", a.Status, a.body)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}
	if a := quirky.postForm("/oauth2/token", form, basic("x", "y")...); !isPage(a) || !strings.Contains(string(a.body), "TypeError") {
		t.Errorf("Basic without client_id: %s %s", a.Status, a.body)
	}
	form.Set("client_id", "x")
	if a := quirky.postForm("/oauth2/token", form, basic("x", "y")...); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("Basic with client_id: %s %s", a.Status, a.body)
	}
	healthy := shared(t)
	form.Del("client_id")
	if a := healthy.postForm("/oauth2/token", form, basic("x", "y")...); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the quirk: %s %s", a.Status, a.body)
	}
}

// The kind of token is the operator's choice; the flow is the same.
func TestTokenKinds(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"opaque", "passport"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := start(t, func(f *config.Flags) { f.TokenKind, f.TokenTTL = kind, "5m" })
			a := s.register("none", web)
			tokens := s.grant(s.story(a), "seller-two@example.com")
			raw := str(t, tokens, "access_token")
			if tokens["expires_in"] != 300.0 {
				t.Errorf("expires_in %v", tokens["expires_in"])
			}
			switch kind {
			case "opaque":
				if strings.Count(raw, ".") == 2 {
					t.Error("an opaque token looks like a JWT")
				}
			case "passport":
				c := claims(t, raw)
				if c["aud"] != a.id || c["iss"] != nil || c["scope"] != nil || len(c["scopes"].([]any)) != 3 || len(str(t, c, "jti")) != 80 {
					t.Errorf("claims: %v", c)
				}
			}
			if r := s.api(raw); r.StatusCode != http.StatusOK {
				t.Errorf("API: %s %s", r.Status, r.body)
			}
			s.clock.Advance(301e9)
			if r := s.api(raw); r.StatusCode != http.StatusUnauthorized {
				t.Errorf("API after the token's time: %s", r.Status)
			}
		})
	}
}
