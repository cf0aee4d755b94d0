package keys_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/keys"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	refresh  = 5 * time.Minute
	maxStale = time.Hour
	cooldown = 10 * time.Second
	wait     = 1500 * time.Millisecond
	timeout  = 3 * time.Second
	waiting  = 50
)

var (
	one    = issuertest.NewSigner("EdDSA", "one", 1)
	two    = issuertest.NewSigner("EdDSA", "two", 2)
	rsaOne = issuertest.NewSigner("RS256", "one", 1)
	three  = issuertest.NewSigner("EdDSA", "three", 3)
)

// source is a JWKS endpoint whose answers a test sets.
type source struct {
	mu      sync.Mutex
	answer  func(ctx context.Context) ([]byte, error)
	fetches int
}

func (s *source) fetch(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	s.fetches++
	answer := s.answer
	s.mu.Unlock()
	return answer(ctx)
}

func (s *source) set(answer func(ctx context.Context) ([]byte, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

func serve(document string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(document), nil }
}

func serveKeys(signers ...*issuertest.Signer) func(context.Context) ([]byte, error) {
	return serve(issuertest.JWKS(signers...))
}

func fail(context.Context) ([]byte, error) { return nil, errors.New("answered with status 503") }

func hang(ctx context.Context) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func slow(after time.Duration, then func(context.Context) ([]byte, error)) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			return then(ctx)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// run runs a test on fake time with a Set that has made its first fetch.
func run(t *testing.T, first func(context.Context) ([]byte, error), test func(t *testing.T, s *keys.Set, from *source)) {
	t.Helper()
	runCooled(t, cooldown, first, test)
}

func runCooled(t *testing.T, cooldown time.Duration, first func(context.Context) ([]byte, error), test func(t *testing.T, s *keys.Set, from *source)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		from := &source{answer: first}
		set := keys.New(keys.Config{
			Fetch: from.fetch, Algorithms: jws.Algorithms(),
			Refresh: refresh, MaxStale: maxStale, Cooldown: cooldown, Wait: wait, Waiting: waiting, Timeout: timeout,
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- set.Run(ctx) }()
		synctest.Wait()
		test(t, set, from)
		cancel()
		if err := <-ended; err != nil {
			t.Error("Run:", err)
		}
	})
}

// verify verifies a token issued now, and returns the reason and how long it
// took.
func verify(t *testing.T, s *keys.Set, signer *issuertest.Signer) (string, time.Duration) {
	t.Helper()
	return verifyIssued(t, s, signer, time.Now())
}

func verifyIssued(t *testing.T, s *keys.Set, signer *issuertest.Signer, issued time.Time) (string, time.Duration) {
	t.Helper()
	return verifyRaw(t, s, signer.Sign(map[string]any{"sub": "46"}), issued)
}

func verifyRaw(t *testing.T, s *keys.Set, raw string, issued time.Time) (string, time.Duration) {
	t.Helper()
	parsed, err := jws.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = s.Verify(t.Context(), parsed, issued)
	took := time.Since(began)
	if err == nil {
		return "", took
	}
	var refusal *token.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("%T is not a *token.Error", err)
	}
	return refusal.Reason, took
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: reason %q, want %q", what, got, want)
	}
}

// A known key serves through every kind of outage, at once, until the set is
// too old; then there is no verdict, rather than a refusal.
func TestKnownKeyServesThroughOutage(t *testing.T) {
	for name, outage := range map[string]func(context.Context) ([]byte, error){
		"status 503":          fail,
		"hang":                hang,
		"HTML with 200":       serve("<html>busy</html>"),
		"empty set with 200":  serve(`{"keys":[]}`),
		"no keys member":      serve(`{}`),
		"keys is null":        serve(`{"keys":null}`),
		"truncated":           serve(issuertest.JWKS(one)[:100]),
		"bytes after":         serve(issuertest.JWKS(one) + "x"),
		"only unusable keys":  serve(`{"keys":[{"kty":"oct","k":"AAAA","kid":"one"}]}`),
		"duplicate members":   serve(`{"keys":[],` + issuertest.JWKS(two)[1:]),
		"empty body":          serve(""),
		"panic in the client": func(context.Context) ([]byte, error) { panic("boom") },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
				from.set(outage)
				for range 11 {
					time.Sleep(refresh)
					reason, took := verify(t, s, one)
					expect(t, "known key", reason, "")
					if took != 0 {
						t.Errorf("known key took %v", took)
					}
				}
				time.Sleep(refresh + time.Second)
				reason, _ := verify(t, s, one)
				expect(t, "known key, set too old", reason, token.KeysStale)

				from.set(serveKeys(one))
				time.Sleep(time.Minute)
				reason, _ = verify(t, s, one)
				expect(t, "after the outage", reason, "")
			})
		})
	}
}

