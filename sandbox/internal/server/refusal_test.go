package server_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A fault that the client may be told of comes back to it, with its state and
// the issuer (RFC 9207), whether or not the person has signed in.
func TestAuthorizeTellsTheClient(t *testing.T) {
	t.Parallel()
	s := shared(t)
	public, confidential, post := s.register("none", web), s.register("client_secret_basic", web), s.register("client_secret_post", web)
	for name, c := range map[string]struct {
		app    app
		change []string
		extra  string // appended as it is
		want   string
	}{
		"no response_type":             {app: public, change: []string{"response_type", ""}, want: "invalid_request"},
		"implicit":                     {app: public, change: []string{"response_type", "token"}, want: "unsupported_response_type"},
		"hybrid":                       {app: public, change: []string{"response_type", "code id_token"}, want: "unsupported_response_type"},
		"fragment":                     {app: public, change: []string{"response_mode", "fragment"}, want: "invalid_request"},
		"request object":               {app: public, change: []string{"request", "e30.e30."}, want: "request_not_supported"},
		"request uri":                  {app: public, change: []string{"request_uri", "https://client.example/r"}, want: "request_uri_not_supported"},
		"no PKCE":                      {app: public, change: []string{"code_challenge", "", "code_challenge_method", ""}, want: "invalid_request"},
		"no PKCE, secret in Basic":     {app: confidential, change: []string{"code_challenge", "", "code_challenge_method", ""}, want: "invalid_request"},
		"no PKCE, secret in the body":  {app: post, change: []string{"code_challenge", "", "code_challenge_method", ""}, want: "invalid_request"},
		"method without challenge":     {app: confidential, change: []string{"code_challenge", ""}, want: "invalid_request"},
		"plain":                        {app: public, change: []string{"code_challenge_method", "plain"}, want: "invalid_request"},
		"plain by default":             {app: public, change: []string{"code_challenge_method", ""}, want: "invalid_request"},
		"plain with a secret":          {app: confidential, change: []string{"code_challenge_method", "plain"}, want: "invalid_request"},
		"short challenge":              {app: public, change: []string{"code_challenge", "abc"}, want: "invalid_request"},
		"padded challenge":             {app: public, change: []string{"code_challenge", strings.Repeat("a", 43) + "="}, want: "invalid_request"},
		"unknown scope":                {app: public, change: []string{"scope", "read:companies admin"}, want: "invalid_scope"},
		"quoted scope":                 {app: public, change: []string{"scope", `"`}, want: "invalid_scope"},
		"unknown resource":             {app: public, change: []string{"resource", "https://elsewhere.example/"}, want: "invalid_target"},
		"resource with a fragment":     {app: public, change: []string{"resource", gateway + "#x"}, want: "invalid_target"},
		"relative resource":            {app: public, change: []string{"resource", "/mcp"}, want: "invalid_target"},
		"one resource of two unknown":  {app: public, extra: "&resource=https%3A%2F%2Felsewhere.example", want: "invalid_target"},
		"scope twice":                  {app: public, extra: "&scope=openid", want: "invalid_request"},
		"challenge twice":              {app: public, extra: "&code_challenge=" + strings.Repeat("a", 43), want: "invalid_request"},
		"prompt none, not signed in":   {app: public, change: []string{"prompt", "none"}, want: "login_required"},
		"prompt none and login":        {app: public, change: []string{"prompt", "none login"}, want: "invalid_request"},
		"max_age that is not a number": {app: public, change: []string{"max_age", "soon"}, want: "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := s.get("/oauth2/authorize?" + s.story(c.app, c.change...).params.Encode() + c.extra)
			got := told(t, a, web)
			if got.Get("error") != c.want || got.Get("state") != "xyzzy" || got.Get("iss") != s.issuer || got.Has("code") || got.Get("error_description") == "" {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

// A fault in who asks, or where to go back to, is shown to the person and
// never redirects (RFC 6749 §4.1.2.1).
func TestAuthorizeTellsThePerson(t *testing.T) {
	t.Parallel()
	s := shared(t)
	one := s.register("none", web)
	two := s.register("none", web, "https://client.example/other")
	loop := s.register("none", native)
	for name, c := range map[string]struct {
		app    app
		change []string
		extra  string
	}{
		"no client":                   {app: one, change: []string{"client_id", ""}},
		"unknown client":              {app: one, change: []string{"client_id", "nobody"}},
		"a client without redirects":  {app: one, change: []string{"client_id", "neonpanel-sandbox"}},
		"another site":                {app: one, change: []string{"redirect_uri", "https://evil.example/callback"}},
		"a longer path":               {app: one, change: []string{"redirect_uri", web + "/x"}},
		"a query on top":              {app: one, change: []string{"redirect_uri", web + "?x=1"}},
		"a trailing slash":            {app: one, change: []string{"redirect_uri", web + "/"}},
		"another case":                {app: one, change: []string{"redirect_uri", "https://client.example/Callback"}},
		"a port on an https URI":      {app: one, change: []string{"redirect_uri", "https://client.example:444/callback"}},
		"http instead of https":       {app: one, change: []string{"redirect_uri", "http://client.example/callback"}},
		"a user name":                 {app: loop, change: []string{"redirect_uri", "http://x@127.0.0.1:4567/callback"}},
		"another loopback path":       {app: loop, change: []string{"redirect_uri", "http://127.0.0.1:4567/other"}},
		"loopback by another name":    {app: loop, change: []string{"redirect_uri", "http://localhost:4567/callback"}},
		"a fragment":                  {app: loop, change: []string{"redirect_uri", native + "#x"}},
		"script":                      {app: one, change: []string{"redirect_uri", "javascript:alert(1)"}},
		"none given, two registered":  {app: two, change: []string{"redirect_uri", ""}},
		"two given":                   {app: two, extra: "&redirect_uri=https%3A%2F%2Fevil.example"},
		"two clients":                 {app: one, extra: "&client_id=x"},
		"unreadable escapes":          {app: one, extra: "&state=%zz"},
		"a foreign one after a fault": {app: one, change: []string{"redirect_uri", "https://evil.example/", "response_type", "token"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := s.get("/oauth2/authorize?" + s.story(c.app, c.change...).params.Encode() + c.extra)
			if a.StatusCode != http.StatusBadRequest || a.Header.Get("Location") != "" || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
				t.Errorf("got %s, Location %q, %s", a.Status, a.Header.Get("Location"), a.Header.Get("Content-Type"))
			}
			if strings.Contains(string(a.body), "evil.example") {
				t.Error("the page repeats what the stranger sent")
			}
		})
	}
}

func TestAuthorizeAccepts(t *testing.T) {
	t.Parallel()
	s := shared(t)
	public := s.register("none", web)
	loop := s.register("none", native)
	for name, st := range map[string]story{
		"another loopback port":       s.story(app{id: loop.id, redirect: "http://127.0.0.1:9999/callback"}),
		"no redirect_uri, one known":  s.story(public, "redirect_uri", "", "scope", "read:companies"),
		"no state":                    s.story(public, "state", ""),
		"no scope":                    s.story(public, "scope", ""),
		"no resource":                 s.story(public, "resource", ""),
		"resource in upper case":      s.story(public, "resource", "HTTP://GATEWAY.TEST/mcp"),
		"unknown parameters":          s.story(public, "audience", "anything", "foo", "bar"),
		"response_mode query":         s.story(public, "response_mode", "query"),
		"prompt consent, max_age 0":   s.story(public, "prompt", "consent", "max_age", "0"),
		"a redirect URI with a query": s.story(s.register("none", "https://client.example/cb?a=b")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := s.person().decide(st, "seller-one@example.com", "allow")
			if got.Get("code") == "" || got.Get("iss") != s.issuer || got.Has("state") != st.params.Has("state") {
				t.Errorf("got %v", got)
			}
			if strings.Contains(st.app.redirect, "?a=b") && got.Get("a") != "b" {
				t.Errorf("the registered query is lost: %v", got)
			}
		})
	}
}

func TestDeny(t *testing.T) {
	t.Parallel()
	s := shared(t)
	got := s.person().decide(s.story(s.register("none", web)), "seller-one@example.com", "deny")
	if got.Get("error") != "access_denied" || got.Get("state") != "xyzzy" || got.Get("iss") != s.issuer || got.Has("code") {
		t.Errorf("got %v", got)
	}
}

func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	s := shared(t)
	public, basicApp, postApp := s.register("none", web), s.register("client_secret_basic", web), s.register("client_secret_post", web)
	stranger := s.register("none", web)
	otherVerifier, _ := pkce()
	for name, c := range map[string]struct {
		app    app
		change []string // changes to the token request
		extra  string
		header []string
		path   string
		status int
		want   string
	}{
		"no grant_type":                   {app: public, change: []string{"grant_type", ""}, want: "invalid_request"},
		"password grant":                  {app: public, change: []string{"grant_type", "password"}, want: "unsupported_grant_type"},
		"client credentials":              {app: basicApp, change: []string{"grant_type", "client_credentials", "client_id", ""}, header: basic(basicApp.id, basicApp.secret), want: "unsupported_grant_type"},
		"two grant types":                 {app: public, change: []string{"grant_type", "authorization_code refresh_token"}, want: "unsupported_grant_type"},
		"no code":                         {app: public, change: []string{"code", ""}, want: "invalid_request"},
		"unknown code":                    {app: public, change: []string{"code", "a.b"}, want: "invalid_grant"},
		"no client":                       {app: public, change: []string{"client_id", ""}, status: 401, want: "invalid_client"},
		"unknown client":                  {app: public, change: []string{"client_id", "nobody"}, status: 401, want: "invalid_client"},
		"another client's code":           {app: public, change: []string{"client_id", stranger.id}, want: "invalid_grant"},
		"no verifier":                     {app: public, change: []string{"code_verifier", ""}, want: "invalid_grant"},
		"wrong verifier":                  {app: public, change: []string{"code_verifier", otherVerifier}, want: "invalid_grant"},
		"the challenge as verifier":       {app: public, change: []string{"code_verifier", "challenge"}, want: "invalid_grant"},
		"no verifier, with a secret":      {app: postApp, change: []string{"code_verifier", "", "client_secret", postApp.secret}, want: "invalid_grant"},
		"no redirect_uri":                 {app: public, change: []string{"redirect_uri", ""}, want: "invalid_grant"},
		"another redirect_uri":            {app: public, change: []string{"redirect_uri", web + "/"}, want: "invalid_grant"},
		"unknown resource":                {app: public, change: []string{"resource", "https://elsewhere.example"}, want: "invalid_target"},
		"resource that was not granted":   {app: public, change: []string{"resource", other}, want: "invalid_target"},
		"code twice":                      {app: public, extra: "&code=x", want: "invalid_request"},
		"parameters in the URL":           {app: public, path: "/oauth2/token?grant_type=authorization_code", want: "invalid_request"},
		"JSON":                            {app: public, header: []string{"Content-Type", "application/json"}, want: "invalid_request"},
		"no content type":                 {app: public, header: []string{"Content-Type", ""}, want: "invalid_request"},
		"too big":                         {app: public, extra: "&x=" + strings.Repeat("x", 70<<10), want: "invalid_request"},
		"secret client without secret":    {app: basicApp, status: 401, want: "invalid_client"},
		"wrong secret":                    {app: basicApp, change: []string{"client_id", ""}, header: basic(basicApp.id, "x"), status: 401, want: "invalid_client"},
		"secret in the body, not Basic":   {app: basicApp, change: []string{"client_secret", basicApp.secret}, status: 401, want: "invalid_client"},
		"Basic, not in the body":          {app: postApp, change: []string{"client_id", ""}, header: basic(postApp.id, postApp.secret), status: 401, want: "invalid_client"},
		"two ways at once":                {app: basicApp, change: []string{"client_secret", basicApp.secret}, header: basic(basicApp.id, basicApp.secret), want: "invalid_request"},
		"two clients":                     {app: basicApp, change: []string{"client_id", public.id}, header: basic(basicApp.id, basicApp.secret), want: "invalid_request"},
		"assertion":                       {app: public, change: []string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", "a.b.c"}, status: 401, want: "invalid_client"},
		"unreadable Basic is no Basic":    {app: public, change: []string{"client_id", ""}, header: []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("nocolon"))}, status: 401, want: "invalid_client"},
		"refresh without refresh_token":   {app: public, change: []string{"grant_type", "refresh_token"}, want: "invalid_request"},
		"refresh with an unknown token":   {app: public, change: []string{"grant_type", "refresh_token", "refresh_token", "a.b"}, want: "invalid_grant"},
		"refresh with somebody's code":    {app: public, change: []string{"grant_type", "refresh_token", "refresh_token", "code"}, want: "invalid_grant"},
		"a secret for a client with none": {app: public, change: []string{"client_secret", "x"}, status: 401, want: "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := s.story(c.app)
			code := s.person().decide(st, "seller-one@example.com", "allow").Get("code")
			change := append([]string{}, c.change...)
			for i := range change {
				switch change[i] {
				case "challenge":
					change[i] = st.params.Get("code_challenge")
				case "code":
					if i%2 == 1 {
						change[i] = code
					}
				}
			}
			path := c.path
			if path == "" {
				path = "/oauth2/token"
			}
			header := append([]string{"Content-Type", "application/x-www-form-urlencoded"}, c.header...)
			a := do(t, plain(), request(t, http.MethodPost, s.issuer+path, st.exchange(code, change...).Encode()+c.extra, header...))
			status := c.status
			if status == 0 {
				status = http.StatusBadRequest
			}
			body := a.json(t)
			if a.StatusCode != status || body["error"] != c.want || body["error_description"] == "" {
				t.Errorf("got %s %s, want %d %s", a.Status, a.body, status, c.want)
			}
			if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("headers: %v", a.Header)
			}
			// RFC 6749 §5.2: whoever tried Basic is told to try it again.
			tried := len(c.header) == 2 && c.header[0] == "Authorization" && status == http.StatusUnauthorized && name != "unreadable Basic is no Basic"
			if got := a.Header.Get("WWW-Authenticate") != ""; got != tried {
				t.Errorf("WWW-Authenticate: %q", a.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

// A client with a secret that used PKCE cannot come back without the verifier
// after a wrong one.
func TestPKCECannotBeShakenOff(t *testing.T) {
	t.Parallel()
	s := shared(t)
	a := s.register("client_secret_post", web)
	st := s.story(a)
	code := s.person().decide(st, "seller-one@example.com", "allow").Get("code")
	wrong, _ := pkce()
	for name, verifier := range map[string]string{"wrong": wrong, "none": ""} {
		r := s.postForm("/oauth2/token", st.exchange(code, "code_verifier", verifier, "client_secret", a.secret))
		if r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s verifier: %s %s", name, r.Status, r.body)
		}
	}
	if r := s.postForm("/oauth2/token", st.exchange(code, "code_verifier", "", "client_secret", a.secret)); r.StatusCode != http.StatusBadRequest {
		t.Errorf("no verifier after a wrong one: %s %s", r.Status, r.body)
	}
	if r := s.postForm("/oauth2/token", st.exchange(code, "client_secret", a.secret)); r.StatusCode != http.StatusOK {
		t.Errorf("the right verifier: %s %s", r.Status, r.body)
	}
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for method, send := range map[string]func(a app, f url.Values) []string{
		"none":                func(app, url.Values) []string { return nil },
		"client_secret_post":  func(a app, f url.Values) []string { f.Set("client_secret", a.secret); return nil },
		"client_secret_basic": func(a app, f url.Values) []string { f.Del("client_id"); return basic(a.id, a.secret) },
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			a := s.register(method, web)
			st := s.story(a)
			form := st.exchange(s.person().decide(st, "seller-one@example.com", "allow").Get("code"))
			header := send(a, form)
			if r := s.postForm("/oauth2/token", form, header...); r.StatusCode != http.StatusOK {
				t.Errorf("%s %s", r.Status, r.body)
			}
		})
	}
}

// RFC 8707: the grant holds what was asked for; a token request may narrow it.
func TestResources(t *testing.T) {
	t.Parallel()
	s := shared(t)
	a := s.register("none", web)
	both := s.story(a)
	both.params["resource"] = []string{gateway, other}
	tokens := s.grant(both, "seller-one@example.com")
	if aud, ok := claims(t, str(t, tokens, "access_token"))["aud"].([]any); !ok || len(aud) != 2 {
		t.Errorf("aud of both: %v", claims(t, str(t, tokens, "access_token"))["aud"])
	}
	refresh := func(raw, resource, scope string) map[string]any {
		t.Helper()
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {raw}, "client_id": {a.id}}
		if resource != "" {
			form.Set("resource", resource)
		}
		if scope != "" {
			form.Set("scope", scope)
		}
		return s.postForm("/oauth2/token", form).json(t)
	}
	narrow := refresh(str(t, tokens, "refresh_token"), other, "read:companies")
	if c := claims(t, str(t, narrow, "access_token")); c["aud"] != other || c["scope"] != "read:companies" || narrow["scope"] != "read:companies" {
		t.Errorf("narrowed: %v", c)
	}
	if narrow["id_token"] != nil {
		t.Error("an ID token without the scope openid")
	}
	// A refused request spends nothing.
	if r := refresh(str(t, narrow, "refresh_token"), "", "write:import"); r["error"] != "invalid_scope" {
		t.Errorf("more scope: %v", r)
	}
	if r := refresh(str(t, narrow, "refresh_token"), "https://elsewhere.example", ""); r["error"] != "invalid_target" {
		t.Errorf("another resource: %v", r)
	}
	wide := refresh(str(t, narrow, "refresh_token"), "", "")
	if aud, ok := claims(t, str(t, wide, "access_token"))["aud"].([]any); !ok || len(aud) != 2 {
		t.Errorf("after a narrow token the grant is as wide as before: %v", wide)
	}

	none := s.grant(s.story(a, "resource", ""), "seller-one@example.com")
	if aud := claims(t, str(t, none, "access_token"))["aud"]; aud != gateway {
		t.Errorf("default audience: %v", aud)
	}
}

