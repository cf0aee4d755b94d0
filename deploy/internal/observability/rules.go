package observability

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"sigs.k8s.io/yaml"
)

// Rules reads a file of rules as Prometheus does.
func Rules(path string) (*rulefmt.RuleGroups, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	groups, faults := rulefmt.Parse(text, false, model.LegacyValidation, promql, slog.New(slog.DiscardHandler))
	return groups, errors.Join(faults...)
}

var labelOf = regexp.MustCompile(`\$labels\.([a-zA-Z_]+)`)

// Record judges all rules in their order, and adds the recorded ones to what
// exists. It returns the names that are read.
func (t *Truth) Record(groups *rulefmt.RuleGroups) (read []string, err error) {
	var faults []error
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			name := rule.Record + rule.Alert
			q, err := t.Query(rule.Expr)
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", name, err))
			}
			read = append(read, q.Names...)
			if rule.Record != "" {
				recorded := labels{}
				for _, label := range q.Labels {
					recorded.add(label, "")
				}
				t.metrics[rule.Record] = metric{labels: recorded}
			}
			for key, text := range rule.Annotations {
				for _, found := range labelOf.FindAllStringSubmatch(text, -1) {
					if !slices.Contains(q.Labels, found[1]) {
						faults = append(faults, fmt.Errorf("%s: its %s shows the label %s, which its series lack", name, key, found[1]))
					}
				}
			}
		}
	}
	return read, errors.Join(faults...)
}

// Severities are what an alert can ask for: somebody now, or somebody who works.
var Severities = []string{"page", "ticket"}

// Conventions finds alerts that a person could not act on. Headings are those of
// the runbooks, as links name them.
func Conventions(groups *rulefmt.RuleGroups, runbooks string, headings []string) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	seen := map[string]bool{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			name := rule.Alert
			if name == "" {
				continue
			}
			if seen[name] {
				fault("%s is there twice", name)
			}
			seen[name] = true
			if !slices.Contains(Severities, rule.Labels["severity"]) {
				fault("%s has the severity %q, which is none of %v", name, rule.Labels["severity"], Severities)
			}
			for _, key := range []string{"summary", "description"} {
				if text := rule.Annotations[key]; text == "" || strings.Contains(text, "\n") || !strings.HasSuffix(text, ".") {
					fault("%s has no %s of one line that ends with a period", name, key)
				}
			}
			anchor, ok := strings.CutPrefix(rule.Annotations["runbook_url"], runbooks+"#")
			if !ok || !slices.Contains(headings, anchor) {
				fault("%s: runbook_url %q is no heading of the runbooks", name, rule.Annotations["runbook_url"])
			}
		}
	}
	return errors.Join(faults...)
}

// tests is as much of a file for `promtool test rules` as matters here.
type tests struct {
	RuleFiles []string `json:"rule_files"`
	Tests     []struct {
		AlertRuleTest []struct {
			AlertName string `json:"alertname"`
			ExpAlerts []any  `json:"exp_alerts"`
		} `json:"alert_rule_test"`
		InputSeries []struct {
			Series string `json:"series"`
		} `json:"input_series"`
	} `json:"tests"`
}

// Tested finds alerts that promtool's tests do not see fire and stay silent, and
// series in those tests that do not exist.
func (t *Truth) Tested(groups *rulefmt.RuleGroups, paths ...string) error {
	fires, silent := map[string]bool{}, map[string]bool{}
	var faults []error
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var file tests
		if err := yaml.Unmarshal(text, &file); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, test := range file.Tests {
			for _, series := range test.InputSeries {
				if _, err := t.Query(series.Series); err != nil {
					faults = append(faults, fmt.Errorf("%s: %w", path, err))
				}
			}
			for _, one := range test.AlertRuleTest {
				if len(one.ExpAlerts) > 0 {
					fires[one.AlertName] = true
				} else {
					silent[one.AlertName] = true
				}
			}
		}
	}
	known := map[string]bool{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				continue
			}
			known[rule.Alert] = true
			if !fires[rule.Alert] {
				faults = append(faults, fmt.Errorf("no test sees %s fire", rule.Alert))
			}
			if !silent[rule.Alert] {
				faults = append(faults, fmt.Errorf("no test sees %s stay silent", rule.Alert))
			}
		}
	}
	for name := range fires {
		if !known[name] {
			faults = append(faults, fmt.Errorf("a test expects %s, which is no alert", name))
		}
	}
	for name := range silent {
		if !known[name] {
			faults = append(faults, fmt.Errorf("a test expects nothing of %s, which is no alert", name))
		}
	}
	return errors.Join(faults...)
}