// An unknown key in an outage is no verdict, never a refusal, and never holds
// anybody longer than the wait.
func TestUnknownKeyInOutage(t *testing.T) {
	for name, c := range map[string]struct {
		outage  func(context.Context) ([]byte, error)
		longest time.Duration
	}{
		"status 503":    {fail, 0},
		"hang":          {hang, wait},
		"HTML with 200": {serve("<html>"), 0},
		"empty set":     {serve(`{"keys":[]}`), 0},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
				time.Sleep(time.Minute)
				from.set(c.outage)
				before := from.count()
				for range 100 {
					reason, took := verify(t, s, two)
					expect(t, "unknown key", reason, token.KeyPending)
					if took > c.longest {
						t.Errorf("unknown key took %v", took)
					}
					reason, took = verify(t, s, one)
					expect(t, "known key meanwhile", reason, "")
					if took != 0 {
						t.Errorf("known key took %v", took)
					}
				}
				if elapsed, n := 150*time.Second, from.count()-before; n > int(elapsed/cooldown)+1 {
					t.Errorf("%d fetches", n)
				}
			})
		})
	}
}

func TestHangThenRecovery(t *testing.T) {
	run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
		time.Sleep(time.Minute)
		from.set(hang)
		reason, _ := verify(t, s, two)
		expect(t, "while hung", reason, token.KeyPending)
		from.set(serveKeys(one, two))
		// The hung fetch ends by its own deadline, the next may begin after the
		// cool-down.
		time.Sleep(cooldown)
		reason, took := verify(t, s, two)
		expect(t, "after recovery", reason, "")
		if took > wait {
			t.Errorf("took %v", took)
		}
	})
}

func TestNewKeyIsFoundAtOnce(t *testing.T) {
	run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
		time.Sleep(time.Minute)
		from.set(slow(time.Second, serveKeys(one, two)))
		// Many at once share one fetch.
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				reason, took := verify(t, s, two)
				expect(t, "new key", reason, "")
				if took != time.Second {
					t.Errorf("took %v", took)
				}
			})
		}
		all.Wait()
		if n := from.count(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
	})
}

// A fetch that was under way when the token was signed tells nothing about its
// key: another one is waited for, within the same wait.
func TestTokenNewerThanTheFetchUnderWay(t *testing.T) {
	for name, c := range map[string]struct {
		second func(context.Context) ([]byte, error)
		want   token.Reason
		took   time.Duration
	}{
		"key in the next fetch":    {serveKeys(one, two), "", 600 * time.Millisecond},
		"not in the next fetch":    {serveKeys(one), token.KeyUnknown, 600 * time.Millisecond},
		"the next fetch fails":     {fail, token.KeyPending, 600 * time.Millisecond},
		"the next fetch hangs":     {hang, token.KeyPending, wait},
		"the next fetch takes 2 s": {slow(2*time.Second, serveKeys(one, two)), token.KeyPending, wait},
	} {
		t.Run(name, func(t *testing.T) {
			runCooled(t, 100*time.Millisecond, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
				time.Sleep(time.Minute)
				from.set(slow(time.Second, serveKeys(one)))
				s.Refresh()
				synctest.Wait()
				from.set(c.second)
				time.Sleep(400 * time.Millisecond)
				before := from.count()
				reason, took := verify(t, s, two)
				expect(t, "newer than the fetch", reason, c.want)
				if n := from.count() - before; took != c.took || n != 1 {
					t.Errorf("took %v and %d fetches, want %v and 1", took, n, c.took)
				}
			})
		})
	}
}

func TestNewKeyLaterThanTheWait(t *testing.T) {
	run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
		time.Sleep(time.Minute)
		from.set(slow(2*time.Second, serveKeys(one, two)))
		reason, took := verify(t, s, two)
		expect(t, "before the answer", reason, token.KeyPending)
		if took != wait {
			t.Errorf("took %v", took)
		}
		time.Sleep(time.Second)
		reason, _ = verify(t, s, two)
		expect(t, "after the answer", reason, "")
	})
}