func TestIntrospectionAndRevocationRefusals(t *testing.T) {
	t.Parallel()
	s := shared(t)
	public, secret, foreign := s.register("none", web), s.register("client_secret_basic", web), s.register("none", web)
	tokens := s.grant(s.story(public), "seller-one@example.com")
	access := str(t, tokens, "access_token")
	for name, c := range map[string]struct {
		path   string
		form   url.Values
		header []string
		status int
		want   string
	}{
		"introspect without client":      {"/oauth2/introspect", url.Values{"token": {access}}, nil, 401, "invalid_client"},
		"introspect as public client":    {"/oauth2/introspect", url.Values{"token": {access}, "client_id": {public.id}}, nil, 401, "invalid_client"},
		"introspect with wrong secret":   {"/oauth2/introspect", url.Values{"token": {access}}, basic("gateway", "x"), 401, "invalid_client"},
		"introspect with a bearer token": {"/oauth2/introspect", url.Values{"token": {access}}, []string{"Authorization", "Bearer " + access}, 401, "invalid_client"},
		"introspect nothing":             {"/oauth2/introspect", url.Values{"x": {"y"}}, basic("gateway", gatewaySecret), 400, "invalid_request"},
		"introspect another's token":     {"/oauth2/introspect", url.Values{"token": {access}}, basic(secret.id, secret.secret), 200, ""},
		"introspect a refresh token":     {"/oauth2/introspect", url.Values{"token": {str(t, tokens, "refresh_token")}}, basic("gateway", gatewaySecret), 200, ""},
		"introspect nonsense":            {"/oauth2/introspect", url.Values{"token": {"nonsense"}}, basic("gateway", gatewaySecret), 200, ""},
		"introspect with token in URL":   {"/oauth2/introspect?token=x", url.Values{"token": {"x"}}, basic("gateway", gatewaySecret), 400, "invalid_request"},
		"revoke without client":          {"/oauth2/revoke", url.Values{"token": {access}}, nil, 401, "invalid_client"},
		"revoke nothing":                 {"/oauth2/revoke", url.Values{"client_id": {public.id}}, nil, 400, "invalid_request"},
		"revoke another's token":         {"/oauth2/revoke", url.Values{"token": {access}, "client_id": {foreign.id}}, nil, 400, "unauthorized_client"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.postForm(c.path, c.form, c.header...)
			if a.StatusCode != c.status {
				t.Errorf("got %s %s, want %d", a.Status, a.body, c.status)
			}
			if c.status == 200 {
				if m := a.json(t); len(m) != 1 || m["active"] != false {
					t.Errorf("got %s, want only inactive", a.body)
				}
			} else if a.text(t, "error") != c.want {
				t.Errorf("got %s, want %s", a.body, c.want)
			}
		})
	}
	if r := s.postForm("/oauth2/revoke", url.Values{"token": {"nonsense"}, "client_id": {public.id}}); r.StatusCode != http.StatusOK {
		t.Errorf("revoking an unknown token: %s, want 200 (RFC 7009 section 2.2)", r.Status)
	}
	if r := s.api(access); r.StatusCode != http.StatusOK {
		t.Errorf("after all refusals the token is %s, want it good", r.Status)
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for path, allow := range map[string]string{
		"/oauth2/token": "POST", "/oauth2/register": "POST", "/oauth2/revoke": "POST", "/oauth2/introspect": "POST",
		"/.well-known/jwks.json": "GET", "/.well-known/oauth-authorization-server": "GET", "/.well-known/openid-configuration": "GET",
	} {
		method := http.MethodGet
		if allow == http.MethodGet {
			method = http.MethodPost
		}
		for _, method := range []string{method, http.MethodPut} {
			a := do(t, plain(), request(t, method, s.issuer+path, ""))
			if a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != allow || a.text(t, "error") == "" {
				t.Errorf("%s %s: %s, Allow %q", method, path, a.Status, a.Header.Get("Allow"))
			}
		}
		preflight := do(t, plain(), request(t, http.MethodOptions, s.issuer+path, "", "Origin", "https://x.example", "Access-Control-Request-Method", allow))
		if path == "/oauth2/introspect" {
			// Not for browsers: its clients have a secret.
			if preflight.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s may be called from any web page", path)
			}
			continue
		}
		if preflight.StatusCode != http.StatusNoContent || preflight.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(preflight.Header.Get("Access-Control-Allow-Methods"), allow) {
			t.Errorf("preflight of %s: %s %v", path, preflight.Status, preflight.Header)
		}
	}
}
