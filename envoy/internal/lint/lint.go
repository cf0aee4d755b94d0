// Package lint says what is wrong with a bootstrap, beyond what Envoy itself would refuse.
package lint

import (
	"errors"
	"fmt"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
)

// Finding is one thing wrong: the rule that is broken, where, and what to change.
type Finding struct{ Rule, Where, What string }

func (f Finding) Error() string { return fmt.Sprintf("%s: %s: %s", f.Rule, f.Where, f.What) }

// Rule is one property that the edge keeps, and why.
type Rule struct {
	Name, Why string
	check     func(*reader, report)
}

type report func(where, format string, args ...any)

// Check judges the bootstrap by its schema and by every rule; nil means that nothing was found.
func Check(b *bootstrapv3.Bootstrap) error {
	findings := schema(b)
	r, err := read(b)
	if err != nil {
		return errors.Join(append(findings, err)...)
	}
	for _, rule := range Rules() {
		rule.check(r, func(where, format string, args ...any) {
			findings = append(findings, Finding{rule.Name, where, fmt.Sprintf(format, args...)})
		})
	}
	return errors.Join(findings...)
}

// Explain lists the rules with their reasons, for people.
func Explain() string {
	var text strings.Builder
	for _, rule := range Rules() {
		fmt.Fprintf(&text, "%-20s %s\n", rule.Name, rule.Why)
	}
	return text.String()
}
