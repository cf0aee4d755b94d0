// Package config reads and checks the sandbox's settings.
package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/listen"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

// Flags are the settings as given. They stay strings, so that all faults are
// found together instead of stopping at the first.
type Flags struct {
	Listen              string   `name:"sandbox-listen" env:"SANDBOX_LISTEN" default:"127.0.0.1:9090" placeholder:"ADDR" help:"Where the OAuth server and the API listen: host:port on loopback, or unix:/path (default ${default})."`
	Expose              string   `name:"sandbox-expose" env:"SANDBOX_EXPOSE" default:"false" placeholder:"BOOL" help:"Let SANDBOX_LISTEN be an address that is not loopback. For containers, whose network nobody else is on."`
	Issuer              string   `name:"sandbox-issuer" env:"SANDBOX_ISSUER" placeholder:"URL" help:"The exact issuer, and the origin of every URL in the metadata (default http:// and the listen address)."`
	ControlListen       string   `name:"sandbox-control-listen" env:"SANDBOX_CONTROL_LISTEN" default:"127.0.0.1:9091" placeholder:"ADDR" help:"Where the control API listens: host:port on loopback, or unix:/path (default ${default})."`
	Resources           []string `name:"sandbox-resources" env:"SANDBOX_RESOURCES" sep:"," placeholder:"URL,..." help:"Resource identifiers (RFC 8707) that tokens may be issued for and that the API accepts as audience: the gateway's URLs. The first is the default audience (default: the issuer)."`
	Scopes              []string `name:"sandbox-scopes" env:"SANDBOX_SCOPES" sep:"," placeholder:"SCOPE,..." help:"Scopes that can be granted (default: NeonPanel's)."`
	TokenKind           string   `name:"sandbox-token-kind" env:"SANDBOX_TOKEN_KIND" default:"jwt" placeholder:"KIND" help:"Access tokens of the OAuth flow: jwt, opaque or passport (default ${default})."`
	TokenTTL            string   `name:"sandbox-token-ttl" env:"SANDBOX_TOKEN_TTL" default:"1h" placeholder:"DURATION" help:"Lifetime of access tokens of the OAuth flow (default ${default})."`
	ImportDelay         string   `name:"sandbox-import-delay" env:"SANDBOX_IMPORT_DELAY" default:"10s" placeholder:"DURATION" help:"How long the import of a PDF takes (default ${default}). With less than 10s its Retry-After is no longer than that."`
	IntrospectionID     string   `name:"sandbox-introspection-client-id" env:"SANDBOX_INTROSPECTION_CLIENT_ID" placeholder:"ID" help:"Client that may introspect every token (RFC 7662)."`
	IntrospectionSecret string   `name:"sandbox-introspection-client-secret" env:"SANDBOX_INTROSPECTION_CLIENT_SECRET" placeholder:"SECRET" help:"Its secret, at least 16 characters."`
	IntrospectionFile   string   `name:"sandbox-introspection-client-secret-file" env:"SANDBOX_INTROSPECTION_CLIENT_SECRET_FILE" placeholder:"FILE" help:"File that holds the secret, instead."`
	Quirks              []string `name:"sandbox-quirks" env:"SANDBOX_QUIRKS" sep:"," placeholder:"QUIRK,..." help:"Old NeonPanel faults to bring back: ${quirks}."`
}

// Quirk is a fault that NeonPanel's authorization server once had.
type Quirk string

// The quirks.
const (
	// RegisterHTML answers every registration with an HTML error page.
	RegisterHTML Quirk = "register-html"
	// BasicHTML answers a token request that has Basic authentication but no
	// client_id in the form with an HTML error page.
	BasicHTML Quirk = "basic-html"
)

// Quirks lists what SANDBOX_QUIRKS may hold.
func Quirks() []string { return []string{string(RegisterHTML), string(BasicHTML)} }

// DefaultScopes are the scopes of NeonPanel's published documents.
func DefaultScopes() []string {
	return []string{
		"openid", "read:inventory", "read:analytics", "read:companies", "read:reports", "read:warehouses",
		"read:revenue", "read:cogs", "read:landed-cost", "write:import",
	}
}

// Settings are the checked settings.
type Settings struct {
	Listen              string
	ControlListen       string
	Issuer              string
	Resources           []string // never empty
	Scopes              []string
	TokenKind           token.Kind
	TokenTTL            time.Duration
	ImportDelay         time.Duration
	IntrospectionID     string
	IntrospectionSecret string
	Quirks              []Quirk
}

