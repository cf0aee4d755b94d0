package identity

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Unix(1_800_000_000, 0)

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestFromRequestReadsTheCaller(t *testing.T) {
	t.Parallel()
	c, err := FromRequest(headers(
		HeaderAuth, "bearer", HeaderSubject, "46", HeaderClientID, "app", HeaderScopes, "read:a  read:b",
		HeaderScopesSupported, "read:a read:b read:c", HeaderExpires, "1800000060", HeaderChallenge, `realm="mcp"`,
		HeaderScopeMode, "report", "Authorization", "bEARER  abc.def",
	), now)
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != "46" || c.ClientID != "app" || !slices.Equal(c.Scopes, []string{"read:a", "read:b"}) || c.Token != "abc.def" ||
		c.ScopeMode != Report || !c.Expires.Equal(now.Add(time.Minute)) || c.Challenge != `realm="mcp"` || c.Anonymous {
		t.Errorf("caller %+v", c)
	}
	if got := c.Missing([]string{"read:a", "read:c", "read:unheard"}); !slices.Equal(got, []string{"read:c"}) {
		t.Errorf("missing %v, want read:c", got)
	}
	for _, printed := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c)} {
		if strings.Contains(printed, "abc.def") {
			t.Errorf("printing shows the token: %s", printed)
		}
	}
}

func TestTheAnonymousHaveNothing(t *testing.T) {
	t.Parallel()
	c, err := FromRequest(headers(HeaderAuth, "anonymous", HeaderSubject, "46", HeaderScopes, "read:a", "Authorization", "Bearer x"), now)
	if err != nil || !c.Anonymous || c.Subject != "" || c.Scopes != nil || c.Token != "" || c.ScopeMode != Enforce {
		t.Errorf("caller %+v, %v", c, err)
	}
}

func TestFaultsNameTheHeaderAndNoValue(t *testing.T) {
	t.Parallel()
	_, err := FromRequest(headers(HeaderAuth, "bearer", HeaderExpires, "secret-1", "Authorization", "Digest secret-2", HeaderScopeMode, "secret-3"), now)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{HeaderSubject, HeaderExpires, HeaderScopeMode, "Authorization"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("%v shows a value", err)
	}
}

// FuzzFromRequest: whatever the headers hold, a caller that is not anonymous
// has a subject, a token of one word and a future expiry.
func FuzzFromRequest(f *testing.F) {
	f.Add("bearer", "46", "1800000060", "Bearer x", "enforce")
	f.Add("anonymous", "", "", "", "")
	f.Add("bearer", " ", "9223372036854775808", "Bearer a,b", "off")
	f.Add("bearer", "46", "+1800000060", "Bearer\tx", "")
	f.Fuzz(func(t *testing.T, auth, subject, expires, authorization, mode string) {
		c, err := FromRequest(headers(HeaderAuth, auth, HeaderSubject, subject, HeaderExpires, expires, "Authorization", authorization, HeaderScopeMode, mode), now)
		if err != nil {
			return
		}
		if c.Anonymous {
			if c.Token != "" || c.Subject != "" {
				t.Fatalf("anonymous %+v", c)
			}
			return
		}
		if strings.TrimSpace(c.Subject) == "" || c.Token == "" || strings.ContainsAny(c.Token, " ,\t") || !c.Expires.After(now) ||
			(c.ScopeMode != Enforce && c.ScopeMode != Report && c.ScopeMode != Off) {
			t.Fatalf("caller %q %q %v %q", c.Subject, c.Token, c.Expires, c.ScopeMode)
		}
	})
}
