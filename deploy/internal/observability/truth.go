// Package observability judges dashboards, alerts and recording rules by what
// the gateway's programs really expose.
package observability

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scraped are the labels that no program exposes, for Prometheus adds them to
// whatever it scrapes: the first two always, the others from Kubernetes.
var scraped = []string{"job", "instance", "namespace", "pod"}

// labels are names of labels, each with the values that were seen.
type labels map[string]map[string]bool

func (l labels) add(name, value string) {
	if l[name] == nil {
		l[name] = map[string]bool{}
	}
	if value != "" {
		l[name][value] = true
	}
}

// plus has the labels of both.
func (l labels) plus(other labels) labels {
	sum := labels{}
	for _, from := range []labels{l, other} {
		for name, values := range from {
			sum.add(name, "")
			for value := range values {
				sum.add(name, value)
			}
		}
	}
	return sum
}

// only has the labels of these names.
func (l labels) only(names []string) labels {
	some := labels{}
	for _, name := range names {
		if values, ok := l[name]; ok {
			some[name] = values
		}
	}
	return some
}

// without has all others.
func (l labels) without(names ...string) labels {
	some := l.plus(nil)
	for _, name := range names {
		delete(some, name)
	}
	return some
}

// metric is one name that a query can use.
type metric struct {
	labels labels
	// rises says that it only rises, so that its rate means something.
	rises bool
}

// Truth is what exists: the metrics that were scraped, and later the recording
// rules, by name.
type Truth struct {
	metrics  map[string]metric
	families map[string]bool
}

// NewTruth knows only what Prometheus says about each of its targets.
func NewTruth() *Truth {
	t := &Truth{metrics: map[string]metric{}, families: map[string]bool{}}
	t.metrics["up"] = metric{labels: target()}
	return t
}

func target() labels {
	l := labels{}
	for _, name := range scraped {
		l.add(name, "")
	}
	return l
}

// Scraped adds what a program exposes, in Prometheus' text format.
func (t *Truth) Scraped(text io.Reader) error {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return err
	}
	for name, family := range families {
		t.families[name] = true
		all := target()
		for _, series := range family.GetMetric() {
			for _, pair := range series.GetLabel() {
				all.add(pair.GetName(), pair.GetValue())
			}
		}
		switch family.GetType() {
		case dto.MetricType_HISTOGRAM:
			buckets := all.plus(nil)
			for _, series := range family.GetMetric() {
				for _, bucket := range series.GetHistogram().GetBucket() {
					buckets.add("le", fmt.Sprint(bucket.GetUpperBound()))
				}
			}
			t.merge(name+"_bucket", metric{buckets, true})
			t.merge(name+"_sum", metric{all, true})
			t.merge(name+"_count", metric{all, true})
		case dto.MetricType_SUMMARY:
			quantiles := all.plus(nil)
			quantiles.add("quantile", "")
			t.merge(name, metric{quantiles, false})
			t.merge(name+"_sum", metric{all, true})
			t.merge(name+"_count", metric{all, true})
		default:
			t.merge(name, metric{all, family.GetType() == dto.MetricType_COUNTER})
		}
	}
	return nil
}

// merge adds a metric, which another program may have, too.
func (t *Truth) merge(name string, m metric) {
	if old, ok := t.metrics[name]; ok {
		m.labels = m.labels.plus(old.labels)
	}
	t.metrics[name] = m
}

// Value says that a label can have a value that was not seen, because the event
// behind it cannot be brought about from outside.
func (t *Truth) Value(name, label, value string) error {
	m, ok := t.metrics[name]
	if !ok || m.labels[label] == nil {
		return fmt.Errorf("there is no label %s of %s", label, name)
	}
	m.labels.add(label, value)
	return nil
}

// Has says whether a family was scraped.
func (t *Truth) Has(family string) bool { return t.families[family] }

// Own are the families of the gateway's own programs.
func (t *Truth) Own() []string {
	var names []string
	for name := range t.families {
		if strings.HasPrefix(name, "authz_") || strings.HasPrefix(name, "mcpbackend_") {
			names = append(names, name)
		}
	}
	return names
}

var quantity = regexp.MustCompile(`_(bucket|sum|count)$`)

// Family is the name that a program declared for what a query names.
func (t *Truth) Family(name string) string {
	if !t.families[name] {
		return quantity.ReplaceAllString(name, "")
	}
	return name
}
