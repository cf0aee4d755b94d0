package jwt_test

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/jwt"
	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

// FuzzJudge: whatever the claims are, an accepted Identity is fit to become
// headers, and a refusal is of the closed set.
func FuzzJudge(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	f.Add([]byte(`{"iss":"https://i.example","sub":"46","aud":"https://a.example","exp":1900000000,"scope":"a b"}`))
	f.Add([]byte(`{"aud":"client","jti":"x","iat":1710929557.944255,"nbf":1,"exp":1900000000.5,"sub":"46","scopes":[]}`))
	f.Add([]byte(`{"sub":"46\n","exp":1e300,"scp":["a b"],"cnf":{}}`))
	strict := jwt.Rules{Issuer: "https://i.example", Audiences: []string{"https://a.example"}, Leeway: 30 * time.Second}
	loose := jwt.Rules{Issuer: "https://i.example", AnyAudience: true, AllowMissingIssuer: true, ReportAudience: true}
	f.Fuzz(func(t *testing.T, claims []byte) {
		object, err := strictjson.ParseObject(claims)
		if err != nil {
			return
		}
		_, strictErr := strict.Judge(object, now, nil)
		for _, rules := range []jwt.Rules{strict, loose} {
			judgement, err := rules.Judge(object, now, nil)
			if err != nil {
				var refusal *token.Error
				if !errors.As(err, &refusal) || !slices.Contains(token.Reasons(), refusal.Reason) || refusal.Kind != token.Invalid {
					t.Fatalf("%v", err)
				}
				continue
			}
			id := judgement.Identity
			if id.Subject == "" || !id.Expires.After(now) {
				t.Fatalf("accepted: %+v", id)
			}
			for _, s := range []string{id.Subject, id.ClientID, id.ID} {
				for i := 0; i < len(s); i++ {
					if s[i] < 0x20 || s[i] == 0x7f {
						t.Fatalf("control byte in %q", s)
					}
				}
			}
			if !slices.IsSorted(id.Scopes) || slices.ContainsFunc(id.Scopes, func(s string) bool { return !token.IsScopeToken(s) }) {
				t.Fatalf("scopes are %q", id.Scopes)
			}
		}
		if _, looseErr := loose.Judge(object, now, nil); strictErr == nil && looseErr != nil {
			t.Fatal("looser rules refuse more")
		}
	})
}

// RFC 8707 §2: a resource is an absolute URI. What begins like one counts, proper or
// not, so that a slip does not turn the name of another resource into a client's id.
func TestAudiencesThatNameAResource(t *testing.T) {
	t.Parallel()
	for audience, want := range map[string]bool{
		"https://api.example.com": true, "HTTPS://API.EXAMPLE.COM/x?y": true, "http://x": true, "urn:example:api": true, "api://6731de76": true,
		"a+b-c.1:x": true, "https:api": true, "https://x#fragment": true, "https://a b": true, "https://": true, "1https://x": true, "://x": true,
		"localhost:8080": true, "client": false, "9d2f1a3b-55aa-4c3e": false, "46": false, "": false, "api.example.com/x": false, "//api.example.com": false,
		":x": false, "4:x": false, "-a:b": false, "a_b:c": false, "a b:c": false, "/a:b": false,
	} {
		if jwt.NamesResource(audience) != want {
			t.Errorf("%q: %v", audience, !want)
		}
		rules := jwt.Rules{AnyAudience: true, AllowMissingIssuer: true, Audiences: []string{"https://mcp.example.com"}}
		object := strictjson.Object{
			{Name: "sub", Value: strictjson.Value(`"46"`)}, {Name: "exp", Value: strictjson.Value("1900000000")},
			{Name: "scope", Value: strictjson.Value(`"a"`)}, {Name: "aud", Value: strictjson.Value(strconv.Quote(audience))},
		}
		said, err := rules.Judge(object, time.Unix(1_800_000_000, 0), nil)
		if (err != nil) != want {
			t.Errorf("any, %q: %v", audience, err)
		}
		if said.Identity.ClientID != "" && said.Identity.ClientID != audience {
			t.Errorf("%q: %+v", audience, said.Identity)
		}
		rules.Audiences = []string{audience}
		if _, err := rules.Judge(object, time.Unix(1_800_000_000, 0), nil); err != nil {
			t.Errorf("%q accepted by name: %v", audience, err)
		}
	}
}
