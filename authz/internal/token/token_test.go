package token_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

func TestEveryReasonIsComplete(t *testing.T) {
	t.Parallel()
	for _, reason := range token.Reasons() {
		err := token.Refuse(reason, nil)
		if err.Reason != reason || err.Description == "" {
			t.Errorf("%+v", err)
		}
		if (err.Kind == token.Unavailable) != (err.RetryAfter > 0) {
			t.Errorf("%s: Retry-After goes with 503 and only with it", reason)
		}
		// RFC 6750 §3: the characters of error_description.
		if strings.ContainsFunc(err.Description, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
			t.Errorf("%s: %q cannot be sent in a header", reason, err.Description)
		}
	}
}

// RFC 7662 §2.2: active is false for an expired or unknown token, too.
func TestOnlyADeniedTokenIsCalledRevokedForSure(t *testing.T) {
	t.Parallel()
	for reason, want := range map[token.Reason]string{
		token.Inactive: "is not active: it has expired, was revoked, or was never issued;",
		token.Denied:   "has been revoked;",
	} {
		if got := token.Refuse(reason, nil).Description; !strings.Contains(got, want) {
			t.Errorf("%s: %q", reason, got)
		}
	}
}

func TestUnknownReasonFailsClosed(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	err := token.Refuse("made up", cause)
	if err.Reason != token.Internal || err.Kind != token.Unavailable || !errors.Is(err, cause) {
		t.Errorf("%+v", err)
	}
}

func TestScopeTokens(t *testing.T) {
	t.Parallel()
	// RFC 6749 §3.3.
	for s, want := range map[string]bool{
		"read:inventory": true, "!": true, "#$%&'()*+,-./": true, "~": true, "[]": true,
		"": false, "a b": false, `a"b`: false, `a\b`: false, "a\x7f": false, "\t": false, "é": false,
	} {
		if token.IsScopeToken(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

func TestMissingScopesAreMatchedWhole(t *testing.T) {
	t.Parallel()
	id := token.Identity{Scopes: []string{"mcp:toolsmith", "read:inventory", "write:import"}}
	got := id.Missing("write:import", "mcp:tools", "read:inventory", "read:", "READ:INVENTORY")
	if !slices.Equal(got, []string{"mcp:tools", "read:", "READ:INVENTORY"}) {
		t.Error(got)
	}
	if id.Missing() != nil || len(token.Identity{}.Missing("a")) != 1 {
		t.Error("empty sets")
	}
}
