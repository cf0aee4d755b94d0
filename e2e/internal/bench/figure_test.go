package bench

import (
	"strings"
	"testing"
)

func TestSampleQuantile(t *testing.T) {
	t.Parallel()
	var hundred Sample
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	for name, c := range map[string]struct {
		sample  Sample
		q, want float64
	}{
		"median of an odd number":   {Sample{3, 1, 2}, 0.5, 2},
		"median of an even number":  {Sample{4, 1, 2, 3}, 0.5, 2.5},
		"median of one":             {Sample{7}, 0.5, 7},
		"median of none":            {nil, 0.5, 0},
		"p99 of a hundred":          {hundred, 0.99, 99},
		"p99 of few is the largest": {Sample{1, 2, 3}, 0.99, 3},
		"the least":                 {hundred, 0, 1},
		"the largest":               {hundred, 1, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.sample.Quantile(c.q); got != c.want {
				t.Errorf("Quantile(%v) = %v, want %v", c.q, got, c.want)
			}
		})
	}
}

func TestRatioIsTakenRoundByRound(t *testing.T) {
	t.Parallel()
	// The second round was disturbed for both.
	got := Ratio(Sample{10, 100, 12}, Sample{20, 200, 24})
	for _, r := range got {
		if r != 0.5 {
			t.Errorf("Ratio = %v, want 0.5 in every round", got)
		}
	}
	if got := Ratio(Sample{1, 2}, Sample{0, 1}); len(got) != 1 || got[0] != 2 {
		t.Errorf("Ratio = %v, want a round without a divisor left out", got)
	}
}

func TestTableSaysWhichGoalTheMedianMeets(t *testing.T) {
	t.Parallel()
	most, least := &Goal{Budget: 300, Dream: 100}, &Goal{Budget: 0.9, Dream: 1, AtLeast: true}
	var table Table
	table.Add("quick", "ms", Sample{90, 100, 900}, most)
	table.Add("fair", "ms", Sample{101}, most)
	table.Add("slow", "ms", Sample{301}, most)
	table.Add("ahead", "×", Sample{1.0}, least)
	table.Add("behind", "×", Sample{0.95}, least)
	table.Add("far behind", "×", Sample{0.89}, least)
	table.Add("told", "requests/s", Sample{12345.6}, nil)
	var out strings.Builder
	if err := table.Print(&out); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"quick": "dream", "fair": "budget", "slow": "MISSED", "ahead": "dream", "behind": "budget", "far behind": "MISSED",
		"told": "12,346 requests/s",
	} {
		var line string
		for l := range strings.Lines(out.String()) {
			if strings.HasPrefix(strings.TrimSpace(l), name) {
				line = strings.TrimSpace(l)
			}
		}
		if !strings.HasSuffix(line, want) {
			t.Errorf("line of %q is %q, want it to end with %q", name, line, want)
		}
	}
	table.Add("nothing", "ms", nil, nil)
	if err := table.Print(&strings.Builder{}); err == nil {
		t.Error("a figure that was not measured was printed")
	}
}
