// Package verifier assembles the parts that judge access tokens: the issuer's
// metadata, its keys, the JWT rules, introspection, the deny list and the
// verdict cache. It knows nothing of Envoy and serves no HTTP.
package verifier

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/neonpanel/mcp-gateway/authz/internal/denylist"
	"github.com/neonpanel/mcp-gateway/authz/internal/introspection"
	"github.com/neonpanel/mcp-gateway/authz/internal/issuer"
	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/jwt"
	"github.com/neonpanel/mcp-gateway/authz/internal/keys"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
	"github.com/neonpanel/mcp-gateway/authz/internal/verdict"
)

// MaxToken is the longest token that is looked at.
const MaxToken = 8 << 10

// RefusedTTL is how long a refusal is remembered.
const RefusedTTL = 5 * time.Second

// What the options do not set.
const (
	fetchTimeout   = 3 * time.Second
	unknownKeyWait = 1500 * time.Millisecond
	// unknownKeysWaiting leaves most of the 10,000 questions that Envoy asks at
	// once to tokens that need no waiting.
	unknownKeysWaiting   = 1000
	introspectionWait    = 300 * time.Millisecond
	introspectionTimeout = 1500 * time.Millisecond
	// verifyTimeout is above every bound inside and below Envoy's, which is 2 s:
	// the client is to read the true cause.
	verifyTimeout = 1900 * time.Millisecond
)

// Verifier is the token.Verifier of the gateway.
type Verifier struct {
	options  Options
	observer Observer
	log      *slog.Logger

	client     *upstream.Client
	issuer     *issuer.Issuer
	keys       *keys.Set
	jwt        *jwt.Verifier
	introspect *introspection.Client // nil when not configured
	deny       *denylist.List        // nil when not configured
	cache      *verdict.Cache
	flights    singleflight.Group
}

var _ token.Verifier = (*Verifier)(nil)

