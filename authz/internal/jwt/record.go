package jwt

import (
	"fmt"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
)

// checkOf is the check that a claim belongs to.
func checkOf(claim string) trail.Check {
	switch claim {
	case "iss":
		return trail.Issuer
	case "sub":
		return trail.Subject
	case "client_id", "azp":
		return trail.ClientID
	case "jti":
		return trail.TokenID
	case "aud":
		return trail.Audience
	case "exp":
		return trail.Expiry
	case "nbf":
		return trail.NotBefore
	case "iat":
		return trail.IssuedAt
	case "scope", "scp", "scopes":
		return trail.Scopes
	case "nonce", "at_hash", "c_hash":
		return trail.IDToken
	case "events", "token_use", "token_type", "typ":
		return trail.Use
	case "cnf":
		return trail.Confirmation
	}
	return ""
}

// record writes down what the claims were, once all of them are judged.
func (r *Rules) record(object strictjson.Object, c *claims, now time.Time, audience token.Reason, t *trail.Trail) {
	seen := make(map[trail.Check][]string)
	for _, member := range object {
		check := checkOf(member.Name)
		if check == "" {
			continue
		}
		text := string(member.Value)
		switch check {
		case trail.Confirmation:
			// What a token is bound to is nobody's business here.
			text = "present"
		case trail.Expiry:
			text += when(c.expires, now)
		case trail.NotBefore:
			text += when(c.notBefore, now)
		case trail.IssuedAt:
			text += when(c.issuedAt, now)
		}
		if string(check) != member.Name {
			text = member.Name + " " + text
		}
		seen[check] = append(seen[check], text)
	}
	for _, check := range trail.Claims {
		if texts := seen[check]; len(texts) > 0 {
			t.See(check, strings.Join(texts, ", "))
		} else {
			t.See(check, "absent")
		}
	}
	if len(seen[trail.Issuer]) == 0 {
		t.Note(trail.Issuer, "may be missing")
	}
	if len(seen[trail.ClientID]) == 0 {
		if client := r.client(c); client != "" {
			t.Note(trail.ClientID, "the client is taken from aud, which is no URI")
		}
	}
	if len(seen[trail.Scopes]) == 0 {
		t.Note(trail.Scopes, "no scope, scp or scopes: none are granted")
	} else if len(c.scopes) == 0 {
		t.Note(trail.Scopes, "none are granted")
	}
	if audience != "" {
		t.Note(trail.Audience, "would be refused ("+audience+"); only reported")
	}
	t.Pass(trail.Claims...)
}

// when says a date for people.
func when(date, now time.Time) string {
	if date.IsZero() {
		return ""
	}
	distance := now.Sub(date)
	relation := "%s ago"
	if distance < 0 {
		distance, relation = -distance, "in %s"
	}
	return " (" + date.UTC().Format(time.RFC3339) + ", " + fmt.Sprintf(relation, roughly(distance)) + ")"
}

func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}
