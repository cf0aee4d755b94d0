package token

import (
	"slices"
	"time"
)

// Reason is a code from the closed set below: fit for logs, metric labels and
// Envoy's dynamic metadata.
type Reason = string

// The reasons why a token is not accepted. Each has its Kind and its
// description in the table below; together they are everything that a verifier
// can say, so nothing a client sent can reach a header through them.
const (
	// The token is not acceptable: 401 invalid_token (RFC 6750 §3.1).
	Undecodable       Reason = "token_undecodable"
	Opaque            Reason = "token_opaque"
	NotOpaque         Reason = "token_not_opaque"
	HeaderRefused     Reason = "header_refused"
	TypeRefused       Reason = "type_refused"
	AlgorithmRefused  Reason = "algorithm_refused"
	ClaimInvalid      Reason = "claim_invalid"
	SubjectMissing    Reason = "subject_missing"
	ExpiryMissing     Reason = "expiry_missing"
	Expired           Reason = "token_expired"
	NotYetValid       Reason = "token_not_yet_valid"
	IssuerMissing     Reason = "issuer_missing"
	IssuerMismatch    Reason = "issuer_mismatch"
	AudienceMissing   Reason = "audience_missing"
	AudienceMismatch  Reason = "audience_mismatch"
	ScopeClaimMissing Reason = "scope_claim_missing"
	ScopeInvalid      Reason = "scope_invalid"
	IDToken           Reason = "id_token"
	NotAccessToken    Reason = "not_an_access_token"
	SenderBound       Reason = "sender_bound"
	KeyUnknown        Reason = "key_unknown"
	SignatureInvalid  Reason = "signature_invalid"
	Inactive          Reason = "token_inactive"
	Denied            Reason = "token_denied"
	// The request is at fault: 400 invalid_request (RFC 6750 §3.1).
	Oversize          Reason = "token_oversize"
	CharactersRefused Reason = "token_characters"
	// No verdict is possible now: 503.
	KeysMissing         Reason = "keys_missing"
	KeysStale           Reason = "keys_stale"
	KeyPending          Reason = "key_pending"
	SignaturePending    Reason = "signature_pending"
	IntrospectionFailed Reason = "introspection_failed"
	IntrospectionBusy   Reason = "introspection_busy"
	Interrupted         Reason = "interrupted"
	Internal            Reason = "internal"
)

// What a client reads. Several reasons share a sentence where telling them
// apart would help nobody but an attacker.
const (
	describeUnreadable  = "The access token cannot be read; sign in again."
	describeUnaccepted  = "The access token is not one that this server accepts; sign in again."
	describeExpired     = "The access token has expired; refresh it or sign in again."
	describeEarly       = "The access token is not valid yet; check the clock and try again."
	describeIssuer      = "The access token was issued by another authorization server; sign in again."
	describeAudience    = "The access token was issued for another resource; sign in again."
	describeKind        = "This is not an access token; send the access token as bearer."
	describeSenderBound = "Sender-constrained access tokens are not supported; ask for a bearer token."
	describeSignature   = "The access token's signature could not be verified; sign in again."
	describeRevoked     = "The access token has been revoked; sign in again."
	describeInactive    = "The access token is not active: it has expired, was revoked, or was never issued; sign in again."
	describeOversize    = "The access token is too long."
	describeCharacters  = "The access token contains characters that no bearer token may contain."
	describeUnavailable = "The access token cannot be verified at the moment; try again shortly."
)

type entry struct {
	kind        Kind
	description string
	retryAfter  time.Duration
}

var closed = map[Reason]entry{
	Undecodable:       {Invalid, describeUnreadable, 0},
	Opaque:            {Invalid, describeUnaccepted, 0},
	NotOpaque:         {Invalid, describeUnaccepted, 0},
	HeaderRefused:     {Invalid, describeUnaccepted, 0},
	TypeRefused:       {Invalid, describeKind, 0},
	AlgorithmRefused:  {Invalid, describeUnaccepted, 0},
	ClaimInvalid:      {Invalid, describeUnreadable, 0},
	SubjectMissing:    {Invalid, describeUnaccepted, 0},
	ExpiryMissing:     {Invalid, describeUnaccepted, 0},
	Expired:           {Invalid, describeExpired, 0},
	NotYetValid:       {Invalid, describeEarly, 0},
	IssuerMissing:     {Invalid, describeIssuer, 0},
	IssuerMismatch:    {Invalid, describeIssuer, 0},
	AudienceMissing:   {Invalid, describeAudience, 0},
	AudienceMismatch:  {Invalid, describeAudience, 0},
	ScopeClaimMissing: {Invalid, describeAudience, 0},
	ScopeInvalid:      {Invalid, describeUnreadable, 0},
	IDToken:           {Invalid, describeKind, 0},
	NotAccessToken:    {Invalid, describeKind, 0},
	SenderBound:       {Invalid, describeSenderBound, 0},
	KeyUnknown:        {Invalid, describeSignature, 0},
	SignatureInvalid:  {Invalid, describeSignature, 0},
	Inactive:          {Invalid, describeInactive, 0},
	Denied:            {Invalid, describeRevoked, 0},

	Oversize:          {Malformed, describeOversize, 0},
	CharactersRefused: {Malformed, describeCharacters, 0},

	KeysMissing:         {Unavailable, describeUnavailable, 5 * time.Second},
	KeysStale:           {Unavailable, describeUnavailable, 30 * time.Second},
	KeyPending:          {Unavailable, describeUnavailable, 5 * time.Second},
	SignaturePending:    {Unavailable, describeUnavailable, 5 * time.Second},
	IntrospectionFailed: {Unavailable, describeUnavailable, 5 * time.Second},
	IntrospectionBusy:   {Unavailable, describeUnavailable, 1 * time.Second},
	Interrupted:         {Unavailable, describeUnavailable, 1 * time.Second},
	Internal:            {Unavailable, describeUnavailable, 5 * time.Second},
}

// Refuse makes the error for a reason. The cause, which may be nil, is for the
// operator's log and never for the client.
func Refuse(reason Reason, cause error) *Error {
	e, known := closed[reason]
	if !known {
		e, reason = closed[Internal], Internal
	}
	return &Error{Kind: e.kind, Reason: reason, Description: e.description, RetryAfter: e.retryAfter, Cause: cause}
}

// Reasons lists the closed set, for metrics that are to exist before their
// first event.
func Reasons() []Reason {
	list := make([]Reason, 0, len(closed))
	for reason := range closed {
		list = append(list, reason)
	}
	slices.Sort(list)
	return list
}