// New checks the options and assembles a Verifier. All faults are reported at
// once, joined. Nothing is fetched before Run.
func New(options Options) (*Verifier, error) {
	options = options.withDefaults()
	v := &Verifier{options: options, observer: options.Observer, log: options.Logger}
	faults := options.check()

	transport := options.Transport
	if transport == nil {
		made, err := upstream.NewTransport(options.Proxy, options.CAFile)
		if err != nil {
			faults = append(faults, fmt.Errorf("UPSTREAM_CA_FILE: %w", err))
		} else {
			transport = made
		}
	}
	v.client = upstream.New(transport)

	var err error
	if v.issuer, err = issuer.New(issuer.Config{
		Issuer:             options.Issuer,
		JWKSURL:            options.JWKSURL,
		IntrospectionURL:   options.IntrospectionURL,
		Client:             v.client,
		NeedsKeys:          options.Mode != Opaque,
		NeedsIntrospection: options.IntrospectionClientID != "",
		Refresh:            options.KeysRefresh,
		Timeout:            fetchTimeout,
		Fetched:            v.metadataFetched,
		Moved:              func() { v.keys.Refresh() },
	}); err != nil {
		faults = append(faults, err)
	}
	v.keys = keys.New(keys.Config{
		Fetch:      v.issuer.FetchKeys,
		Algorithms: options.Algorithms,
		Refresh:    options.KeysRefresh,
		MaxStale:   options.KeysMaxStale,
		Cooldown:   options.KeysCooldown,
		Wait:       unknownKeyWait,
		Waiting:    unknownKeysWaiting,
		Timeout:    fetchTimeout,
		Fetched:    v.keysFetched,
	})
	rules := jwt.Rules{
		Issuer:             options.Issuer,
		AllowMissingIssuer: options.AllowMissingIssuer,
		Audiences:          options.Audiences,
		AnyAudience:        options.AnyAudience,
		ClientIDs:          options.ClientIDs,
		ReportAudience:     options.ReportAudience,
		Leeway:             options.Leeway,
	}
	if v.jwt, err = jwt.New(v.keys, rules, options.Algorithms); err != nil {
		faults = append(faults, err)
	}
	if options.IntrospectionClientID != "" {
		v.introspect = introspection.New(introspection.Config{
			Find:             v.issuer.FindIntrospection,
			Client:           v.client,
			Auth:             options.introspectionAuth(),
			Rules:            rules,
			Wait:             introspectionWait,
			Timeout:          introspectionTimeout,
			InFlight:         options.IntrospectionInFlight,
			UnknownPerSecond: options.IntrospectionUnknownPerSecond,
			Known:            options.CacheSize,
			Called:           v.introspected,
			Shared:           options.Shared,
		})
	}
	if options.DenyFile != "" {
		if v.deny, err = denylist.Open(options.DenyFile, v.denyFileRead); err != nil {
			faults = append(faults, fmt.Errorf("AUTHZ_DENY_FILE: %w", err))
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	v.cache, err = verdict.New(verdict.Config{MaxTTL: options.CacheMaxTTL, RefusedTTL: RefusedTTL, Size: options.CacheSize})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Run keeps metadata, keys and deny list fresh until ctx is done, and returns
// when all that it started has ended. Verify may be called before Run; until
// the first keys are in it answers Unavailable.
func (v *Verifier) Run(ctx context.Context) error {
	defer v.client.CloseIdle()
	defer v.cache.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return v.issuer.Run(ctx) })
	if v.options.Mode != Opaque {
		group.Go(func() error {
			v.issuer.WaitKeysKnown(ctx)
			return v.keys.Run(ctx)
		})
	}
	if v.deny != nil {
		group.Go(func() error {
			changes, err := denylist.Watch(ctx, v.options.DenyFile)
			if err != nil {
				v.log.Warn("changes of the deny file cannot be watched; it is looked at from time to time", "every", denylist.Interval, "error", err)
			}
			return v.deny.Run(ctx, changes)
		})
	}
	return group.Wait()
}

// Ready says why no verdict is possible yet. Once nil it stays nil: later
// trouble at the issuer does not make the process unready.
func (v *Verifier) Ready() error {
	if v.options.Mode == Opaque {
		_, err := v.issuer.FindIntrospection()
		return err
	}
	if keys, _ := v.keys.Loaded(); keys > 0 {
		return nil
	}
	if err := v.issuer.Unknown(); err != nil && v.options.JWKSURL == "" {
		return err
	}
	if fault := v.keys.Fault(); fault != nil {
		return fmt.Errorf("the issuer's keys have not been fetched yet: %w", fault)
	}
	return errors.New("the issuer's keys have not been fetched yet")
}

// Verify implements token.Verifier. The scopes of the Identity are shared:
// they must not be changed.
func (v *Verifier) Verify(ctx context.Context, raw string) (token.Identity, error) {
	accepted, from, err := v.verify(ctx, raw)
	if err != nil {
		v.observer.Verdict(from, err.Reason)
		return token.Identity{}, err
	}
	v.observer.Verdict(from, "")
	if accepted.Audience != "" {
		v.observer.AudienceReported(accepted.Audience)
	}
	return accepted.Identity, nil
}

func (v *Verifier) verify(ctx context.Context, raw string) (verdict.Verdict, Source, *token.Error) {
	if err := sized(raw, nil); err != nil {
		return verdict.Verdict{}, FromNowhere, asError(err)
	}
	key := v.cache.Hash(raw)
	if cached, found := v.cache.Accepted(key); found {
		switch reason := v.holds(&cached); reason {
		case "":
			return cached, FromCache, nil
		case token.KeyUnknown, token.KeysMissing:
			// Its key has left the set: the verdict dies with it, and the token
			// is judged anew.
			v.cache.Forget(key)
		default:
			return verdict.Verdict{}, FromCache, token.Refuse(reason, nil)
		}
	}
	if err, found := v.cache.Refused(key, v.keys.Version()); found {
		return verdict.Verdict{}, FromCache, err
	}
	if err := spelt(raw, nil); err != nil {
		return verdict.Verdict{}, FromNowhere, asError(err)
	}
	return v.ask(ctx, key, raw)
}

// ask has a token judged that the cache does not know.
func (v *Verifier) ask(ctx context.Context, key verdict.Key, raw string) (verdict.Verdict, Source, *token.Error) {
	// The work is shared, so no caller's cancellation may end it; but its own
	// bounds do.
	answers := v.flights.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), verifyTimeout)
		defer cancel()
		return v.judge(ctx, key, raw), nil
	})
	select {
	case <-ctx.Done():
		return verdict.Verdict{}, FromNowhere, token.Refuse(token.Interrupted, ctx.Err())
	case answer := <-answers:
		a := answer.Val.(outcome)
		if a.err == nil {
			if reason := v.holds(&a.verdict); reason != "" {
				a.err = token.Refuse(reason, nil)
			}
		}
		return a.verdict, a.from, a.err
	}
}

