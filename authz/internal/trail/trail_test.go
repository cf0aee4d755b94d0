package trail_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
)

// Without a trail a failure ends judging, which is what the server relies on.
// It is not parallel, because it counts allocations.
func TestWithoutATrailAFailureIsReturned(t *testing.T) {
	var none *trail.Trail
	cause := errors.New("cause")
	var refusal *token.Error
	if err := none.Fail(trail.Issuer, token.IssuerMissing, cause); !errors.As(err, &refusal) || refusal.Reason != token.IssuerMissing || !errors.Is(err, cause) {
		t.Error(err)
	}
	if err := none.FailWith(trail.Issuer, cause); !errors.Is(err, cause) {
		t.Error(err)
	}
	none.Pass(trail.Issuer)
	none.Skip("", trail.Issuer)
	none.See(trail.Issuer, "")
	none.Note(trail.Issuer, "")
	if none.Refusal() != nil || none.Failed(trail.Issuer) {
		t.Error("nothing holds something")
	}
	if n := testing.AllocsPerRun(100, func() { none.Pass(trail.Issuer, trail.Audience); none.See(trail.Issuer, "x") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTheFirstFailureIsTheVerdict(t *testing.T) {
	t.Parallel()
	steps := trail.New()
	steps.Pass(trail.Form, trail.Audience)
	for _, fault := range []struct {
		check  trail.Check
		reason token.Reason
	}{{trail.Audience, token.AudienceMismatch}, {trail.Issuer, token.IssuerMissing}, {trail.Audience, token.AudienceMissing}} {
		if err := steps.Fail(fault.check, fault.reason, nil); err != nil {
			t.Error("a failure that is written down ends judging:", err)
		}
	}
	steps.Pass(trail.Issuer)
	steps.Skip("late", trail.Issuer)
	steps.Note(trail.Issuer, "late")
	_ = steps.FailWith(trail.Keys, errors.New("of no closed set"))
	if r := steps.Refusal(); r == nil || r.Reason != token.AudienceMismatch {
		t.Errorf("refused for %v", r)
	}
	all := steps.Steps()
	if len(all) != len(trail.Checks) {
		t.Errorf("%d steps", len(all))
	}
	for at, s := range all {
		want := trail.Step{Check: trail.Checks[at], Result: trail.Skipped, Note: "not reached"}
		switch s.Check {
		case trail.Form:
			want.Result, want.Note = trail.Pass, ""
		case trail.Audience:
			want.Result, want.Note, want.Reason = trail.Fail, "", token.AudienceMismatch
		case trail.Issuer:
			want.Result, want.Note, want.Reason = trail.Fail, "", token.IssuerMissing
		case trail.Keys:
			want.Result, want.Note, want.Reason = trail.Fail, "of no closed set", token.Internal
		}
		if s != want {
			t.Errorf("%+v, want %+v", s, want)
		}
	}
	if !slices.Contains(trail.Checks, trail.Confirmation) || slices.Index(trail.Checks, trail.Signature) < slices.Index(trail.Checks, trail.Issuer) {
		t.Error("the order is not the one people read in")
	}
}
