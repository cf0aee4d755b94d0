// Package scopes holds the rules for OAuth scopes (RFC 6749 §3.3): which are in
// force, and what happens when one is missing.
package scopes

import (
	"slices"
	"strings"

	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

// Mode says what a missing scope leads to.
type Mode string

const (
	// Enforce refuses the request (RFC 6750 §3.1, insufficient_scope).
	Enforce Mode = "enforce"
	// Report lets it pass, logged and counted.
	Report Mode = "report"
	// Off does not look.
	Off Mode = "off"
)

// InForce is the list that is advertised and challenged for: what the operator
// configured, else what the issuer supports. It leaves out what is not a
// scope-token, repetitions, and offline_access, which a resource does not ask
// for: refresh tokens are between client and issuer (MCP 2026-07-28,
// authorization, "Refresh Tokens").
func InForce(configured, supported []string) []string {
	from := configured
	if from == nil {
		from = supported
	}
	var out []string
	for _, s := range from {
		if token.IsScopeToken(s) && s != "offline_access" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// Join writes a list as a scope value (RFC 6749 §3.3).
func Join(list []string) string { return strings.Join(list, " ") }
