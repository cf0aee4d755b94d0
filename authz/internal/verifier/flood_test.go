package verifier_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

// judgesByPrefix serves introspection that calls a token good if it begins with
// good or revoked, and the latter only once.
func judgesByPrefix(server *issuertest.Server) {
	var mu sync.Mutex
	asked := make(map[string]bool)
	server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
		raw := r.PostFormValue("token")
		mu.Lock()
		again := asked[raw]
		asked[raw] = true
		mu.Unlock()
		if strings.HasPrefix(raw, "good") || strings.HasPrefix(raw, "revoked") && !again {
			issuertest.JSON(active(server.Issuer, nil))(w, r)
			return
		}
		issuertest.JSON(`{"active":false}`)(w, r)
	})
}

// flood sends made-up tokens, 400 a second, and calls between before every tenth.
func flood(t *testing.T, ctx context.Context, v *verifier.Verifier, lasts time.Duration, bad func(i int) string, between func(i int)) {
	t.Helper()
	for i := range int(lasts / (2500 * time.Microsecond)) {
		if i%10 == 0 {
			between(i / 10)
		}
		switch _, err := v.Verify(ctx, bad(i)); reason(t, err) {
		case token.Inactive, token.IntrospectionBusy:
		default:
			t.Fatal(err)
		}
		time.Sleep(2500 * time.Microsecond)
	}
}

// outcomes counts what became of good tokens.
type outcomes struct{ passed, busy int }

func (o *outcomes) ask(t *testing.T, ctx context.Context, v *verifier.Verifier, raw string) {
	t.Helper()
	_, err := v.Verify(ctx, raw)
	switch reason(t, err) {
	case "":
		o.passed++
	case token.IntrospectionBusy:
		if e := err.(*token.Error); e.Kind != token.Unavailable || e.RetryAfter != time.Second {
			t.Errorf("%+v", e)
		}
		o.busy++
	default:
		t.Errorf("%s: %v", raw, err)
	}
}

// What a flood of made-up tokens, each sent once, does to good ones: nothing to
// those that were good before; those never seen pass at the latest when they come
// back as they were told.
func TestGoodTokensDuringAFlood(t *testing.T) {
	for name, c := range map[string]struct {
		doubted bool // the flood, and with it its neighbours
		bad     func(i int) string
		after   time.Duration // new good tokens come
		calls   int           // a second, at most
		first   bool          // new good tokens pass when they first come
	}{
		"from one address":    {true, func(i int) string { return fmt.Sprintf("made-%05d", i) }, 0, 20, false},
		"from many addresses": {false, func(i int) string { return fmt.Sprintf("made-%05d", i) }, 0, 60, false},
		// Each is asked about once; from then on they stand behind.
		"from one address, the same again":    {true, func(i int) string { return fmt.Sprintf("made-%05d", i%30) }, 2 * time.Second, 20, true},
		"from many addresses, the same again": {false, func(i int) string { return fmt.Sprintf("made-%05d", i%60) }, 2 * time.Second, 60, true},
	} {
		t.Run(name, func(t *testing.T) {
			short := func(o *verifier.Options) {
				withIntrospection(o)
				o.CacheMaxTTL, o.IntrospectionUnknownPerSecond = 200*time.Millisecond, 60
			}
			inBubble(t, short, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				judgesByPrefix(server)
				here, elsewhere := t.Context(), t.Context()
				if c.doubted {
					here = token.Doubt(here)
				}
				const known = 20
				lasts := 3*time.Second + c.after
				begin := int(c.after / (25 * time.Millisecond))
				for i := range known {
					if _, err := v.Verify(elsewhere, fmt.Sprintf("good-%05d", i)); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Second)
				before, good := server.Calls(issuertest.PathIntrospect), 0
				var old, fresh, back, others outcomes
				turnedAway := map[int]string{}
				flood(t, here, v, lasts, c.bad, func(i int) {
					// Their verdicts have ended: each is asked about again.
					if i%8 == 7 {
						for i := range known {
							old.ask(t, here, v, fmt.Sprintf("good-%05d", i))
						}
						good += known
					}
					if again, due := turnedAway[i-40]; due {
						back.ask(t, here, v, again)
						good++
					}
					if i%4 == 0 && i > begin+16 && i <= begin+76 {
						raw := fmt.Sprintf("good-1%04d", i)
						passed := fresh.passed
						fresh.ask(t, here, v, raw)
						if fresh.passed == passed {
							turnedAway[i] = raw
						} else {
							good++
						}
					}
					if c.doubted && i%4 == 2 {
						others.ask(t, elsewhere, v, fmt.Sprintf("good-2%04d", i))
						good++
					}
				})
				if old.busy > 0 || old.passed < 10*known {
					t.Errorf("known before: %+v", old)
				}
				if fresh.passed+fresh.busy != 15 || back.busy > 0 || back.passed != fresh.busy {
					t.Errorf("never seen: %+v, when they came back: %+v", fresh, back)
				}
				if c.first && fresh.busy > 0 {
					t.Errorf("never seen, while the flood is of tokens denied before: %+v", fresh)
				}
				if c.doubted && (others.busy > 0 || others.passed < 30) {
					t.Errorf("never seen, from elsewhere: %+v", others)
				}
				// One second's worth may come at once.
				if n, most := server.Calls(issuertest.PathIntrospect)-before-good, c.calls*int(lasts/time.Second+1)+1; n > most || n < c.calls {
					t.Errorf("%d calls for the flood in %s, want at most %d", n, lasts, most)
				}
			})
		})
	}
}

