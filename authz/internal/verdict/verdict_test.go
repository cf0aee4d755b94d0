package verdict_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/neonpanel/mcp-gateway/authz/internal/keys"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/verdict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCache(t testing.TB, size int) *verdict.Cache {
	t.Helper()
	cache, err := verdict.New(verdict.Config{MaxTTL: 5 * time.Minute, RefusedTTL: 5 * time.Second, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cache.Close)
	return cache
}

func TestVerdictComesBackWhole(t *testing.T) {
	t.Parallel()
	cache := newCache(t, 10)
	expires := time.Now().Add(time.Hour)
	for name, v := range map[string]verdict.Verdict{
		"everything": {ByKey: true, Key: keys.Thumbprint{1, 2, 3}, Identity: token.Identity{
			Subject: "46", ClientID: "client", ID: "id", Scopes: []string{"a", "b"}, IssuedAt: time.Unix(1710929557, 944255000), Expires: expires,
		}},
		"the least": {Identity: token.Identity{Subject: "46", Expires: expires}},
		"reported":  {Audience: token.ScopeClaimMissing, Identity: token.Identity{Subject: "46", Expires: expires}},
		"far dates": {Identity: token.Identity{Subject: "46", IssuedAt: time.Unix(0, 0), Expires: time.Unix(253402300799, 999)}},
	} {
		key := cache.Hash(name)
		if _, found := cache.Accepted(key); found {
			t.Fatal(name, "found before it was there")
		}
		cache.Accept(key, v)
		got, found := cache.Accepted(key)
		if !found {
			t.Fatal(name, "not found")
		}
		if !got.Identity.Expires.Equal(v.Identity.Expires) || !got.Identity.IssuedAt.Equal(v.Identity.IssuedAt) ||
			got.Identity.IssuedAt.IsZero() != v.Identity.IssuedAt.IsZero() {
			t.Errorf("%s: dates are %v and %v", name, got.Identity.IssuedAt, got.Identity.Expires)
		}
		got.Identity.Expires, got.Identity.IssuedAt = v.Identity.Expires, v.Identity.IssuedAt
		if !reflect.DeepEqual(got, v) {
			t.Errorf("%s: %+v, want %+v", name, got, v)
		}
		cache.Forget(key)
		if _, found := cache.Accepted(key); found {
			t.Error(name, "found after Forget")
		}
	}
}

func TestAcceptanceEndsWithTheTokenOrTheMaximum(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(t, 10)
		for life, kept := range map[time.Duration]time.Duration{
			time.Minute: time.Minute,
			time.Hour:   5 * time.Minute,
			-time.Hour:  0,
		} {
			key := cache.Hash(life.String())
			cache.Accept(key, verdict.Verdict{Identity: token.Identity{Subject: "46", Expires: time.Now().Add(life)}})
			if kept > 0 {
				time.Sleep(kept - time.Second)
				if _, found := cache.Accepted(key); !found {
					t.Errorf("life %v: gone too early", life)
				}
				time.Sleep(2 * time.Second)
			}
			if _, found := cache.Accepted(key); found {
				t.Errorf("life %v: still there", life)
			}
		}
	})
}

func TestWhatWasDecidedElsewhereEndsWhenItDoesThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(t, 10)
		now := time.Now()
		for name, c := range map[string]struct{ expires, until, lives time.Duration }{
			"of just now":         {time.Hour, 5 * time.Minute, 5 * time.Minute},
			"of a while ago":      {time.Hour, 20 * time.Second, 20 * time.Second},
			"of a dying token":    {10 * time.Second, time.Minute, 10 * time.Second},
			"of too long ago":     {time.Hour, 0, 0},
			"of an expired token": {0, time.Minute, 0},
		} {
			key := cache.Hash(name)
			cache.AcceptUntil(key, verdict.Verdict{Identity: token.Identity{Subject: "46", Expires: now.Add(c.expires)}}, now.Add(c.until))
			if _, found := cache.Accepted(key); found != (c.lives > 0) {
				t.Errorf("%s: found %v", name, found)
			}
		}
		time.Sleep(9 * time.Second)
		for _, name := range []string{"of a dying token", "of a while ago", "of just now"} {
			if _, found := cache.Accepted(cache.Hash(name)); !found {
				t.Errorf("%s is gone after 9 s", name)
			}
		}
		time.Sleep(12 * time.Second)
		for name, alive := range map[string]bool{"of a dying token": false, "of a while ago": false, "of just now": true} {
			if _, found := cache.Accepted(cache.Hash(name)); found != alive {
				t.Errorf("%s: found %v after 21 s", name, found)
			}
		}
	})
}

func TestRefusalEndsSoonAndWithTheKeySet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(t, 10)
		key := cache.Hash("bad")
		cache.Refuse(key, token.SignatureInvalid, 1)
		if err, found := cache.Refused(key, 1); !found || err.Reason != token.SignatureInvalid || err.Kind != token.Invalid {
			t.Error(err, found)
		}
		if _, found := cache.Refused(key, 2); found {
			t.Error("a refusal outlived its key set")
		}
		time.Sleep(6 * time.Second)
		if _, found := cache.Refused(key, 1); found {
			t.Error("a refusal lives too long")
		}
	})
}

func TestHashIsKeyedAndPerProcess(t *testing.T) {
	t.Parallel()
	a, b := newCache(t, 10), newCache(t, 10)
	if first, second := a.Hash("token"), a.Hash("token"); first != second {
		t.Error("not stable")
	}
	if a.Hash("token") == a.Hash("tokem") {
		t.Error("two tokens, one hash")
	}
	if a.Hash("token") == b.Hash("token") {
		t.Error("the secret is shared")
	}
}

func TestBoundsHoldInCountAndBytes(t *testing.T) {
	t.Parallel()
	const size = 100
	accept := func(cache *verdict.Cache, i, subject, scopes int) {
		list := make([]string, scopes)
		for n := range list {
			list[n] = fmt.Sprintf("scope-%d-%d", i, n)
		}
		cache.Accept(cache.Hash(fmt.Sprint(i)), verdict.Verdict{Identity: token.Identity{
			Subject: strings.Repeat("s", subject), Scopes: list, Expires: time.Now().Add(time.Hour),
		}})
	}
	// Eviction is not instant, unless it is asked for.
	held := func(cache *verdict.Cache) int {
		cache.CleanUp()
		n, _ := cache.Sizes()
		return n
	}
	small := newCache(t, size)
	for i := range 5000 {
		accept(small, i, 2, 2)
	}
	if n := held(small); n > size || n < size/2 {
		t.Errorf("%d of usual length held, want at most %d and most of them", n, size)
	}
	large := newCache(t, size)
	for i := range 5000 {
		accept(large, i, 250, 200)
	}
	if n := held(large); n > size/5 {
		t.Errorf("%d of great length held", n)
	}
	refusals := newCache(t, size)
	for i := range 5000 {
		refusals.Refuse(refusals.Hash(fmt.Sprint(i)), token.KeyUnknown, 1)
	}
	if n, _ := refusals.Sizes(); n != 0 {
		t.Error("refusals are among the acceptances")
	}
}
