// Package trail records what each check of a token saw and said, for whoever
// asks why a token is refused. The code that judges tokens writes one only when
// it is given one: a nil *Trail records nothing and costs a comparison.
package trail

import (
	"errors"
	"slices"

	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

// Check is one thing that is looked at.
type Check string

// The checks.
const (
	Form           Check = "form"
	Size           Check = "size"
	Header         Check = "header"
	Algorithm      Check = "algorithm"
	Type           Check = "type"
	Payload        Check = "payload"
	Issuer         Check = "iss"
	Expiry         Check = "exp"
	NotBefore      Check = "nbf"
	IssuedAt       Check = "iat"
	Subject        Check = "sub"
	Audience       Check = "aud"
	ClientID       Check = "client_id"
	TokenID        Check = "jti"
	Scopes         Check = "scope"
	IDToken        Check = "id_token"
	Use            Check = "token_use"
	Confirmation   Check = "cnf"
	Keys           Check = "keys"
	KeyID          Check = "kid"
	Signature      Check = "signature"
	Introspection  Check = "introspection"
	DenyList       Check = "deny_list"
	RequiredScopes Check = "required_scopes"
)

// Claims are the checks of the claims, in their order.
var Claims = []Check{
	Issuer, Expiry, NotBefore, IssuedAt, Subject, Audience, ClientID, TokenID, Scopes, IDToken, Use, Confirmation,
}

// Checks are all of them, in the order in which people read them.
var Checks = slices.Concat(
	[]Check{Form, Size, Header, Algorithm, Type, Payload}, Claims,
	[]Check{Keys, KeyID, Signature, Introspection, DenyList, RequiredScopes},
)

// Result is how a check ended.
type Result string

const (
	Pass    Result = "pass"
	Fail    Result = "fail"
	Skipped Result = "skipped"
)

// Step is one check that was made, or not.
type Step struct {
	Check  Check
	Result Result
	// Seen is what the check looked at; empty if there was nothing.
	Seen string
	// Reason is why it failed.
	Reason token.Reason
	// Note says more: the cause of a failure, why a check was skipped, or what a
	// passed one stands on.
	Note string
}

// Trail is the record of one token.
type Trail struct {
	steps  map[Check]*Step
	first  *token.Error
	judged strictjson.Object
}

// New makes an empty Trail.
func New() *Trail { return &Trail{steps: make(map[Check]*Step)} }

// Fail says that a check failed. Without a Trail it returns the refusal, so
// that judging ends there; with one it keeps the refusal and returns nil, so
// that judging goes on to the other checks. Of one check the first failure
// counts.
func (t *Trail) Fail(check Check, reason token.Reason, cause error) error {
	refusal := token.Refuse(reason, cause)
	if t == nil {
		return refusal
	}
	t.fail(check, refusal)
	return nil
}

// FailWith is Fail of a refusal that was made elsewhere.
func (t *Trail) FailWith(check Check, err error) error {
	if t == nil {
		return err
	}
	var refusal *token.Error
	if !errors.As(err, &refusal) {
		refusal = token.Refuse(token.Internal, err)
	}
	t.fail(check, refusal)
	return nil
}

func (t *Trail) fail(check Check, refusal *token.Error) {
	if t.first == nil {
		t.first = refusal
	}
	step := t.step(check)
	if step.Result == Fail {
		return
	}
	step.Result, step.Reason, step.Note = Fail, refusal.Reason, ""
	if refusal.Cause != nil {
		step.Note = refusal.Cause.Error()
	}
}

// Pass says that checks that did not fail have passed.
func (t *Trail) Pass(checks ...Check) {
	if t == nil {
		return
	}
	for _, check := range checks {
		if step := t.step(check); step.Result != Fail {
			step.Result = Pass
		}
	}
}

// Skip says why checks were not made.
func (t *Trail) Skip(why string, checks ...Check) {
	if t == nil {
		return
	}
	for _, check := range checks {
		if step := t.step(check); step.Result == "" {
			step.Result, step.Note = Skipped, why
		}
	}
}

// See says what a check looks at. Nothing that it is told may be a token or a
// signature.
func (t *Trail) See(check Check, seen string) {
	if t != nil {
		t.step(check).Seen = seen
	}
}

// Judge keeps the claims that are about to be judged: those of a JWT, or of the
// issuer's answer about an opaque token.
func (t *Trail) Judge(claims strictjson.Object) {
	if t != nil {
		t.judged = claims
	}
}

// Judged are those claims; nil if none could be read.
func (t *Trail) Judged() strictjson.Object { return t.judged }

// Note adds to a check that does not fail.
func (t *Trail) Note(check Check, note string) {
	if t == nil {
		return
	}
	if step := t.step(check); step.Result != Fail {
		step.Note = note
	}
}

// Failed reports whether a check failed.
func (t *Trail) Failed(check Check) bool {
	return t != nil && t.steps[check] != nil && t.steps[check].Result == Fail
}

// Refusal is the first failure: what the token is refused for. It is nil if
// nothing failed.
func (t *Trail) Refusal() *token.Error {
	if t == nil {
		return nil
	}
	return t.first
}

// Steps are all the checks in their order; those that nothing was said about
// are skipped.
func (t *Trail) Steps() []Step {
	t.Skip("not reached", Checks...)
	steps := make([]Step, 0, len(Checks))
	for _, check := range Checks {
		steps = append(steps, *t.steps[check])
	}
	return steps
}

func (t *Trail) step(check Check) *Step {
	step := t.steps[check]
	if step == nil {
		step = &Step{Check: check}
		t.steps[check] = step
	}
	return step
}
