package doctor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/keys"
	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

// issuerDocument is the issuer's metadata as one of its documents tells it.
type issuerDocument struct {
	address string
	object  strictjson.Object
	scopes  []string
}

// wellKnown are the addresses of the issuer's documents (RFC 8414 §3.1, OpenID
// Connect Discovery §4).
func wellKnown(issuer string) (addresses []string) {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil
	}
	base, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	return []string{base + "/.well-known/oauth-authorization-server" + path, base + path + "/.well-known/openid-configuration"}
}

// required are the members without which no client can log in (RFC 8414 §2).
var required = []string{"authorization_endpoint", "token_endpoint"}

// checkMetadata fetches the metadata from the issuer itself. Most issuers have
// only one of the two documents; one that answers wrongly is worse than none.
func (e *examination) checkMetadata(ctx context.Context) Finding {
	var bad problems
	for _, address := range wellKnown(e.issuer) {
		a := e.client.get(ctx, address, "Accept", "application/json")
		if a.err == nil && (a.status == http.StatusNotFound || a.status == http.StatusGone) {
			continue
		}
		d := issuerDocument{address: address}
		if err := d.parse(e, a); err != nil {
			bad.add(address, err.Error())
			continue
		}
		e.metadata, e.issuerAt = append(e.metadata, d), a
	}
	const fix = "have the issuer serve its metadata there, as RFC 8414 §2 has it; NEONPANEL_ISSUER says where that is"
	switch {
	case bad.any():
		return fail(fix, "%s", bad.String())
	case e.metadata == nil:
		return fail(fix, "no document at %s", strings.Join(wellKnown(e.issuer), " or "))
	}
	addresses := make([]string, 0, len(e.metadata))
	for _, d := range e.metadata {
		addresses = append(addresses, d.address)
	}
	return ok("%s", strings.Join(addresses, ", "))
}

func (d *issuerDocument) parse(e *examination, a answer) (err error) {
	if d.object, err = a.object(); err != nil {
		return err
	}
	// RFC 8414 §2 leaves jwks_uri open: tokens that are introspected need no keys.
	members, introspection := slices.Clone(required), d.object.Get("introspection_endpoint")
	if introspection != nil {
		members = append(members, "introspection_endpoint")
	}
	if introspection == nil || d.object.Get("jwks_uri") != nil {
		members = append(members, "jwks_uri")
	}
	for _, name := range members {
		value, err := d.object.Get(name).Text()
		if err != nil {
			return fmt.Errorf("%s is missing or not a string", name)
		}
		if err := e.allowed(value); err != nil {
			return fmt.Errorf("%s %.200q %w", name, value, err)
		}
	}
	if types, err := d.object.Get("response_types_supported").Texts(); err != nil || !slices.Contains(types, "code") {
		return fmt.Errorf("response_types_supported does not name code")
	}
	if value := d.object.Get("scopes_supported"); value != nil {
		if d.scopes, err = value.Texts(); err != nil {
			return fmt.Errorf("scopes_supported is not a list of strings")
		}
	}
	return nil
}

// checkIssuer holds to RFC 8414 §3.3: to the byte the name that led there.
func (e *examination) checkIssuer(context.Context) Finding {
	for _, d := range e.metadata {
		if issuer, _ := d.object.Get("issuer").Text(); issuer != e.issuer {
			return fail("set NEONPANEL_ISSUER to exactly what the issuer calls itself", "%s says %.200q, the gateway %.200q", d.address, issuer, e.issuer)
		}
	}
	return ok("%s, to the byte", e.issuer)
}

// checkPKCE: clients refuse a server that does not announce S256 (RFC 7636
// §4.2, RFC 8414 §2).
func (e *examination) checkPKCE(context.Context) Finding {
	for _, d := range e.metadata {
		if methods, err := d.object.Get("code_challenge_methods_supported").Texts(); err != nil || !slices.Contains(methods, "S256") {
			return fail("have the issuer announce S256 in code_challenge_methods_supported", "%s has %.200s", d.address, orNone(d.object.Get("code_challenge_methods_supported")))
		}
	}
	return ok("S256")
}

