// Package denial writes every refusal of this service: one constructor for
// challenges, one place where an error becomes a status, headers and a body.
package denial

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Code is the error code of a challenge (RFC 6750 §3.1).
type Code string

// The codes of RFC 6750 §3.1 that this service uses. None means that no
// credential was sent, and the challenge then says nothing of an error.
const (
	None              Code = ""
	InvalidToken      Code = "invalid_token"
	InsufficientScope Code = "insufficient_scope"
)

// Description is a sentence of a closed list: nothing that a client sent is
// ever part of a challenge.
type Description string

// The closed list.
const (
	SignIn        Description = "Sign in to NeonPanel to use this."
	RefusedByAPI  Description = "NeonPanel refused the access token. Sign in again."
	Expired       Description = "The access token expired while the request was running. Sign in again."
	MissingScope  Description = "The access token lacks a scope that this tool needs."
	NoDescription Description = ""
)

// MetaKey is where a tool result carries a challenge for clients that cannot
// see the HTTP status.
const MetaKey = "mcp/www_authenticate"

// Challenge builds the value of a WWW-Authenticate header (RFC 6750 §3) from
// the realm and resource_metadata that the gateway gave for the path.
func Challenge(params string, code Code, description Description, scopes []string) string {
	if params == "" {
		params = `realm="mcp"`
	}
	var b strings.Builder
	b.WriteString("Bearer ")
	b.WriteString(params)
	if code != None {
		param(&b, "error", string(code))
	}
	if description != NoDescription && code != None {
		param(&b, "error_description", string(description))
	}
	if len(scopes) > 0 {
		param(&b, "scope", strings.Join(scopes, " "))
	}
	return b.String()
}

// param appends an auth-param with a quoted-string (RFC 9110 §5.6.4).
func param(b *strings.Builder, name, value string) {
	b.WriteString(", ")
	b.WriteString(name)
	b.WriteString(`="`)
	for i := range len(value) {
		switch c := value[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= 0x20 && c < 0x7f:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}

// Denial is a refused request.
type Denial struct {
	Status      int
	Code        string
	Description string
	// Challenge is the WWW-Authenticate header; empty for none.
	Challenge string
	// Mirror repeats the challenge in the body as _meta["mcp/www_authenticate"].
	Mirror bool
	// RetryAfter is left out when zero.
	RetryAfter time.Duration
	// Allow lists the methods of a 405 (RFC 9110 §15.5.6).
	Allow string
}

// body is the error of RFC 6749 §5.2, which RFC 6750 leaves open.
type body struct {
	Error       string              `json:"error"`
	Description string              `json:"error_description,omitempty"`
	Meta        map[string][]string `json:"_meta,omitempty"`
}

// Unauthenticated is a 401 with a challenge.
func Unauthenticated(params string, code Code, description Description, scopes []string) Denial {
	return Denial{
		Status: http.StatusUnauthorized, Code: string(InvalidToken), Description: string(description),
		Challenge: Challenge(params, code, description, scopes), Mirror: true,
	}
}

// Insufficient is a 403 that names all the scopes that the operation needs
// (RFC 6750 §3.1).
func Insufficient(params string, scopes []string) Denial {
	return Denial{
		Status: http.StatusForbidden, Code: string(InsufficientScope), Description: string(MissingScope),
		Challenge: Challenge(params, InsufficientScope, MissingScope, scopes), Mirror: true,
	}
}

// MethodNotAllowed is a 405.
func MethodNotAllowed(allow, description string) Denial {
	return Denial{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Description: description, Allow: allow}
}

// Invalid is a 4xx for a request that is wrong in itself.
func Invalid(status int, description string) Denial {
	return Denial{Status: status, Code: "invalid_request", Description: description}
}

// Header sets the headers of the denial but writes nothing.
func (d Denial) Header(h http.Header) {
	h.Set("Cache-Control", "no-store")
	if d.Challenge != "" {
		h.Set("WWW-Authenticate", d.Challenge)
	}
	if d.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((d.RetryAfter+time.Second-1)/time.Second)))
	}
	if d.Allow != "" {
		h.Set("Allow", d.Allow)
	}
}

// Write answers the request.
func (d Denial) Write(w http.ResponseWriter) {
	b := body{Error: d.Code, Description: d.Description}
	if d.Mirror && d.Challenge != "" {
		b.Meta = map[string][]string{MetaKey: {d.Challenge}}
	}
	data, _ := json.Marshal(b) // strings only: it cannot fail
	h := w.Header()
	d.Header(h)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(d.Status)
	_, _ = w.Write(data) // the client may be gone
}
