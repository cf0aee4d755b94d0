package observability

import (
	"errors"
	"fmt"
	"maps"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	promlabels "github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

var promql = parser.NewParser(parser.Options{})

// Query is an expression that was judged.
type Query struct {
	// Labels are those that its series have.
	Labels []string
	// Names are the metrics and recording rules that it reads.
	Names []string
}

// Query parses PromQL and finds what does not exist: metrics, labels, values of
// labels, and sides of an operation that can never match.
func (t *Truth) Query(text string) (Query, error) {
	expression, err := promql.ParseExpr(text)
	if err != nil {
		return Query{}, err
	}
	j := &judge{truth: t, names: map[string]bool{}}
	result := j.walk(expression)
	return Query{slices.Sorted(maps.Keys(result)), slices.Sorted(maps.Keys(j.names))}, errors.Join(j.faults...)
}

type judge struct {
	truth  *Truth
	names  map[string]bool
	faults []error
}

func (j *judge) fault(format string, args ...any) {
	j.faults = append(j.faults, fmt.Errorf(format, args...))
}

// walk returns the labels of an expression's series.
func (j *judge) walk(e parser.Expr) labels {
	switch e := e.(type) {
	case *parser.VectorSelector:
		return j.selector(e).labels
	case *parser.MatrixSelector:
		return j.walk(e.VectorSelector)
	case *parser.SubqueryExpr:
		return j.walk(e.Expr)
	case *parser.ParenExpr:
		return j.walk(e.Expr)
	case *parser.UnaryExpr:
		return j.walk(e.Expr)
	case *parser.AggregateExpr:
		return j.aggregate(e)
	case *parser.Call:
		return j.call(e)
	case *parser.BinaryExpr:
		return j.operation(e)
	case *parser.NumberLiteral, *parser.StringLiteral:
		return labels{}
	}
	j.fault("%s is not understood", e)
	return labels{}
}

func (j *judge) selector(s *parser.VectorSelector) metric {
	if s.Name == "" {
		j.fault("%s names no metric", s)
		return metric{}
	}
	j.names[s.Name] = true
	m, ok := j.truth.metrics[s.Name]
	if !ok {
		j.fault("there is no metric %s", s.Name)
		return metric{}
	}
	for _, matcher := range s.LabelMatchers {
		if matcher.Name == model.MetricNameLabel {
			continue
		}
		seen, ok := m.labels[matcher.Name]
		if !ok {
			j.fault("%s has no label %s", s.Name, matcher.Name)
			continue
		}
		if slices.Contains(scraped, matcher.Name) {
			continue // the values are the operator's
		}
		for _, value := range literals(matcher) {
			if !seen[value] {
				j.fault("%s has no %s=%q", s.Name, matcher.Name, value)
			}
		}
		if len(literals(matcher)) == 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), matcher.Matches) {
			j.fault("no %s of %s matches %s", matcher.Name, s.Name, matcher)
		}
	}
	return m
}

// literals are the values that a matcher spells out; none when it is a pattern.
func literals(m *promlabels.Matcher) []string {
	switch m.Type {
	case promlabels.MatchEqual, promlabels.MatchNotEqual:
		if m.Value == "" {
			return nil
		}
		return []string{m.Value}
	}
	var all []string
	for value := range strings.SplitSeq(m.Value, "|") {
		parsed, err := syntax.Parse(value, syntax.Perl)
		if err != nil || parsed.Op != syntax.OpLiteral {
			return nil
		}
		all = append(all, value)
	}
	return all
}

func (j *judge) aggregate(e *parser.AggregateExpr) labels {
	inner := j.walk(e.Expr)
	if e.Param != nil {
		j.walk(e.Param)
	}
	for _, name := range e.Grouping {
		if _, ok := inner[name]; !ok {
			j.fault("%s: there is no label %s to group by", e, name)
		}
	}
	switch e.Op {
	case parser.TOPK, parser.BOTTOMK:
		return inner
	}
	if e.Without {
		return inner.without(e.Grouping...)
	}
	return inner.only(e.Grouping)
}

// rising are the functions that mean something only for what rises.
var rising = []string{"rate", "irate", "increase"}

func (j *judge) call(e *parser.Call) labels {
	var first labels
	for _, argument := range e.Args {
		l := j.walk(argument)
		switch argument.Type() {
		case parser.ValueTypeVector, parser.ValueTypeMatrix:
			if first == nil {
				first = l
			}
		}
	}
	switch name := e.Func.Name; {
	case slices.Contains(rising, name):
		if range_, ok := e.Args[0].(*parser.MatrixSelector); ok {
			s := range_.VectorSelector.(*parser.VectorSelector)
			if m, ok := j.truth.metrics[s.Name]; ok && !m.rises {
				j.fault("%s: %s can fall, it has no rate", e, s.Name)
			}
		}
	case name == "histogram_quantile":
		if _, ok := first["le"]; !ok {
			j.fault("%s: the label le is gone", e)
		}
		return first.without("le")
	case name == "absent", name == "absent_over_time":
		kept := labels{}
		selector, ok := e.Args[0].(*parser.VectorSelector)
		if !ok {
			return kept
		}
		for _, matcher := range selector.LabelMatchers {
			if matcher.Type == promlabels.MatchEqual && matcher.Name != model.MetricNameLabel {
				kept.add(matcher.Name, matcher.Value)
			}
		}
		return kept
	case name == "label_replace", name == "label_join":
		added := first.plus(nil)
		added.add(e.Args[1].(*parser.StringLiteral).Val, "")
		return added
	case name == "vector", name == "time", name == "scalar":
		return labels{}
	}
	if first == nil {
		return labels{}
	}
	return first
}

func (j *judge) operation(e *parser.BinaryExpr) labels {
	left, right := j.walk(e.LHS), j.walk(e.RHS)
	if e.VectorMatching == nil { // with a number
		if e.LHS.Type() == parser.ValueTypeScalar {
			return right
		}
		return left
	}
	match := e.VectorMatching
	for _, name := range match.MatchingLabels {
		if _, ok := left[name]; !ok && match.On {
			j.fault("%s: the left side has no label %s", e, name)
		}
		if _, ok := right[name]; !ok && match.On {
			j.fault("%s: the right side has no label %s", e, name)
		}
	}
	if !match.On && e.Op != parser.LOR {
		l, r := left.without(match.MatchingLabels...), right.without(match.MatchingLabels...)
		if !slices.Equal(slices.Sorted(maps.Keys(l)), slices.Sorted(maps.Keys(r))) {
			j.fault("%s: the sides have the labels %v and %v, and never match", e, slices.Sorted(maps.Keys(l)), slices.Sorted(maps.Keys(r)))
		}
	}
	switch {
	case e.Op == parser.LOR:
		return left.plus(right)
	case e.Op == parser.LAND || e.Op == parser.LUNLESS:
		return left
	case match.Card == parser.CardManyToOne:
		return left.plus(right.only(match.Include))
	case match.Card == parser.CardOneToMany:
		return right.plus(left.only(match.Include))
	case match.On:
		return left.only(match.MatchingLabels)
	}
	return left.without(match.MatchingLabels...)
}