// scopeToken is RFC 6749 §3.3.
var scopeToken = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`)

// Settings checks the flags. The error names every fault.
func (f Flags) Settings() (Settings, error) {
	var faults []error
	fault := func(name, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}
	s := Settings{
		Listen:          f.Listen,
		ControlListen:   f.ControlListen,
		Issuer:          f.Issuer,
		IntrospectionID: f.IntrospectionID,
	}

	expose := false
	switch f.Expose {
	case "true":
		expose = true
	case "false", "":
	default:
		fault("SANDBOX_EXPOSE", "want true or false: %q", f.Expose)
	}
	if err := listen.Check(f.Listen, expose); err != nil {
		fault("SANDBOX_LISTEN", "%v", err)
	}
	if err := listen.Check(f.ControlListen, false); err != nil {
		fault("SANDBOX_CONTROL_LISTEN", "%v", err)
	}
	if f.ControlListen == f.Listen {
		fault("SANDBOX_CONTROL_LISTEN", "must differ from SANDBOX_LISTEN: whoever reaches it can make tokens")
	}

	if s.Issuer == "" {
		if strings.HasPrefix(f.Listen, "unix:") {
			fault("SANDBOX_ISSUER", "must be set when SANDBOX_LISTEN is a unix socket")
		}
		s.Issuer = "http://" + f.Listen
	} else if err := origin(s.Issuer, expose); err != nil {
		fault("SANDBOX_ISSUER", "%v", err)
	}

	s.Resources = list(f.Resources)
	for _, r := range s.Resources {
		// RFC 8707 §2: an absolute URI without a fragment.
		if u, err := url.Parse(r); err != nil || !u.IsAbs() || u.Host == "" || strings.Contains(r, "#") {
			fault("SANDBOX_RESOURCES", "want absolute URLs without a fragment: %q", r)
		}
	}
	if len(s.Resources) == 0 {
		s.Resources = []string{s.Issuer}
	}

	s.Scopes = list(f.Scopes)
	if len(s.Scopes) == 0 {
		s.Scopes = DefaultScopes()
	}
	for _, scope := range s.Scopes {
		if !scopeToken.MatchString(scope) {
			fault("SANDBOX_SCOPES", "%q is not a scope (RFC 6749 section 3.3)", scope)
		}
	}

	var err error
	if s.TokenKind, err = token.ParseKind(f.TokenKind); err != nil {
		fault("SANDBOX_TOKEN_KIND", "%v", err)
	}
	if s.TokenTTL, err = time.ParseDuration(f.TokenTTL); err != nil || s.TokenTTL < time.Second {
		fault("SANDBOX_TOKEN_TTL", "want a duration of at least 1s, such as 1h: %q", f.TokenTTL)
	}
	if s.ImportDelay, err = time.ParseDuration(f.ImportDelay); err != nil || s.ImportDelay < time.Millisecond || s.ImportDelay > time.Hour {
		fault("SANDBOX_IMPORT_DELAY", "want a duration from 1ms to 1h, such as 10s: %q", f.ImportDelay)
	}

	s.IntrospectionSecret = f.IntrospectionSecret
	if f.IntrospectionFile != "" {
		if f.IntrospectionSecret != "" {
			fault("SANDBOX_INTROSPECTION_CLIENT_SECRET_FILE", "and SANDBOX_INTROSPECTION_CLIENT_SECRET exclude each other")
		}
		b, err := os.ReadFile(f.IntrospectionFile)
		if err != nil {
			fault("SANDBOX_INTROSPECTION_CLIENT_SECRET_FILE", "%v", err)
		}
		s.IntrospectionSecret = strings.TrimRight(string(b), "\r\n")
	}
	switch {
	case (s.IntrospectionID == "") != (s.IntrospectionSecret == ""):
		fault("SANDBOX_INTROSPECTION_CLIENT_ID", "and its secret must be set together")
	case s.IntrospectionSecret != "" && len(s.IntrospectionSecret) < 16:
		fault("SANDBOX_INTROSPECTION_CLIENT_SECRET", "must have at least 16 characters")
	}

	for _, q := range list(f.Quirks) {
		if !slices.Contains(Quirks(), q) {
			fault("SANDBOX_QUIRKS", "unknown quirk %q: want some of %s", q, strings.Join(Quirks(), ", "))
		}
		s.Quirks = append(s.Quirks, Quirk(q))
	}
	return s, errors.Join(faults...)
}

// origin checks an issuer (RFC 8414 §2). This server serves its metadata at
// the root, so the issuer has no path; a trailing slash would be another
// issuer to a client that compares strings, as it must.
func origin(raw string, remote bool) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return fmt.Errorf("not a URL: %q", raw)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil:
		return fmt.Errorf("want an origin such as http://127.0.0.1:9090: %q", raw)
	case raw != u.Scheme+"://"+u.Host:
		return fmt.Errorf("want an origin without path or trailing slash: %q", raw)
	case u.Scheme == "http" && !remote && !listen.Loopback(u.Hostname()):
		return fmt.Errorf("http is for loopback only: %q", raw)
	}
	return nil
}

// list drops empty elements and doubles.
func list(in []string) []string {
	var out []string
	for _, s := range in {
		for s := range strings.FieldsSeq(s) {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}
