package explain

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/jwt"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
)

// Proposal is what settings could change.
type Proposal struct {
	// Changes are the settings that were tried, all together.
	Changes []Change `json:"changes,omitempty"`
	// Outcome is the verdict under them; empty if there were none to try.
	Outcome Verdict `json:"outcome,omitempty"`
	// Remaining are the checks that fail even so: no setting that is proposed
	// helps against them.
	Remaining []trail.Check `json:"remaining,omitempty"`
	// Others are settings that could be used instead, or that only a person can
	// decide on; they were not tried.
	Others []Change `json:"others,omitempty"`
	// Notes say what cannot be proposed, and why.
	Notes []string `json:"notes,omitempty"`
}

// Change is one setting with a new value.
type Change struct {
	Setting string `json:"setting"`
	Value   string `json:"value"`
	// Because is the reason that it answers.
	Because string `json:"because"`
	// GivesUp is what it costs in safety.
	GivesUp string `json:"gives_up"`
	// words: the value stands for one that only a person can know.
	words bool
}

// propose looks for settings under which the token would be accepted, and has
// it judged anew under them.
func (o Options) propose(ctx context.Context, c config.Config, r *Report, found evidence, raw string) (Proposal, error) {
	var p Proposal
	claims := read(raw, found.claims)
	for _, check := range r.Checks {
		if check.Result == trail.Fail && forged(check.Reason, claims) {
			p.Notes = append(p.Notes, "No setting is proposed, since nobody vouches for what the token says ("+check.Reason+").")
			return p, nil
		}
	}
	for _, check := range r.Checks {
		if check.Result == trail.Fail {
			p.consider(c, check.Reason, claims, found.who)
		}
	}
	if len(p.Changes) == 0 {
		return p, nil
	}
	changed := o
	for _, change := range p.Changes {
		set(&changed.Settings, change.Setting, change.Value)
	}
	loose, err := changed.Settings.Validate()
	if err != nil {
		// What comes from a token need not fit into a setting.
		p.Changes = nil
		p.Notes = append(p.Notes, "What would answer the faults cannot be set: "+err.Error())
		return p, nil
	}
	under, _, err := changed.judge(ctx, loose, raw)
	if err != nil {
		return Proposal{}, err
	}
	p.Outcome, p.Remaining = under.Verdict, under.Failed()
	return p, nil
}

// forged is true of the reasons for which the claims may be anybody's. A key that
// is not known, or an algorithm that could be accepted, can be the issuer's.
func forged(reason token.Reason, c claims) bool {
	return reason == token.SignatureInvalid || reason == token.AlgorithmRefused && !slices.Contains(jws.Algorithms(), c.algorithm)
}

// set changes a setting by its name.
func set(s *config.Settings, setting, value string) {
	fields := reflect.ValueOf(s).Elem()
	for i := range fields.NumField() {
		if fields.Type().Field(i).Tag.Get("env") == setting {
			fields.Field(i).SetString(value)
		}
	}
}

const (
	giveUpIssuer = "A token is then told from another server's only by the key that signed it or, if it is opaque, by the introspection endpoint that knows it: " +
		"whatever is signed with one of the issuer's keys, or is active there, passes this check, also tokens of a staging system or another product that shares them. A wrong iss stays refused."
	giveUpTrust    = "Every token that this server signs is then trusted, and none of the present issuer. Not tried, because nothing is fetched from an address that a token names."
	giveUpClient   = "Every token that the issuer made for this client is then accepted, whatever resource it was meant for; other clients stay refused. A new client has to be added here before its users can sign in."
	giveUpAudience = "Tokens that were issued for that resource are then accepted here: whoever runs it, and is sent such tokens, can use them here in their users' name."
	giveUpAny      = "Tokens for every client of the issuer, and for every resource whose aud is no URI, are then accepted: each service that is sent such a token can use it here in its user's name. The most open of these settings."
	giveUpReport   = "No aud is refused any more, only counted and logged: fit for finding out what tokens look like, not for staying so."
	giveUpNoScope  = "This aud is then accepted without a scope claim, so that an ID token for the same client, if it carries no nonce or hash, passes for an access token."
	giveUpLeeway   = "A token can be used this much before it is meant to be. Setting the clock right gives up nothing."
	giveUpNothing  = "Nothing, as long as the issuer itself signs with it: the list only holds signatures that need a private key."
	giveUpScope    = "Requests without this scope then reach mcpbackend, which still asks for the scopes of each tool."
	giveUpScopes   = "No missing scope is refused any more, not even by the tools; fit for finding out what tokens look like."
	giveUpSecret   = "Nothing by itself: the issuer answers for each token, at the price of one call per token and cache life. Not tried, because it takes a client of NeonPanel's."
	giveUpRevoked  = "A revoked token then stays good until it expires."
)