// holds looks at what can end an acceptance at any moment: empty, or the
// reason why it does not hold any more.
func (v *Verifier) holds(a *verdict.Verdict) token.Reason {
	now := time.Now()
	switch {
	case !now.Before(a.Identity.Expires):
		return token.Expired
	case v.deny.Denies(&a.Identity):
		return token.Denied
	case a.ByKey:
		return v.keys.Trusts(a.Key, now)
	}
	return ""
}

// outcome is what the callers of one flight share.
type outcome struct {
	verdict verdict.Verdict
	from    Source
	err     *token.Error
}

// judge decides about a token that the cache does not know, and tells the
// cache.
func (v *Verifier) judge(ctx context.Context, key verdict.Key, raw string) (result outcome) {
	defer func() {
		if p := recover(); p != nil {
			// The value could quote what the client sent; its type and the stack,
			// which holds no strings, tell where to look.
			v.log.Error("panic while verifying a token", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			result = outcome{from: result.from, err: token.Refuse(token.Internal, errors.New("panic"))}
		}
	}()
	// Taken before the verification: a refusal that a newer set might undo is
	// then not remembered.
	version := v.keys.Version()
	judgement, by, from, err := v.dispatch(ctx, key, raw, nil)
	if err != nil {
		refusal := asError(err)
		if remembered(refusal, from) {
			v.cache.Refuse(key, refusal.Reason, version)
		}
		return outcome{from: from, err: refusal}
	}
	if judgement.Audience != "" {
		// Said once in a cache life; each request is counted.
		v.log.Warn("token would be refused for its audience", "reason", judgement.Audience,
			"subject", judgement.Identity.Subject, "client_id", judgement.Identity.ClientID)
	}
	accepted := verdict.Verdict{Identity: judgement.Identity, Audience: judgement.Audience}
	if by != nil {
		accepted.Key, accepted.ByKey = *by, true
	}
	if judgement.Asked.IsZero() {
		v.cache.Accept(key, accepted)
	} else {
		// No longer than where it was asked: a revocation shows everywhere in the same
		// time.
		v.cache.AcceptUntil(key, accepted, judgement.Asked.Add(v.options.CacheMaxTTL))
		from = FromReplica
	}
	return outcome{verdict: accepted, from: from}
}

// isJWT reports whether a token is judged as a JWT. Where the issuer can be asked,
// what only begins like one is opaque; where nobody can, it is told what is wrong
// with it as a JWT.
func (v *Verifier) isJWT(raw string) bool {
	switch {
	case v.options.Mode != Auto:
		return v.options.Mode == JWT
	case v.introspect == nil:
		return jws.Looks(raw)
	}
	return jws.HasHeader(raw)
}

// dispatch sends a token to the judge of its form. by is the key that vouches
// for it, if one does. With a record, if t is not nil, the faults are in the
// record alone.
func (v *Verifier) dispatch(ctx context.Context, key verdict.Key, raw string, t *trail.Trail) (j jwt.Judgement, by *keys.Thumbprint, from Source, err error) {
	if v.isJWT(raw) {
		if !jws.Looks(raw) {
			return j, nil, FromNowhere, t.Fail(trail.Form, token.Opaque, nil)
		}
		j, print, err := v.jwt.Verify(ctx, raw, t)
		if err != nil || !v.options.IntrospectJWT || t.Refusal() != nil {
			return j, &print, FromSignature, err
		}
		said, err := v.introspect.Confirm(ctx, raw, j)
		if err != nil {
			return j, nil, FromIntrospection, t.FailWith(trail.Introspection, err)
		}
		t.Pass(trail.Introspection)
		return said, &print, FromIntrospection, nil
	}
	if v.introspect == nil {
		return j, nil, FromNowhere, t.Fail(trail.Form, token.Opaque, errors.New("introspection is not configured"))
	}
	if t.Refusal() != nil {
		return j, nil, FromNowhere, nil
	}
	j, err = v.introspect.Introspect(ctx, raw, binary.LittleEndian.Uint64(key[:]), t)
	return j, nil, FromIntrospection, err
}

// remembered reports whether a refusal is worth remembering: it cost a
// signature or a call, and asking again at once would bring the same. An unknown
// key costs neither, and what the cool-down decided ends with the cool-down. A
// signature that newer keys might verify is remembered for these keys alone, as
// every refusal is: it costs no more while they cannot be had than a bad one.
func remembered(err *token.Error, from Source) bool {
	if err.Reason == token.SignaturePending {
		return true
	}
	if err.Kind != token.Invalid || errors.Is(err, keys.ErrCooldown) {
		return false
	}
	return from == FromIntrospection || err.Reason == token.SignatureInvalid
}

func asError(err error) *token.Error {
	var refusal *token.Error
	if errors.As(err, &refusal) {
		return refusal
	}
	return token.Refuse(token.Internal, err)
}

// sized judges the length.
func sized(raw string, t *trail.Trail) error {
	if len(raw) > MaxToken {
		return t.Fail(trail.Size, token.Oversize, nil)
	}
	t.Pass(trail.Size)
	return nil
}

// spelt judges the characters.
func spelt(raw string, t *trail.Trail) error {
	if !isBearerToken(raw) {
		return t.Fail(trail.Form, token.CharactersRefused, nil)
	}
	return nil
}

// isBearerToken reports whether raw can be a credential: visible ASCII, and no
// comma, which would be two (RFC 9110 §11.4). A b64token (RFC 6750 §2.1) is less,
// but servers give out others, such as the "12|abc…" of Laravel Sanctum; who
// issued a token is to say whether it is one.
func isBearerToken(raw string) bool {
	if raw == "" {
		return false
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] <= ' ' || raw[i] > '~' || raw[i] == ',' {
			return false
		}
	}
	return true
}