// A key is unknown for good only if a fetch that could have seen it did not.
func TestUnknownKeyIsRefusedOnlyAfterAFetchSinceItsIssue(t *testing.T) {
	run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
		fetched := time.Now()
		time.Sleep(time.Minute)

		before := from.count()
		reason, took := verifyIssued(t, s, two, fetched.Add(-time.Minute))
		expect(t, "issued before the last fetch", reason, token.KeyUnknown)
		if took != 0 {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
		if n := from.count() - before; n != 1 {
			t.Errorf("%d fetches behind its back, want 1", n)
		}

		time.Sleep(2 * cooldown)
		before = from.count()
		reason, _ = verifyIssued(t, s, two, fetched.Add(time.Hour))
		expect(t, "issued after the last fetch", reason, token.KeyUnknown)
		if n := from.count() - before; n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}

		before = from.count()
		for range 1000 {
			reason, _ = verifyIssued(t, s, two, time.Time{})
			expect(t, "within the cool-down", reason, token.KeyUnknown)
		}
		if n := from.count() - before; n != 0 {
			t.Errorf("%d fetches within the cool-down", n)
		}
	})
}

func TestBadSignatureCausesOneFetchPerCooldown(t *testing.T) {
	run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
		forged := issuertest.NewSigner("EdDSA", "one", 9)
		from.set(slow(time.Second, serveKeys(one)))
		old := time.Now().Add(-time.Hour)
		time.Sleep(time.Minute)
		before, began := from.count(), time.Now()
		for range 100 {
			reason, took := verifyIssued(t, s, forged, old)
			expect(t, "forged, older than the keys", reason, token.SignatureInvalid)
			if took != 0 {
				t.Errorf("took %v, although the keys are newer", took)
			}
			reason, took = verify(t, s, forged)
			expect(t, "forged, newer than the keys", reason, token.SignatureInvalid)
			if took > time.Second {
				t.Errorf("took %v", took)
			}
			reason, took = verify(t, s, one)
			expect(t, "good", reason, "")
			if took != 0 {
				t.Errorf("a good token took %v", took)
			}
			time.Sleep(time.Second)
		}
		if n, most := from.count()-before, int(time.Since(began)/cooldown)+1; n > most {
			t.Errorf("%d fetches in %s", n, time.Since(began))
		}
	})
}

// A flood that waits for a hung fetch delays no token that verifies, and only so
// many wait at all.
func TestWaitingIsBoundedAndDelaysNoGoodToken(t *testing.T) {
	for name, signer := range map[string]*issuertest.Signer{
		"unknown kid":                     two,
		"bad signature under a known kid": issuertest.NewSigner("EdDSA", "one", 9),
	} {
		t.Run(name, func(t *testing.T) {
			run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
				time.Sleep(time.Minute)
				from.set(hang)
				var all sync.WaitGroup
				var mu sync.Mutex
				waited := make(map[time.Duration]int)
				parsed, err := jws.Parse(signer.Sign(map[string]any{"sub": "46"}))
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				for range 60 {
					all.Go(func() {
						_, err := s.Verify(t.Context(), parsed, began)
						mu.Lock()
						defer mu.Unlock()
						if err == nil {
							t.Error("accepted")
						}
						waited[time.Since(began)]++
					})
				}
				synctest.Wait()
				reason, took := verify(t, s, one)
				expect(t, "good token meanwhile", reason, "")
				if took != 0 {
					t.Errorf("a good token took %v", took)
				}
				all.Wait()
				if waited[wait] != waiting || waited[0] != 60-waiting {
					t.Errorf("%v", waited)
				}
			})
		})
	}
}

func TestRemovedKeyStopsWithTheNextRefresh(t *testing.T) {
	run(t, serveKeys(one, two), func(t *testing.T, s *keys.Set, from *source) {
		parsed, _ := jws.Parse(two.Sign(map[string]any{"sub": "46"}))
		print, err := s.Verify(t.Context(), parsed, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "trusted", s.Trusts(print, time.Now()), "")
		from.set(serveKeys(one))
		time.Sleep(refresh)
		expect(t, "thumbprint", s.Trusts(print, time.Now()), token.KeyUnknown)
		reason, _ := verifyIssued(t, s, two, time.Now().Add(-time.Hour))
		expect(t, "signature", reason, token.KeyUnknown)
		expect(t, "set too old", s.Trusts(print, time.Now().Add(2*maxStale)), token.KeysStale)
	})
}

