package jwt_test

import (
	"errors"
	"slices"
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
