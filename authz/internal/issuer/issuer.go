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
	Client           *upstream.Client
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
	first     sync.Once
}

type source struct {
	url  string
	last atomic.Pointer[document]
}

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
// in, and reports whether at least one was good.
func (i *Issuer) Refresh(ctx context.Context) bool {
	var errs [2]error
	var took [2]time.Duration
	var both sync.WaitGroup
	for at := range i.documents {
		both.Go(func() {
			began := time.Now()
			errs[at] = i.fetch(ctx, &i.documents[at])
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
	return errs[0] == nil || errs[1] == nil
}

func (i *Issuer) fetch(ctx context.Context, s *source) error {
	ctx, cancel := context.WithTimeout(ctx, i.config.Timeout)
	defer cancel()
	raw, err := i.config.Client.Get(ctx, s.url, maxDocument)
	if err != nil {
		return fmt.Errorf("%s: %w", s.url, err)
	}
	next, err := i.parse(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", s.url, err)
	}
	before := i.JWKSURL()
	s.last.Store(next)
	if i.config.Moved != nil && before != "" && i.JWKSURL() != before {
		i.config.Moved()
	}
	i.first.Do(func() { close(i.known) })
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
	if d.jwksURL, err = endpoint(object, "jwks_uri"); err != nil {
		return nil, err
	}
	if d.introspectionURL, err = endpoint(object, "introspection_endpoint"); err != nil {
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
	address, err := i.find("jwks_uri", "AUTHZ_JWKS_URL", i.config.JWKSURL, func(d *document) string { return d.jwksURL })
	if err != nil {
		return nil, err
	}
	data, err := i.config.Client.Get(ctx, address, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return data, nil
}

// FindIntrospection is IntrospectionURL with the reason why there is none.
func (i *Issuer) FindIntrospection() (string, error) {
	return i.find("introspection_endpoint", "AUTHZ_INTROSPECTION_URL", i.config.IntrospectionURL, func(d *document) string { return d.introspectionURL })
}

// find is an endpoint in force. One that was found rather than set must share
// the issuer's origin: who can alter the document must not be able to send
// tokens or trust elsewhere.
func (i *Issuer) find(member, setting, set string, of func(*document) string) (string, error) {
	if set != "" {
		return set, nil
	}
	known := false
	for at := range i.documents {
		d := i.documents[at].last.Load()
		if d == nil {
			continue
		}
		known = true
		address := of(d)
		if address == "" {
			continue
		}
		if u, err := url.Parse(address); err != nil || upstream.Origin(u) != i.origin {
			return "", fmt.Errorf("%s is of another origin than the issuer: set %s if that is meant", member, setting)
		}
		return address, nil
	}
	if !known {
		return "", errors.New("the issuer's metadata is not known yet")
	}
	return "", fmt.Errorf("the issuer's metadata has no %s: set %s", member, setting)
}

// JWKSURL is where the keys are; empty if not known.
func (i *Issuer) JWKSURL() string {
	address, _ := i.find("jwks_uri", "AUTHZ_JWKS_URL", i.config.JWKSURL, func(d *document) string { return d.jwksURL })
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
