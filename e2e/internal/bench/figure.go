// Package bench measures the gateway's processes from outside: their CPU time
// and memory as the kernel counts them, and their answers as a client sees
// them.
package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Sample is one figure measured in several rounds.
type Sample []float64

// Median returns the middle value; 0 for an empty sample.
func (s Sample) Median() float64 { return s.Quantile(0.5) }

// Quantile returns the smallest value that at least the part q of the sample
// does not exceed, except that the median of an even number of values is the
// mean of the middle two.
func (s Sample) Quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	if q == 0.5 && n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	at := int(q * float64(n))
	if float64(at) < q*float64(n) {
		at++
	}
	return sorted[min(max(at-1, 0), n-1)]
}

// Ratio divides two samples round by round, so that what disturbed a whole
// round disturbs no ratio.
func Ratio(of, to Sample) Sample {
	var ratios Sample
	for i := range min(len(of), len(to)) {
		if to[i] > 0 {
			ratios = append(ratios, of[i]/to[i])
		}
	}
	return ratios
}

// Goal is what a figure should be.
type Goal struct {
	Budget, Dream float64 // no dream: 0
	// AtLeast means that more is better.
	AtLeast bool
}

func (g Goal) met(value float64) string {
	within := func(limit float64) bool {
		if g.AtLeast {
			return value >= limit
		}
		return value <= limit
	}
	switch {
	case g.Dream != 0 && within(g.Dream):
		return "dream"
	case within(g.Budget):
		return "budget"
	}
	return "MISSED"
}

// Figure is a line of a table.
type Figure struct {
	Name, Unit string
	Values     Sample
	Goal       *Goal // nil for a figure that is only told
}

// Table is a set of figures that were measured together.
type Table struct {
	Title   string
	Figures []Figure
	// Notes say how to read the figures.
	Notes []string
}

// Add appends a figure.
func (t *Table) Add(name, unit string, values Sample, goal *Goal) {
	t.Figures = append(t.Figures, Figure{Name: name, Unit: unit, Values: values, Goal: goal})
}

// Print writes the table for people: the median, the range over the rounds,
// and the goals with the better one that the median meets.
func (t *Table) Print(w io.Writer) error {
	fmt.Fprintf(w, "\n%s\n\n", t.Title)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "  what\tmedian\trange\tbudget\tdream\tmet")
	for _, f := range t.Figures {
		if len(f.Values) == 0 {
			return fmt.Errorf("%s was not measured", f.Name)
		}
		low, high := slices.Min(f.Values), slices.Max(f.Values)
		line := fmt.Sprintf("  %s\t%s\t%s–%s", f.Name, number(f.Values.Median(), f.Unit), digits(low), number(high, f.Unit))
		if len(f.Values) == 1 {
			line = fmt.Sprintf("  %s\t%s\t", f.Name, number(low, f.Unit))
		}
		if f.Goal != nil {
			sign := "≤"
			if f.Goal.AtLeast {
				sign = "≥"
			}
			dream := ""
			if f.Goal.Dream != 0 {
				dream = sign + " " + number(f.Goal.Dream, f.Unit)
			}
			line += fmt.Sprintf("\t%s %s\t%s\t%s", sign, number(f.Goal.Budget, f.Unit), dream, f.Goal.met(f.Values.Median()))
		} else {
			line += "\t\t\t"
		}
		fmt.Fprintln(tw, line)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(t.Notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, note := range t.Notes {
		fmt.Fprintf(w, "  %s\n", note)
	}
	return nil
}

func number(v float64, unit string) string {
	if unit == "×" {
		return digits(v) + " ×"
	}
	return strings.TrimSpace(digits(v) + " " + unit)
}

// digits writes about three significant digits.
func digits(v float64) string {
	switch {
	case v >= 1000:
		return thousands(int64(v + 0.5))
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func thousands(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
