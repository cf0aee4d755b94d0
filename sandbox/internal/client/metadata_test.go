package client_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/client"
)

func TestParseFillsInDefaults(t *testing.T) {
	t.Parallel()
	m, err := client.Parse([]byte(` {"redirect_uris":["https://a.example/cb"],"unknown":{"x":[1]},"scope":"anything"}`))
	if err != nil {
		t.Fatal(err)
	}
	if m.AuthMethod != "client_secret_basic" || !slices.Equal(m.GrantTypes, []string{"authorization_code"}) || !slices.Equal(m.ResponseTypes, []string{"code"}) {
		t.Errorf("got %+v", m)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const uri = `"redirect_uris":["https://a.example/cb"]`
	for name, c := range map[string]struct{ body, code string }{
		"nothing":                      {"", "invalid_client_metadata"},
		"null":                         {"null", "invalid_client_metadata"},
		"an array":                     {"[]", "invalid_client_metadata"},
		"two objects":                  {"{" + uri + "}{}", "invalid_client_metadata"},
		"not UTF-8":                    {"{\"client_name\":\"\xff\"}", "invalid_client_metadata"},
		"redirect_uris is a string":    {`{"redirect_uris":"https://a.example/"}`, "invalid_client_metadata"},
		"redirect_uris holds a number": {`{"redirect_uris":[1]}`, "invalid_client_metadata"},
		"no redirect_uris":             {`{}`, "invalid_redirect_uri"},
		"empty redirect_uris":          {`{"redirect_uris":[]}`, "invalid_redirect_uri"},
		"an empty redirect URI":        {`{"redirect_uris":[""]}`, "invalid_redirect_uri"},
		"one bad of two":               {`{"redirect_uris":["https://a.example/","http://a.example/"]}`, "invalid_redirect_uri"},
		"too many":                     {`{"redirect_uris":[` + strings.Repeat(`"https://a.example/",`, 20) + `"https://a.example/"]}`, "invalid_redirect_uri"},
		"unknown auth method":          {`{` + uri + `,"token_endpoint_auth_method":"tls_client_auth"}`, "invalid_client_metadata"},
		"no usable grant":              {`{` + uri + `,"grant_types":["client_credentials"]}`, "invalid_client_metadata"},
		"empty grants":                 {`{` + uri + `,"grant_types":[]}`, "invalid_client_metadata"},
		"no usable response type":      {`{` + uri + `,"response_types":["token"]}`, "invalid_client_metadata"},
		"a name with a line break":     {`{` + uri + `,"client_name":"a\nb"}`, "invalid_client_metadata"},
		"a name that runs backwards":   {`{` + uri + `,"client_name":"\u202eknaB"}`, "invalid_client_metadata"},
		"a very long name":             {`{` + uri + `,"client_name":"` + strings.Repeat("x", 201) + `"}`, "invalid_client_metadata"},
		"a logo that is script":        {`{` + uri + `,"logo_uri":"javascript:alert(1)"}`, "invalid_client_metadata"},
		"a relative client_uri":        {`{` + uri + `,"client_uri":"/x"}`, "invalid_client_metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.Parse([]byte(c.body))
			var e *client.Error
			if !errors.As(err, &e) || e.Code != c.code || e.Description == "" {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
}

// Whatever is accepted is complete, safe, and accepted again when it comes
// back as the server wrote it.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"redirect_uris":["https://a.example/cb"]}`,
		`{"redirect_uris":["http://127.0.0.1:1/cb"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"client_name":"x"}`,
		`{"redirect_uris":["http://a.example/"]}`, `[]`, `{"redirect_uris":null,"contacts":["a"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := client.Parse(body)
		if err != nil {
			var e *client.Error
			if !errors.As(err, &e) || e.Code == "" || e.Description == "" {
				t.Fatalf("an error without code: %v", err)
			}
			return
		}
		if len(m.RedirectURIs) == 0 || m.AuthMethod == "" || len(m.GrantTypes) == 0 || len(m.ResponseTypes) == 0 {
			t.Fatalf("incomplete: %+v", m)
		}
		for _, uri := range m.RedirectURIs {
			if err := client.CheckRedirectURI(uri); err != nil {
				t.Fatal(err)
			}
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Parse(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}
