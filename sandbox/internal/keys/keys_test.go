package keys_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/keys"
)

func kids(t *testing.T, r *keys.Ring) []string {
	t.Helper()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(r.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, k := range set.Keys {
		if k["kty"] != "RSA" || k["alg"] != "RS256" || k["use"] != "sig" || k["d"] != nil || k["p"] != nil {
			t.Errorf("published: %v", k)
		}
		out = append(out, k["kid"].(string))
	}
	return out
}

func sign(t *testing.T, r *keys.Ring) string {
	t.Helper()
	raw, err := r.Sign("at+jwt", true, map[string]string{"sub": "46"})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestRotation(t *testing.T) {
	t.Parallel()
	r, err := keys.New()
	if err != nil {
		t.Fatal(err)
	}
	good := func(raw string, want bool) {
		t.Helper()
		if _, _, err := r.Verify(raw); (err == nil) != want {
			t.Errorf("verified: %v, want %v", err, want)
		}
	}
	rotate := func(m keys.Mode) {
		t.Helper()
		if err := r.Rotate(m); err != nil {
			t.Fatal(err)
		}
	}
	first, firstKid := sign(t, r), kids(t, r)
	good(first, true)

	rotate(keys.Next)
	second := sign(t, r)
	if got := kids(t, r); len(got) != 2 || got[0] != firstKid[0] {
		t.Errorf("after next: %v", got)
	}
	good(first, true)
	good(second, true)

	rotate(keys.Retire)
	good(first, false)
	good(second, true)
	if got := kids(t, r); len(got) != 1 {
		t.Errorf("after retire: %v", got)
	}

	before := kids(t, r)
	rotate(keys.SameKid)
	if got := kids(t, r); !slices.Equal(got, before) {
		t.Errorf("after same_kid: %v, want %v", got, before)
	}
	good(second, false)
	third := sign(t, r)
	good(third, true)

	rotate(keys.Replace)
	if got := kids(t, r); len(got) != 1 || got[0] == before[0] {
		t.Errorf("after replace: %v", got)
	}
	good(third, false)

	if err := r.Rotate("sideways"); err == nil {
		t.Error("an unknown mode is accepted")
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	r, err := keys.New()
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, r)
	parts := strings.Split(good, ".")
	enc := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	other := parts[2][1:] + "A"
	for name, raw := range map[string]string{
		"nothing":           "",
		"no signature":      parts[0] + "." + parts[1] + ".",
		"another signature": parts[0] + "." + parts[1] + "." + other,
		"another payload":   parts[0] + "." + enc(`{"sub":"47"}`) + "." + parts[2],
		"alg none":          enc(`{"alg":"none"}`) + "." + parts[1] + ".",
		"alg HS256":         enc(`{"alg":"HS256"}`) + "." + parts[1] + "." + parts[2],
		"alg RS512":         enc(`{"alg":"RS512"}`) + "." + parts[1] + "." + parts[2],
		"unknown kid":       enc(`{"alg":"RS256","kid":"x"}`) + "." + parts[1] + "." + parts[2],
	} {
		if _, _, err := r.Verify(raw); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, _, err := r.Verify(parts[0] + "." + parts[1] + "." + other); !errors.Is(err, keys.ErrSignature) {
		t.Errorf("another signature: %v", err)
	}
	payload, typ, err := r.Verify(good)
	if err != nil || typ != "at+jwt" || string(payload) != `{"sub":"46"}` {
		t.Errorf("got %s, %s, %v", payload, typ, err)
	}
}

func TestOldKeysAreBounded(t *testing.T) {
	t.Parallel()
	r, err := keys.New()
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := r.Rotate(keys.Next); err != nil {
			t.Fatal(err)
		}
	}
	if got := kids(t, r); len(got) != 4 {
		t.Errorf("%d keys are published, want 4", len(got))
	}
	good := sign(t, r)
	if _, _, err := r.Verify(good); err != nil {
		t.Error(err)
	}
}
