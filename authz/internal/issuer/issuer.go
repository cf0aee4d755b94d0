// Package issuer knows the authorization server by its metadata: the document
// of RFC 8414 and that of OpenID Connect Discovery, which say the same with
// the same members. It keeps the last good copy of both through outages.
package issuer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

// Config is what an Issuer is made from.
type Config struct {
	// Issuer is its identifier (RFC 8414 §2).
	Issuer string
	// JWKSURL and IntrospectionURL, if set, replace what the metadata says and
	// may be of another origin.
	JWKSURL          string
	IntrospectionURL string
	// NeedsKeys and NeedsIntrospection say which endpoints are used. A document
	// that names one of these where it may not be is not taken.
	NeedsKeys          bool
	NeedsIntrospection bool
	Client             *upstream.Client
	// Refresh is the time between two fetches; Timeout bounds one.
	Refresh time.Duration
	Timeout time.Duration
	// Fetched, if set, is told how each fetch of a document ended.
	Fetched func(took time.Duration, err error)
	// Moved, if set, is told when the keys are somewhere else than before.
	Moved func()
}

// maxDocument caps a metadata or JWKS document.
const maxDocument = 1 << 20

// Issuer is the authorization server.
type Issuer struct {
	config Config
	origin string
	// documents are those of RFC 8414 and of OpenID Connect, in this order of
	// preference.
	documents [2]source
	known     chan struct{} // closed with the first document

	// taking is held while a document is compared with those in force.
	taking sync.Mutex
	first  bool // a document has been in force
}

type source struct {
	url   string
	last  atomic.Pointer[document]
	fault atomic.Pointer[error] // of the last fetch; nil if it was good
}

// refused marks a document that arrived and cannot be used.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

type document struct {
	raw              []byte
	jwksURL          string
	introspectionURL string
	scopes           []string
}

// New checks the configuration. Its error names every fault.
func New(config Config) (*Issuer, error) {
	i := &Issuer{config: config, known: make(chan struct{})}
	var faults []error
	u, err := upstream.ParseURL(config.Issuer)
	if err == nil && u.RawQuery != "" {
		err = errors.New("must not hold a query")
	}
	if err != nil {
		faults = append(faults, fmt.Errorf("NEONPANEL_ISSUER: %w", err))
	} else {
		i.origin = upstream.Origin(u)
		i.documents[0].url, i.documents[1].url = wellKnown(u)
	}
	if config.JWKSURL != "" {
		if _, err := upstream.ParseURL(config.JWKSURL); err != nil {
			faults = append(faults, fmt.Errorf("AUTHZ_JWKS_URL: %w", err))
		}
	}
	if config.IntrospectionURL != "" {
		if _, err := upstream.ParseURL(config.IntrospectionURL); err != nil {
			faults = append(faults, fmt.Errorf("AUTHZ_INTROSPECTION_URL: %w", err))
		}
	}
	return i, errors.Join(faults...)
}

// wellKnown are the addresses of the two documents: RFC 8414 §3.1 inserts the
// well-known part before the issuer's path, OpenID Connect Discovery §4 adds
// it after.
func wellKnown(issuer *url.URL) (oauth, openID string) {
	base := issuer.Scheme + "://" + issuer.Host
	path := strings.TrimSuffix(issuer.EscapedPath(), "/")
	return base + "/.well-known/oauth-authorization-server" + path, base + path + "/.well-known/openid-configuration"
}

