package explain

import (
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/scopes"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

// decidedBy names the settings that a check goes by, as they are in force, or
// the rule that no setting changes.
func decidedBy(c config.Config, issuer verifier.Metadata, check trail.Check) string {
	keys := "AUTHZ_JWKS_URL=" + or(upstream.Shown(c.JWKSURL), "(the issuer's metadata) "+upstream.Shown(issuer.JWKSURL()))
	switch check {
	case trail.Form:
		return "AUTHZ_TOKEN_MODE=" + c.TokenMode + "; visible ASCII, no comma"
	case trail.Size:
		return "at most " + strconv.Itoa(verifier.MaxToken) + " bytes"
	case trail.Header:
		return "no crit, b64, enc, zip or nested JWT (RFC 7515 §4.1.11, RFC 7797); jku, x5u, jwk, x5c are ignored"
	case trail.Algorithm:
		return "AUTHZ_ALGORITHMS=" + strings.Join(c.Algorithms, ",")
	case trail.Type:
		return "JWT, at+jwt or absent (RFC 9068 §4)"
	case trail.Payload:
		return "one JSON object, no member twice (RFC 7519 §4)"
	case trail.Issuer:
		return "NEONPANEL_ISSUER=" + c.Issuer + ", AUTHZ_ALLOW_MISSING_ISSUER=" + strconv.FormatBool(c.AllowMissingIssuer)
	case trail.Expiry:
		return "required, without leeway (RFC 7519 §4.1.4)"
	case trail.NotBefore:
		return "AUTHZ_LEEWAY=" + c.Leeway.String()
	case trail.IssuedAt:
		return "must be a date, is not judged"
	case trail.Subject:
		return "required: a string that fits a header"
	case trail.Audience:
		audiences := strings.Join(c.Audiences, ",")
		if c.AnyAudience {
			audiences += ",any"
		}
		mode := "enforce"
		if c.ReportAudience {
			mode = "report"
		}
		return "AUTHZ_AUDIENCES=" + audiences + ", AUTHZ_CLIENT_IDS=" + or(strings.Join(c.ClientIDs, ","), "(none)") + ", AUTHZ_AUDIENCE_MODE=" + mode
	case trail.ClientID:
		return "client_id, else azp, else an aud that is no URI; strings"
	case trail.TokenID:
		return "a string, if present"
	case trail.Scopes:
		from := "AUTHZ_SCOPES="
		if c.Scopes == nil {
			from += "(the issuer's metadata) "
		}
		return from + or(strings.Join(inForce(c, issuer), ","), "(none)") + "; each element one scope-token (RFC 6749 §3.3)"
	case trail.IDToken:
		return "no nonce, at_hash, c_hash: they mark ID tokens"
	case trail.Use:
		return "token_use, token_type, typ: an access token; no events"
	case trail.Confirmation:
		return "no cnf: proofs of possession are not checked"
	case trail.Keys:
		return keys + ", AUTHZ_KEYS_MAX_STALE=" + c.KeysMaxStale.String()
	case trail.KeyID, trail.Signature:
		return keys
	case trail.Introspection:
		if c.Introspection.ClientID == "" {
			return "AUTHZ_INTROSPECTION_CLIENT_ID=(none): off"
		}
		return "AUTHZ_INTROSPECTION_URL=" + or(upstream.Shown(c.Introspection.URL), "(the issuer's metadata) "+upstream.Shown(issuer.IntrospectionURL())) +
			", AUTHZ_INTROSPECTION_CLIENT_ID=" + c.Introspection.ClientID + ", AUTHZ_INTROSPECT_JWT=" + strconv.FormatBool(c.Introspection.JWT)
	case trail.DenyList:
		return "AUTHZ_DENY_FILE=" + or(c.DenyFile, "(none)")
	case trail.RequiredScopes:
		return "AUTHZ_REQUIRED_SCOPES=" + or(strings.Join(c.RequiredScopes, ","), "(none)") + ", AUTHZ_SCOPE_MODE=" + string(c.ScopeMode)
	}
	return ""
}

func inForce(c config.Config, issuer verifier.Metadata) []string {
	return scopes.InForce(c.Scopes, issuer.ScopesSupported())
}

func or(s, otherwise string) string {
	if s == "" {
		return strings.TrimSpace(otherwise)
	}
	return s
}

// fixes say what to do about each reason, to the one who runs the gateway.
var fixes = map[token.Reason]string{
	token.Undecodable:       "The token is damaged: copy it whole, without quotes, padding or line breaks. If it came like this from the issuer, the issuer's JSON is faulty.",
	token.Opaque:            "Only the issuer can read an opaque token: configure introspection, or have the issuer give out JWTs.",
	token.HeaderRefused:     "The header asks for something that is not supported, or lacks alg; the issuer has to sign plain JWTs.",
	token.TypeRefused:       "This is a JWT for another purpose. Send the access token.",
	token.AlgorithmRefused:  "The issuer signs with an algorithm that is not accepted, or the key is for another algorithm.",
	token.ClaimInvalid:      "The claim has a type or a value that no access token may have; the issuer has to change it.",
	token.SubjectMissing:    "The issuer has to put the user's id into sub. Tokens of the client credentials grant have none: they cannot be used here.",
	token.ExpiryMissing:     "The issuer has to let its tokens expire.",
	token.Expired:           "Get a fresh token. If it should still be good, compare the clocks of this machine and the issuer.",
	token.NotYetValid:       "Compare the clocks of this machine and the issuer.",
	token.IssuerMissing:     "The issuer has to put its identifier into iss, of the token or of its answer about an opaque one; until then AUTHZ_ALLOW_MISSING_ISSUER.",
	token.IssuerMismatch:    "Another server issued this token, or it writes its name in another way: NEONPANEL_ISSUER must be equal to iss to the byte, slash at the end included.",
	token.AudienceMissing:   "The token does not say which resource it is for. Have the client send resource= (RFC 8707) and the issuer put it into aud.",
	token.AudienceMismatch:  "The token is for another resource, or aud holds the client, as Laravel Passport has it.",
	token.ScopeClaimMissing: "A token accepted by its client id, or by 'any', needs a scope claim: it tells access tokens from ID tokens.",
	token.ScopeInvalid:      "A scope is not a scope-token, such as an array element with a space in it; the issuer has to change it.",
	token.IDToken:           "This is an ID token, which is for the client alone. Send the access token.",
	token.NotAccessToken:    "This is a refresh, ID or logout token. Send the access token.",
	token.SenderBound:       "The token is bound to a key (DPoP or mTLS), which cannot be checked here. Ask for a bearer token.",
	token.KeyUnknown:        "The issuer's keys do not hold this kid: the key was removed, the keys are elsewhere, or another server signed the token.",
	token.SignatureInvalid:  "The key of this kid did not make the signature: the token was changed or cut off, or another server uses the same kid.",
	token.Inactive:          "The issuer says that the token is not active: expired, revoked, unknown to it, or not for this client to ask about.",
	token.Denied:            "The deny file names the token's subject, client or jti, or refuses what was issued before a date. Change the file if that is not meant any more.",
	token.Oversize:          "The issuer has to make smaller tokens: fewer claims, or opaque ones.",
	token.CharactersRefused: "Take the token alone: no 'Bearer', no quotes, no spaces, no line breaks.",

	token.KeysMissing:         "The issuer's keys could not be fetched: see the trouble below, and check NEONPANEL_ISSUER, AUTHZ_JWKS_URL, UPSTREAM_PROXY and UPSTREAM_CA_FILE.",
	token.KeysStale:           "The issuer's keys could not be refreshed for too long.",
	token.KeyPending:          "The kid is not known, and asking the issuer for its keys again failed: try again.",
	token.SignaturePending:    "The key of this kid did not make the signature, and asking the issuer for its keys again failed, so that it may have been replaced since: try again.",
	token.IntrospectionFailed: "The issuer did not answer the introspection as it should: see the note and the trouble below, and check the endpoint and the client's credentials.",
	token.IntrospectionBusy:   "Too many tokens that are not known are asked about: try again after a second.",
	token.Interrupted:         "Try again.",
	token.Internal:            "This is a fault of authz itself; please report it.",

	decision.ReasonInsufficientScope: "The user has to grant the scope at the next sign-in, or the issuer does not give it out.",
}

// Fix says what to do about a reason; empty if no token leads to it.
func Fix(reason token.Reason) string { return fixes[reason] }
