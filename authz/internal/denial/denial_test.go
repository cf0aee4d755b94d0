package denial_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/denial"
)

func TestStatusOfEachCode(t *testing.T) {
	t.Parallel()
	for code, want := range map[denial.Code]int{
		denial.InvalidRequest: 400, denial.InvalidToken: 401, denial.InsufficientScope: 403,
		denial.TooManyRequests: 429, denial.TemporarilyUnavailable: 503, "unheard_of": 503, "": 503,
	} {
		if got := denial.New("", denial.Case{Code: code}).Status; got != want {
			t.Errorf("%q: %d, want %d", code, got, want)
		}
	}
}

func TestRetryAfterIsWholeSecondsAndAtLeastOne(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]string{
		0: "1", -time.Second: "1", time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", 30 * time.Second: "30",
	} {
		got := denial.New("", denial.Case{Code: denial.TooManyRequests, RetryAfter: wait}).Headers[0]
		if got != (denial.Header{Name: "retry-after", Value: want}) {
			t.Errorf("%v: %v, want %s", wait, got, want)
		}
	}
}

// challengeForm is a challenge of RFC 9110 §11.6.1 with the attributes that
// RFC 6750 §3 and RFC 9728 §5.1 define, quoted with their characters only.
var challengeForm = regexp.MustCompile(`^Bearer realm="mcp", resource_metadata="[\x20-\x21\x23-\x5B\x5D-\x7E]*"` +
	`(, error="[a-z_]+"(, error_description="[\x20-\x21\x23-\x5B\x5D-\x7E]+")?)?(, scope="[\x20-\x21\x23-\x5B\x5D-\x7E]+")?$`)

// FuzzChallenge feeds the builder what it should never be given: no text breaks
// out of its quotes, or the body out of JSON.
func FuzzChallenge(f *testing.F) {
	f.Add("https://mcp.example.com/.well-known/oauth-protected-resource/mcp", "The access token has expired.", "read:companies", false)
	f.Add(`https://x/", error="x`, "a\r\nset-cookie: a=b", `"`, true)
	f.Add("\\", "\\\"", "\x00", false)
	f.Add("é", "\xff", "ü", true)
	f.Fuzz(func(t *testing.T, url, description, scope string, bare bool) {
		d := denial.New(denial.Base(url), denial.Case{Code: denial.InvalidToken, Description: description, Scope: scope, Bare: bare})
		if d.Status != 401 || d.Headers[0].Name != "www-authenticate" {
			t.Fatalf("%+v", d)
		}
		if !challengeForm.MatchString(d.Headers[0].Value) {
			t.Fatalf("not a challenge: %q", d.Headers[0].Value)
		}
		var body map[string]string
		if err := json.Unmarshal([]byte(d.Body), &body); err != nil || strings.ContainsAny(d.Body, "\r\n") {
			t.Fatalf("body %q: %v", d.Body, err)
		}
		for _, h := range d.Headers {
			if h.Value == "" || strings.ContainsAny(h.Value, "\r\n\x00") {
				t.Fatalf("header %s: %q", h.Name, h.Value)
			}
		}
	})
}