// consider adds what could be done about one reason.
func (p *Proposal) consider(c config.Config, reason token.Reason, read claims, who token.Identity) {
	try := func(setting, value, givesUp string) {
		p.Changes = append(p.Changes, Change{Setting: setting, Value: value, Because: reason, GivesUp: givesUp})
	}
	other := func(setting, value, givesUp string) {
		p.Others = append(p.Others, Change{Setting: setting, Value: value, Because: reason, GivesUp: givesUp})
	}
	ask := func(setting, value, givesUp string) {
		p.Others = append(p.Others, Change{Setting: setting, Value: value, Because: reason, GivesUp: givesUp, words: true})
	}
	audiences := append([]string{}, c.Audiences...)
	if c.AnyAudience {
		audiences = append(audiences, "any")
	}
	switch reason {
	case token.IssuerMissing:
		try("AUTHZ_ALLOW_MISSING_ISSUER", "true", giveUpIssuer)
	case token.IssuerMismatch:
		if fits(read.issuer) {
			other("NEONPANEL_ISSUER", read.issuer, giveUpTrust)
		}
	case token.AudienceMismatch:
		urls, names := apart(read.audience)
		p.unfit(read.audience)
		switch {
		case len(urls) > 0:
			try("AUTHZ_AUDIENCES", join(audiences, urls[0]), giveUpAudience)
		case len(names) > 0 && read.scopes:
			try("AUTHZ_CLIENT_IDS", join(c.ClientIDs, names[0]), giveUpClient)
			other("AUTHZ_AUDIENCES", join(audiences, "any"), giveUpAny)
		case len(names) > 0:
			try("AUTHZ_AUDIENCES", join(audiences, names[0]), giveUpNoScope)
		}
		other("AUTHZ_AUDIENCE_MODE", "report", giveUpReport)
	case token.AudienceMissing:
		if read.scopes {
			try("AUTHZ_AUDIENCES", join(audiences, "any"), giveUpAny)
			other("AUTHZ_AUDIENCE_MODE", "report", giveUpReport)
		} else {
			try("AUTHZ_AUDIENCE_MODE", "report", giveUpReport)
		}
	case token.ScopeClaimMissing:
		p.unfit(read.audience)
		if urls, names := apart(read.audience); len(urls)+len(names) > 0 {
			try("AUTHZ_AUDIENCES", join(audiences, slices.Concat(names, urls)[0]), giveUpNoScope)
			other("AUTHZ_AUDIENCE_MODE", "report", giveUpReport)
		} else {
			try("AUTHZ_AUDIENCE_MODE", "report", giveUpReport)
		}
	case token.AlgorithmRefused:
		if slices.Contains(jws.Algorithms(), read.algorithm) && !slices.Contains(c.Algorithms, read.algorithm) {
			try("AUTHZ_ALGORITHMS", join(c.Algorithms, read.algorithm), giveUpNothing)
		}
	case token.NotYetValid:
		// As long as the setting may be.
		ahead := time.Until(read.notBefore).Truncate(time.Minute) + time.Minute
		if ahead > c.Leeway && ahead <= config.MaxLeeway {
			try("AUTHZ_LEEWAY", ahead.String(), giveUpLeeway)
		}
	case token.Opaque:
		if c.Introspection.ClientID != "" {
			try("AUTHZ_TOKEN_MODE", "auto", giveUpSecret)
		} else {
			ask("AUTHZ_INTROSPECTION_CLIENT_ID", "(a client that may introspect), with AUTHZ_INTROSPECTION_CLIENT_SECRET_FILE or AUTHZ_INTROSPECTION_KEY_FILE", giveUpSecret)
		}
	case token.KeyUnknown:
		ask("AUTHZ_JWKS_URL", "(where the issuer has the key of this kid)", "Nothing, if those keys are the issuer's own: whoever holds one of them signs tokens.")
	case token.Inactive:
		if c.Introspection.JWT && read.isJWT {
			try("AUTHZ_INTROSPECT_JWT", "false", giveUpRevoked)
		}
	case decision.ReasonInsufficientScope:
		missing := who.Missing(c.RequiredScopes...)
		left := slices.DeleteFunc(slices.Clone(c.RequiredScopes), func(s string) bool { return slices.Contains(missing, s) })
		try("AUTHZ_REQUIRED_SCOPES", strings.Join(left, ","), giveUpScope)
		other("AUTHZ_SCOPE_MODE", "report", giveUpScopes)
	}
}

// apart parts audiences that are URIs from others; those that fit into no list
// of a setting are left out.
func apart(audience []string) (urls, names []string) {
	for _, a := range audience {
		switch {
		case !fits(a) || a == "any" || !config.IsAudience(a):
		case jwt.NamesResource(a):
			urls = append(urls, a)
		default:
			names = append(names, a)
		}
	}
	return urls, names
}

// unfit notes which audiences no setting can hold.
func (p *Proposal) unfit(audience []string) {
	for _, a := range audience {
		if !fits(a) || a == "any" || !config.IsAudience(a) {
			p.Notes = append(p.Notes, "This aud cannot be an element of AUTHZ_AUDIENCES, which takes absolute URIs without a fragment (RFC 8707 §2) and plain names without a comma; the issuer has to change it: "+a)
		}
	}
}

// fits reports whether a value can stand in a setting and be shown as it is.
func fits(s string) bool {
	return s != "" && len(s) < longest && !strings.Contains(s, ",") && printable(s) == s && strings.TrimSpace(s) == s
}

func join(list []string, more string) string {
	return strings.Join(append(slices.Clone(list), more), ",")
}
