package explain

import (
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
)

// claims are what proposals are made from. Nothing is decided on by them: what
// is proposed is judged by the verifier.
type claims struct {
	isJWT     bool
	algorithm string
	issuer    string
	audience  []string
	notBefore time.Time
	scopes    bool
}

func read(raw string, judged strictjson.Object) claims {
	c := claims{isJWT: jws.Looks(raw)}
	if parsed, err := jws.Parse(raw); err == nil {
		c.algorithm = parsed.Algorithm
	}
	for _, member := range judged {
		switch member.Name {
		case "iss":
			c.issuer, _ = member.Value.Text()
		case "aud":
			if one, err := member.Value.Text(); err == nil {
				c.audience = []string{one}
			} else {
				c.audience, _ = member.Value.Texts()
			}
		case "nbf":
			c.notBefore, _ = member.Value.Date()
		case "scope", "scp", "scopes":
			c.scopes = true
		}
	}
	return c
}