// Run fetches the metadata at once and then keeps it fresh until ctx is done.
func (i *Issuer) Run(ctx context.Context) error {
	const firstRetry, lastRetry = 250 * time.Millisecond, 30 * time.Second
	retry := firstRetry
	for {
		delay := i.config.Refresh
		if i.Refresh(ctx) {
			retry = firstRetry
		} else {
			delay = min(retry, i.config.Refresh)
			retry = min(2*retry, lastRetry)
		}
		timer := time.NewTimer(delay - rand.N(delay/10+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// WaitKeysKnown returns when it is known where the keys are, or ctx is done.
func (i *Issuer) WaitKeysKnown(ctx context.Context) {
	if i.config.JWKSURL != "" {
		return
	}
	select {
	case <-i.known:
	case <-ctx.Done():
	}
}

// Refresh fetches both documents side by side, each in force as soon as it is
// in, and reports whether that will do for a while: at least one was good,
// none had to be refused, and every endpoint that is needed is known.
func (i *Issuer) Refresh(ctx context.Context) bool {
	var errs [2]error
	var took [2]time.Duration
	var both sync.WaitGroup
	for at := range i.documents {
		both.Go(func() {
			began := time.Now()
			errs[at] = i.fetch(ctx, &i.documents[at])
			if ctx.Err() == nil {
				i.documents[at].remember(errs[at])
			}
			took[at] = time.Since(began)
		})
	}
	both.Wait()
	if i.config.Fetched != nil && ctx.Err() == nil {
		for at, err := range errs {
			var status *upstream.StatusError
			if errs[1-at] == nil && errors.As(err, &status) && status.Status == 404 {
				// Most servers have only one of the two.
				continue
			}
			i.config.Fetched(took[at], err)
		}
	}
	for _, err := range errs {
		if errors.As(err, new(refused)) {
			return false
		}
	}
	return (errs[0] == nil || errs[1] == nil) && i.complete(i.inForce()) == nil
}

// pair is the documents of RFC 8414 and of OpenID Connect; nil if not known.
type pair [2]*document

func (i *Issuer) inForce() (p pair) {
	for at := range p {
		p[at] = i.documents[at].last.Load()
	}
	return p
}

// complete is nil when the documents name every endpoint that is needed.
func (i *Issuer) complete(p pair) error {
	var faults []error
	if i.config.NeedsKeys {
		_, err := i.findKeys(p)
		faults = append(faults, err)
	}
	if i.config.NeedsIntrospection {
		_, err := i.findIntrospection(p)
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

func (s *source) remember(err error) {
	if err == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&err)
}

func (i *Issuer) fetch(ctx context.Context, s *source) error {
	ctx, cancel := context.WithTimeout(ctx, i.config.Timeout)
	defer cancel()
	raw, err := i.config.Client.Get(ctx, s.url, maxDocument)
	if err != nil {
		return fmt.Errorf("%s: %w", s.url, err)
	}
	next, err := i.parse(raw)
	if err == nil {
		err = i.take(s, next)
	}
	if err != nil {
		return refused{fmt.Errorf("%s: %w", s.url, err)}
	}
	return nil
}

// take puts a document in force, unless an endpoint that is needed and known
// would be lost by that.
func (i *Issuer) take(s *source, next *document) error {
	i.taking.Lock()
	defer i.taking.Unlock()
	before := i.inForce()
	after := before
	for at := range i.documents {
		if s == &i.documents[at] {
			after[at] = next
		}
	}
	if i.complete(before) == nil {
		if err := i.complete(after); err != nil {
			return err
		}
	}
	s.last.Store(next)
	// The fetch of the first keys needs no waking: it waits for the first
	// document.
	if i.config.Moved != nil && i.first && i.JWKSURL() != i.jwksURL(before) {
		i.config.Moved()
	}
	if !i.first {
		i.first = true
		close(i.known)
	}
	return nil
}

// parse judges a metadata document. The issuer must be the one that was asked
// for, to the byte (RFC 8414 §3.3).
func (i *Issuer) parse(raw []byte) (*document, error) {
	object, err := strictjson.ParseObject(raw)
	if err != nil {
		return nil, err
	}
	issuer, err := object.Get("issuer").Text()
	if err != nil {
		return nil, errors.New("issuer is missing or not a string")
	}
	if issuer != i.config.Issuer {
		return nil, fmt.Errorf("is of issuer %.200q, not of %q: NEONPANEL_ISSUER must be exactly what the server calls itself", issuer, i.config.Issuer)
	}
	d := &document{raw: raw}
	if d.jwksURL, err = endpoint(object, jwksMember.name); err != nil {
		return nil, err
	}
	if d.introspectionURL, err = endpoint(object, introspectionMember.name); err != nil {
		return nil, err
	}
	var foreign []error
	if i.config.NeedsKeys && i.config.JWKSURL == "" {
		foreign = append(foreign, i.own(jwksMember, d.jwksURL))
	}
	if i.config.NeedsIntrospection && i.config.IntrospectionURL == "" {
		foreign = append(foreign, i.own(introspectionMember, d.introspectionURL))
	}
	if err := errors.Join(foreign...); err != nil {
		return nil, err
	}
	if scopes := object.Get("scopes_supported"); scopes != nil {
		if d.scopes, err = scopes.Texts(); err != nil {
			return nil, fmt.Errorf("scopes_supported: %w", err)
		}
	}
	return d, nil
}

func endpoint(object strictjson.Object, name string) (string, error) {
	value := object.Get(name)
	if value == nil {
		return "", nil
	}
	address, err := value.Text()
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if _, err := upstream.ParseURL(address); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return address, nil
}

// FetchKeys gets the issuer's JWK Set document.
func (i *Issuer) FetchKeys(ctx context.Context) ([]byte, error) {
	address, err := i.findKeys(i.inForce())
	if err != nil {
		return nil, err
	}
	data, err := i.config.Client.Get(ctx, address, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", upstream.Shown(address), err)
	}
	return data, nil
}

// FindIntrospection is IntrospectionURL with the reason why there is none.
func (i *Issuer) FindIntrospection() (string, error) { return i.findIntrospection(i.inForce()) }

func (i *Issuer) findIntrospection(p pair) (string, error) {
	return i.find(p, introspectionMember, i.config.IntrospectionURL, func(d *document) string { return d.introspectionURL })
}

func (i *Issuer) findKeys(p pair) (string, error) {
	return i.find(p, jwksMember, i.config.JWKSURL, func(d *document) string { return d.jwksURL })
}

// member is an endpoint in the metadata, the setting that replaces it, and what
// to do if there is none.
type member struct{ name, setting, missing string }

var (
	jwksMember          = member{"jwks_uri", "AUTHZ_JWKS_URL", "set AUTHZ_JWKS_URL, or AUTHZ_TOKEN_MODE=opaque if all its tokens are opaque"}
	introspectionMember = member{"introspection_endpoint", "AUTHZ_INTROSPECTION_URL", "set AUTHZ_INTROSPECTION_URL"}
)

// own judges an endpoint that was found rather than set: it must share the
// issuer's origin, for who can alter the document must not be able to send
// tokens or trust elsewhere.
func (i *Issuer) own(m member, address string) error {
	if address == "" {
		return nil
	}
	if u, err := url.Parse(address); err != nil || upstream.Origin(u) != i.origin {
		return fmt.Errorf("%s is of another origin than the issuer: set %s if that is meant", m.name, m.setting)
	}
	return nil
}

// find is an endpoint: the one that is set, or else that of the documents.
func (i *Issuer) find(p pair, m member, set string, of func(*document) string) (string, error) {
	if set != "" {
		return set, nil
	}
	known := false
	for _, d := range p {
		if d == nil {
			continue
		}
		known = true
		address := of(d)
		if address == "" {
			continue
		}
		if err := i.own(m, address); err != nil {
			return "", err
		}
		return address, nil
	}
	if !known {
		return "", i.Unknown()
	}
	return "", fmt.Errorf("the issuer's metadata has no %s: %s", m.name, m.missing)
}

// Unknown says why no metadata is known yet; nil when some is.
func (i *Issuer) Unknown() error {
	if _, known := i.Raw(); known {
		return nil
	}
	var faults []error
	for at := range i.documents {
		if fault := i.documents[at].fault.Load(); fault != nil {
			faults = append(faults, *fault)
		}
	}
	if len(faults) == 0 {
		return errors.New("the issuer's metadata has not been fetched yet")
	}
	return fmt.Errorf("the issuer's metadata has not been fetched yet: %w", errors.Join(faults...))
}

// JWKSURL is where the keys are; empty if not known.
func (i *Issuer) JWKSURL() string { return i.jwksURL(i.inForce()) }

func (i *Issuer) jwksURL(p pair) string {
	address, _ := i.findKeys(p)
	return address
}

// IntrospectionURL is where tokens are introspected; empty if not known.
func (i *Issuer) IntrospectionURL() string {
	address, _ := i.FindIntrospection()
	return address
}

// Raw is the RFC 8414 document as served, else the OpenID Connect one.
func (i *Issuer) Raw() ([]byte, bool) { return i.raw(0) }

// RawOpenID is the OpenID Connect document as served, else the RFC 8414 one.
func (i *Issuer) RawOpenID() ([]byte, bool) { return i.raw(1) }

func (i *Issuer) raw(first int) ([]byte, bool) {
	for _, at := range []int{first, 1 - first} {
		if d := i.documents[at].last.Load(); d != nil {
			return d.raw, true
		}
	}
	return nil, false
}

// ScopesSupported is scopes_supported (RFC 8414 §2); nil if unknown. It must
// not be changed.
func (i *Issuer) ScopesSupported() []string {
	for at := range i.documents {
		if d := i.documents[at].last.Load(); d != nil && d.scopes != nil {
			return d.scopes
		}
	}
	return nil
}
