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

func read(raw string) claims {
	c := claims{isJWT: jws.Looks(raw)}
	parsed, err := jws.Parse(raw)
	if err != nil {
		return c
	}
	c.algorithm = parsed.Algorithm
	object, err := strictjson.ParseObject(parsed.Payload)
	if err != nil {
		return c
	}
	for _, member := range object {
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