// A token that was revoked is known no longer, and what the issuer denied has no
// claim to the calls of others.
func TestRevokedTokensAreNotKnown(t *testing.T) {
	short := func(o *verifier.Options) {
		withIntrospection(o)
		o.CacheMaxTTL, o.IntrospectionUnknownPerSecond = time.Second, 1
	}
	inBubble(t, short, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		judgesByPrefix(server)
		for _, raw := range []string{"revoked-1", "good-0001"} {
			if _, err := v.Verify(t.Context(), raw); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if _, err := v.Verify(t.Context(), "revoked-1"); reason(t, err) != token.Inactive {
			t.Error(err)
		}
		flood(t, t.Context(), v, 2*time.Second, func(i int) string { return fmt.Sprintf("made-%04d", i) }, func(int) {})
		time.Sleep(5 * time.Second)
		flood(t, t.Context(), v, 100*time.Millisecond, func(i int) string { return fmt.Sprintf("more-%04d", i) }, func(int) {})
		if _, err := v.Verify(t.Context(), "revoked-1"); reason(t, err) != token.IntrospectionBusy {
			t.Error("revoked:", err)
		}
		if _, err := v.Verify(t.Context(), "good-0001"); err != nil {
			t.Error("good:", err)
		}
	})
}

// The rate of calls about unknown tokens is the setting's, even if each comes from
// an address of its own, and what is over it is 503.
func TestUnknownTokensAreAskedAboutAtTheSetRate(t *testing.T) {
	for _, rate := range []int{1, 10, 100} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			inBubble(t, func(o *verifier.Options) { withIntrospection(o); o.IntrospectionUnknownPerSecond = rate }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				judgesByPrefix(server)
				flood(t, t.Context(), v, 4*time.Second, func(i int) string { return fmt.Sprintf("made-%05d", i) }, func(int) {})
				if n, most := server.Calls(issuertest.PathIntrospect), 4*rate+max(8, rate)+1; n > most || n < 4*rate {
					t.Errorf("%d calls in 4 s, want %d to %d", n, 4*rate, most)
				}
			})
		})
	}
}

// A JWT that one of the issuer's keys signed is not made up.
func TestIntrospectedJWTsAreNotBoundByTheRate(t *testing.T) {
	inBubble(t, func(o *verifier.Options) {
		withIntrospection(o)
		o.IntrospectJWT, o.IntrospectionUnknownPerSecond = true, 1
	}, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(`{"active":true}`))
		for i := range 50 {
			if _, err := v.Verify(token.Doubt(t.Context()), sign(server.Issuer, map[string]any{"jti": fmt.Sprint(i)})); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// With a slow issuer the calls at once are what is scarce: a flood leaves a part of
// them to tokens for which more speaks, and a turn that comes free goes to the
// best of those that wait.
func TestTurnsGoToTheBetterTokensFirst(t *testing.T) {
	inBubble(t, func(o *verifier.Options) {
		withIntrospection(o)
		o.CacheMaxTTL, o.IntrospectionInFlight = time.Second, 8
	}, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		judgesByPrefix(server)
		prompt := server.Handler(issuertest.PathIntrospect)
		var all sync.WaitGroup
		ask := func(ctx context.Context, raw, want string) {
			all.Go(func() {
				if _, err := v.Verify(ctx, raw); reason(t, err) != want {
					t.Errorf("%s: %v, want %q", raw, err, want)
				}
			})
			synctest.Wait()
		}
		for i := range 2 {
			ask(t.Context(), fmt.Sprint("good-known-", i), "")
		}
		all.Wait()
		time.Sleep(2 * time.Second)

		server.Serve(issuertest.PathIntrospect, issuertest.Slow(200*time.Millisecond, prompt))
		doubted := token.Doubt(t.Context())
		for i := range 3 {
			ask(doubted, fmt.Sprint("made-doubt-", i), token.Inactive)
		}
		// Now 3 of 8 are taken, which is all that these may take.
		before := server.Calls(issuertest.PathIntrospect)
		ask(doubted, "made-doubt-9", token.Inactive)
		if n := server.Calls(issuertest.PathIntrospect) - before; n != 0 {
			t.Error("a doubted token got one of the turns that are left to others")
		}
		for i := range 3 {
			ask(t.Context(), fmt.Sprint("made-clean-", i), token.Inactive)
		}
		ask(t.Context(), "good-clean-1", "") // waits for a turn
		if n := server.Calls(issuertest.PathIntrospect) - before; n != 3 {
			t.Errorf("%d calls about tokens of other addresses, want 3", n)
		}
		for i := range 2 {
			ask(t.Context(), fmt.Sprint("good-known-", i), "")
		}
		if n := server.Calls(issuertest.PathIntrospect) - before; n != 5 {
			t.Errorf("%d calls, want 5: known tokens have turns of their own", n)
		}
		all.Wait()
	})
}