// Metadata is what the issuer says about itself.
func (v *Verifier) Metadata() Metadata { return v.issuer }

// Stats is for gauges.
func (v *Verifier) Stats() Stats {
	var s Stats
	s.Keys, s.KeysFetched = v.keys.Loaded()
	s.Accepted, s.Refused = v.cache.Sizes()
	s.DenyFileBroken = v.deny.Broken()
	return s
}

// Metadata is the issuer's metadata, as far as it is known by now.
type Metadata interface {
	// Raw is the RFC 8414 document byte for byte as the issuer served it, or,
	// if the issuer has none, its OpenID Connect one. The bytes must not be
	// changed.
	Raw() ([]byte, bool)
	// RawOpenID is the OpenID Connect document, or, if the issuer has none, the
	// RFC 8414 one.
	RawOpenID() ([]byte, bool)
	// ScopesSupported is scopes_supported (RFC 8414 §2); nil if unknown.
	ScopesSupported() []string
	// JWKSURL and IntrospectionURL are the endpoints in force: those set by
	// name, else those found that share the issuer's origin; else empty.
	JWKSURL() string
	IntrospectionURL() string
}

func (v *Verifier) metadataFetched(took time.Duration, err error) {
	if err != nil {
		v.log.Warn("issuer metadata not fetched", "error", err)
	}
	// After the log: who is told of a failure can read there what it was.
	v.observer.Called(CallMetadata, err != nil, took)
}

func (v *Verifier) keysFetched(took time.Duration, skipped []error, err error) {
	defer func() { v.observer.Called(CallKeys, err != nil, took) }()
	if err != nil {
		_, asked := v.keys.Loaded()
		v.log.Warn("issuer keys not fetched; the last good ones stay in force", "error", err, "last_good", asked)
		return
	}
	count, _ := v.keys.Loaded()
	v.log.Debug("issuer keys fetched", "keys", count, "took", took)
	for _, fault := range skipped {
		v.log.Warn("issuer key cannot be used", "error", fault)
	}
}

func (v *Verifier) introspected(took time.Duration, err error) {
	if err != nil {
		v.log.Warn("introspection failed", "error", err)
	}
	v.observer.Called(CallIntrospection, err != nil, took)
}

func (v *Verifier) denyFileRead(err error) {
	v.observer.DenyFileRead(err != nil)
	if err != nil {
		v.log.Error("deny file is broken; the last good one stays in force", "error", err)
		return
	}
	v.log.Info("deny file read")
}