// checkRegistration: how a client that nobody registered gets a client id
// (RFC 7591, or a client id metadata document).
func (e *examination) checkRegistration(context.Context) Finding {
	documents := 0
	for _, d := range e.metadata {
		value := d.object.Get("registration_endpoint")
		byDocument := d.object.Get("client_id_metadata_document_supported").IsTrue()
		switch address, err := value.Text(); {
		case value == nil && !byDocument:
			return fail("have the issuer offer registration_endpoint (RFC 7591), or register each connector by hand", "%s offers none", d.address)
		case value == nil:
			documents++
		case err != nil:
			return fail("have the issuer name it as a string", "registration_endpoint is %.200s", value)
		case e.allowed(address) != nil:
			return fail("have the issuer name an https address", "registration_endpoint %.200q %v", address, e.allowed(address))
		}
	}
	if documents > 0 {
		return warn("have the issuer offer registration_endpoint too, for clients that know nothing else", "client id metadata documents only")
	}
	return ok("registration_endpoint")
}

// jsonWebKey is what is looked at of one key.
type jsonWebKey struct {
	id, kind string
	hasID    bool
	bits     int
	print    string
}

// checkKeys reads the key set with the parser that authz itself has.
func (e *examination) checkKeys(ctx context.Context) Finding {
	// As authz does, the first document that names them.
	named := slices.IndexFunc(e.metadata, func(d issuerDocument) bool { return d.object.Get("jwks_uri") != nil })
	if named < 0 {
		return skip("the issuer names none (jwks_uri), so its tokens can only be introspected, as with AUTHZ_TOKEN_MODE=opaque")
	}
	address, err := e.metadata[named].object.Get("jwks_uri").Text()
	if err != nil {
		return fail("have the issuer name its keys", "no jwks_uri")
	}
	object, err := e.client.get(ctx, address, "Accept", "application/json").object()
	if err != nil {
		return fail("have the issuer serve its keys (RFC 7517 §5)", "%s: %v", address, err)
	}
	elements, err := strictjson.ParseArray(object.Get("keys"))
	if err != nil {
		return fail("have the issuer serve a JWK Set (RFC 7517 §5)", "%s: keys is not a list", address)
	}
	for _, element := range elements {
		member, err := strictjson.ParseObject(element)
		if err != nil {
			return fail("have the issuer serve a JWK Set (RFC 7517 §5)", "%s: a key is not an object", address)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if member.Get(private) != nil {
				return fail("replace this key now: everybody can sign tokens with it", "%s shows private key material", address)
			}
		}
		e.keys = append(e.keys, parseKey(member))
	}
	document := []byte(`{"keys":` + string(object.Get("keys")) + `}`)
	usable, skipped, err := keys.Parse(document, jws.Algorithms())
	if err != nil {
		return fail("have the issuer publish a signing key", "%s: %s", address, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if _, _, err := keys.Parse(document, []string{"RS256"}); err != nil {
		return warn("set AUTHZ_ALGORITHMS to what the keys are for: its default is RS256", "no key for RS256")
	}
	if of, err := url.Parse(address); err != nil || upstream.Origin(of) != originOf(e.issuer) {
		return warn("authz needs AUTHZ_JWKS_URL="+address+" to fetch keys from another origin", "%s is of another origin than the issuer", address)
	}
	return ok("%d of %d for signatures, at %s", len(usable), len(usable)+len(skipped), address)
}

func parseKey(o strictjson.Object) jsonWebKey {
	var k jsonWebKey
	var err error
	k.id, err = o.Get("kid").Text()
	k.hasID = err == nil && k.id != ""
	k.kind, _ = o.Get("kty").Text()
	n, _ := o.Get("n").Text()
	if modulus, err := base64.RawURLEncoding.DecodeString(n); err == nil {
		k.bits = new(big.Int).SetBytes(modulus).BitLen()
	}
	x, _ := o.Get("x").Text()
	y, _ := o.Get("y").Text()
	k.print = n + "." + x + "." + y
	return k
}

// checkKeyStrength holds to RFC 7518 §3.3.
func (e *examination) checkKeyStrength(context.Context) Finding {
	for _, k := range e.keys {
		if k.kind == "RSA" && k.bits < 2048 {
			return fail("have the issuer sign with RSA keys of 2048 bits at least, and drop this one", "key %.100q has %d bits; authz does not use it", k.id, k.bits)
		}
	}
	return ok("no RSA key under 2048 bits")
}

// checkKeyIDs holds to RFC 7517 §4.5: keys are told apart by `kid`.
func (e *examination) checkKeyIDs(context.Context) Finding {
	const fix = "have the issuer give each key a kid of its own, and none twice"
	seen := map[string]jsonWebKey{}
	for _, k := range e.keys {
		if !k.hasID {
			if len(e.keys) > 1 {
				return warn(fix, "a key has no kid among %d", len(e.keys))
			}
			continue
		}
		if before, twice := seen[k.id]; twice {
			if before.print == k.print {
				return warn(fix, "the key %.100q is there twice", k.id)
			}
			return fail(fix, "kid %.100q names two different keys", k.id)
		}
		seen[k.id] = k
	}
	return ok("told apart")
}

const (
	// tolerance is the default of AUTHZ_LEEWAY; what is nearer than notable may
	// be the network.
	tolerance = 30 * time.Second
	notable   = 5 * time.Second
)

// checkClock compares clocks by the Date of answers (RFC 9110 §6.6.1). What
// counts is that gateway and issuer agree, since the one judges the dates that
// the other wrote.
func (e *examination) checkClock(context.Context) Finding {
	gateway, err := skew(e.refusals[0].answer)
	if err != nil {
		return warn("let Envoy's Date header through", "an answer of the gateway: %v", err)
	}
	issuer, err := skew(e.issuerAt)
	if err != nil {
		return warn("let the issuer's Date header through", "an answer of the issuer: %v", err)
	}
	seen := fmt.Sprintf("against this machine: gateway %+.0f s, issuer %+.0f s", gateway.Seconds(), issuer.Seconds())
	apart := (gateway - issuer).Abs()
	switch {
	case apart > tolerance:
		return fail("run a time service (NTP) where the clock is wrong; until then fresh tokens are refused, or expired ones accepted", "%s", seen)
	case apart > notable:
		return warn("run a time service (NTP) where the clock is wrong", "%s", seen)
	case gateway.Abs() > notable:
		return warn("set this machine's clock: gateway and issuer agree with each other", "%s", seen)
	}
	return ok("%s", seen)
}

// skew is how far ahead of ours the clock of a server is.
func skew(a answer) (time.Duration, error) {
	said, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return 0, fmt.Errorf("its Date is %.100q", a.header.Get("Date"))
	}
	// A cache sends on the date that it got (RFC 9111 §4.2.3).
	if age, err := strconv.Atoi(a.header.Get("Age")); err == nil && age > 0 {
		said = said.Add(time.Duration(age) * time.Second)
	}
	// Date has whole seconds: on average it is half of one behind.
	return said.Add(500 * time.Millisecond).Sub(a.at).Round(time.Second), nil
}

func isLoopback(u *url.URL) bool {
	_, err := upstream.ParseURL("http://" + u.Host)
	return err == nil
}

func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return upstream.Origin(u)
}

func sameObject(a, b strictjson.Object) bool {
	decode := func(o strictjson.Object) (map[string]any, error) {
		m := make(map[string]any, len(o))
		for _, member := range o {
			var v any
			if err := json.Unmarshal(member.Value, &v); err != nil {
				return nil, err
			}
			m[member.Name] = v
		}
		return m, nil
	}
	x, errX := decode(a)
	y, errY := decode(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

func orNone(v strictjson.Value) string {
	if v == nil {
		return "none"
	}
	return string(v)
}