func TestKeyReplacedUnderTheSameKid(t *testing.T) {
	run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
		replaced := issuertest.NewSigner("EdDSA", "one", 2)
		from.set(slow(time.Second, serveKeys(replaced)))
		time.Sleep(time.Minute)
		reason, took := verify(t, s, replaced)
		expect(t, "first use", reason, "")
		if took != time.Second {
			t.Errorf("took %v", took)
		}
		reason, _ = verify(t, s, one)
		expect(t, "old key", reason, token.SignatureInvalid)
	})
}

// While newer keys cannot be had it is not known whether the key behind a kid was
// replaced: a token that is newer than the keys is neither accepted nor refused. One
// that is older was signed while they were in force, and so is refused.
func TestBadSignatureInAnOutage(t *testing.T) {
	for name, outage := range map[string]func(context.Context) ([]byte, error){"status 503": fail, "hang": hang, "empty set": serve(`{"keys":[]}`)} {
		t.Run(name, func(t *testing.T) {
			run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
				fetched := time.Now()
				// In a signature, and in a key of another type.
				replaced := []*issuertest.Signer{issuertest.NewSigner("EdDSA", "one", 9), issuertest.NewSigner("RS256", "one", 9)}
				time.Sleep(time.Minute)
				from.set(outage)
				before, began := from.count(), time.Now()
				for range 40 {
					for _, signer := range replaced {
						reason, took := verify(t, s, signer)
						expect(t, "newer than the keys", reason, token.SignaturePending)
						if took > wait {
							t.Errorf("took %v", took)
						}
						reason, took = verifyIssued(t, s, signer, fetched.Add(-time.Minute))
						if reason != token.SignatureInvalid && reason != token.AlgorithmRefused || took != 0 {
							t.Errorf("older than the keys: %s after %v", reason, took)
						}
					}
					reason, took := verify(t, s, one)
					expect(t, "good", reason, "")
					if took != 0 {
						t.Errorf("a good token took %v", took)
					}
					time.Sleep(500 * time.Millisecond)
				}
				// In the background keys are asked for as well, see Run.
				if n, most := from.count()-before, 2+2*int(time.Since(began)/cooldown); n > most {
					t.Errorf("%d fetches in %s, want at most %d", n, time.Since(began), most)
				}
				from.set(serveKeys(replaced[0]))
				time.Sleep(cooldown)
				reason, _ := verify(t, s, replaced[0])
				expect(t, "after the outage", reason, "")
				reason, _ = verify(t, s, one)
				expect(t, "the old key after the outage", reason, token.SignatureInvalid)
			})
		})
	}
}

// A set that is fresh decides, until a fetch after it fails.
func TestCooldownDecidesOnlyWhileTheIssuerAnswers(t *testing.T) {
	run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
		forged := issuertest.NewSigner("EdDSA", "one", 9)
		reason, _ := verify(t, s, forged)
		expect(t, "right after a good fetch", reason, token.SignatureInvalid)
		from.set(fail)
		s.Refresh()
		synctest.Wait()
		reason, _ = verify(t, s, forged)
		expect(t, "right after a failed fetch", reason, token.SignaturePending)
		reason, _ = verify(t, s, two)
		expect(t, "right after a failed fetch, another kid", reason, token.KeyPending)
	})
}

func TestDuplicateKidsAndKeysWithoutKid(t *testing.T) {
	sameName := issuertest.NewSigner("EdDSA", "one", 2)
	nameless := issuertest.NewSigner("EdDSA", "", 3)
	run(t, serveKeys(one, sameName, nameless), func(t *testing.T, s *keys.Set, from *source) {
		for what, signer := range map[string]*issuertest.Signer{
			"first of a kid":                  one,
			"second of a kid":                 sameName,
			"no kid in token and key":         nameless,
			"kid in the token only":           issuertest.NewSigner("EdDSA", "whatever", 3),
			"kid in the key only":             issuertest.NewSigner("EdDSA", "", 1),
			"kid in the key only, the second": issuertest.NewSigner("EdDSA", "", 2),
		} {
			reason, _ := verify(t, s, signer)
			expect(t, what, reason, "")
		}
		// A key without kid does not stand in for one that is named.
		reason, _ := verify(t, s, issuertest.NewSigner("EdDSA", "one", 3))
		expect(t, "nameless key under another's kid", reason, token.SignatureInvalid)
	})
}

func TestTokenWithoutKidFindsANewKey(t *testing.T) {
	run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
		time.Sleep(time.Minute)
		from.set(serveKeys(two))
		reason, _ := verify(t, s, issuertest.NewSigner("EdDSA", "", 2))
		expect(t, "rotated", reason, "")
	})
}

