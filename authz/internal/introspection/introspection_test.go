package introspection_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/clientauth"
	"github.com/neonpanel/mcp-gateway/authz/internal/introspection"
	"github.com/neonpanel/mcp-gateway/authz/internal/jwt"
	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"active":true,"sub":"46","scope":"a b","exp":1900000000}`))
	f.Add([]byte(`{"active":false}`))
	f.Add([]byte(`{"active":"true"}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		object, err := introspection.Parse(body)
		if err != nil {
			return
		}
		if active := string(object.Get("active")); active != "true" && active != "false" {
			t.Fatalf("active is %s", active)
		}
	})
}

// canned is a transport that answers everything with one body.
type canned []byte

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(c)), Request: r}, nil
}

// FuzzResponse: whatever the issuer answers, a refusal is of the closed set, an
// identity has a user and a future, and one that a JWT vouches for is only ever
// narrowed.
func FuzzResponse(f *testing.F) {
	const exp = 4_000_000_000
	f.Add([]byte(`{"active":true,"sub":"46","aud":"https://a.example","scope":"a b","exp":3900000000}`))
	f.Add([]byte(`{"active":true}`))
	f.Add([]byte(`{"active":true,"scope":"a c","client_id":"client","iss":"https://i.example"}`))
	f.Add([]byte(`{"active":true,"exp":4100000000,"scopes":["b","c"],"token_type":"bearer"}`))
	f.Add([]byte(`{"active":true,"sub":"47"}`))
	f.Add([]byte(`{"active":false}`))
	f.Add([]byte(`{"active":true,"exp":1e300,"cnf":{}}`))
	rules := jwt.Rules{Issuer: "https://i.example", Audiences: []string{"https://a.example"}}
	object, err := strictjson.ParseObject([]byte(`{"iss":"https://i.example","sub":"46","aud":"https://a.example","client_id":"client","scope":"a b","exp":4000000000}`))
	if err != nil {
		f.Fatal(err)
	}
	own, err := rules.Judge(object, time.Now(), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		client := introspection.New(introspection.Config{
			Find: func() (string, error) { return "https://i.example/introspect", nil }, Client: upstream.New(canned(body)),
			Auth:  clientauth.Basic{ClientID: "gateway", Secret: func() (string, error) { return "secret", nil }},
			Rules: rules, Wait: time.Second, Timeout: time.Minute, InFlight: 1,
		})
		refused := func(err error) bool {
			var refusal *token.Error
			if err != nil && (!errors.As(err, &refusal) || !slices.Contains(token.Reasons(), refusal.Reason)) {
				t.Fatalf("not of the closed set: %v", err)
			}
			return err != nil
		}
		if said, err := client.Introspect(context.Background(), "opaque", 1, nil); !refused(err) {
			if said.Identity.Subject == "" || !said.Identity.Expires.After(time.Now()) {
				t.Fatalf("%+v", said)
			}
		}
		if said, err := client.Confirm(context.Background(), "a.b.c", own); !refused(err) {
			who := said.Identity
			if who.Subject != "46" || who.ClientID != "client" || who.Expires.Unix() > exp || len(own.Identity.Missing(who.Scopes...)) > 0 {
				t.Fatalf("widened: %+v", who)
			}
		}
	})
}