func TestStartWhileTheIssuerIsDown(t *testing.T) {
	run(t, fail, func(t *testing.T, s *keys.Set, from *source) {
		if n, asked := s.Loaded(); n != 0 || !asked.IsZero() || s.Fault() == nil {
			t.Error("loaded:", n, asked, s.Fault())
		}
		reason, _ := verify(t, s, one)
		expect(t, "down", reason, token.KeysMissing)
		time.Sleep(10 * time.Minute)
		if n := from.count(); n > 40 {
			t.Errorf("%d fetches in 10 minutes", n)
		}
		from.set(serveKeys(one))
		time.Sleep(31 * time.Second)
		reason, _ = verify(t, s, one)
		expect(t, "up", reason, "")
		if n, _ := s.Loaded(); n != 1 || s.Fault() != nil {
			t.Error("loaded:", n, s.Fault())
		}
	})
}

func TestRefreshOnRequest(t *testing.T) {
	run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
		from.set(serveKeys(one, two))
		s.Refresh()
		synctest.Wait()
		if n, _ := s.Loaded(); n != 2 {
			t.Errorf("%d keys", n)
		}
	})
}

func TestCancelledCallerDoesNotWaitAndHarmsNobody(t *testing.T) {
	run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
		time.Sleep(time.Minute)
		from.set(slow(time.Second, serveKeys(one, two)))
		parsed, _ := jws.Parse(two.Sign(map[string]any{"sub": "46"}))
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			var refusal *token.Error
			if _, err := s.Verify(ctx, parsed, time.Now()); !errors.As(err, &refusal) || refusal.Reason != token.Interrupted {
				t.Error("cancelled caller:", err)
			}
		})
		all.Go(func() {
			if _, err := s.Verify(t.Context(), parsed, time.Now()); err != nil {
				t.Error("other caller:", err)
			}
		})
		synctest.Wait()
		cancel()
		all.Wait()
	})
}

func TestVerifyAfterRunEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		from := &source{answer: serveKeys(one)}
		s := keys.New(keys.Config{Fetch: from.fetch, Algorithms: jws.Algorithms(), Refresh: refresh, MaxStale: maxStale, Cooldown: cooldown, Wait: wait, Waiting: waiting, Timeout: timeout})
		reason, _ := verify(t, s, one)
		expect(t, "before Run", reason, token.KeysMissing)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		reason, _ = verify(t, s, three)
		expect(t, "after Run", reason, token.KeysMissing)
	})
}

// The algorithm of a key and that of a token must agree (RFC 7517 §4.4), and
// so must their types (RFC 8725 §3.1).
func TestAlgorithmAndKey(t *testing.T) {
	restricted := rsaOne.JWK()
	restricted["alg"] = "RS256"
	curve := issuertest.NewSigner("ES256", "curve", 1)
	document := issuertest.Encode(map[string]any{"keys": []any{restricted, curve.JWK()}})
	run(t, serve(document), func(t *testing.T, s *keys.Set, from *source) {
		for what, c := range map[string]struct {
			signer *issuertest.Signer
			want   string
		}{
			"as restricted":             {rsaOne, ""},
			"PS256 with an RS256 key":   {issuertest.NewSigner("PS256", "one", 1), token.AlgorithmRefused},
			"RS512 with an RS256 key":   {issuertest.NewSigner("RS512", "one", 1), token.AlgorithmRefused},
			"RS256 under an EC kid":     {issuertest.NewSigner("RS256", "curve", 1), token.AlgorithmRefused},
			"ES384 under a P-256 kid":   {issuertest.NewSigner("ES384", "curve", 1), token.AlgorithmRefused},
			"the curve's own algorithm": {curve, ""},
		} {
			reason, _ := verify(t, s, c.signer)
			expect(t, what, reason, c.want)
		}
	})
}

func TestVerifySignatureIsAnOIDCKeySet(t *testing.T) {
	run(t, serveKeys(one), func(t *testing.T, s *keys.Set, from *source) {
		payload, err := s.VerifySignature(t.Context(), one.Sign(map[string]any{"sub": "46"}))
		if err != nil || !strings.Contains(string(payload), `"46"`) {
			t.Errorf("%s, %v", payload, err)
		}
		if _, err := s.VerifySignature(t.Context(), issuertest.NewSigner("EdDSA", "one", 9).Sign(map[string]any{})); err == nil {
			t.Error("forged token verified")
		}
		if _, err := s.VerifySignature(t.Context(), "x"); err == nil {
			t.Error("garbage verified")
		}
	})
}
