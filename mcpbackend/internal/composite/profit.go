package composite

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// span is a range of days, both included.
type span struct {
	Start text `json:"start_date"`
	End   text `json:"end_date"`
}

func newSpan(start, end time.Time) span {
	return span{text(start.Format(time.DateOnly)), text(end.Format(time.DateOnly))}
}

func (p span) days() (start, end time.Time) {
	start, _ = time.Parse(time.DateOnly, string(p.Start))
	end, _ = time.Parse(time.DateOnly, string(p.End))
	return start, end
}

// month is the month that holds a day.
func month(day time.Time) span {
	first := time.Date(day.Year(), day.Month(), 1, 0, 0, 0, 0, time.UTC)
	return newSpan(first, first.AddDate(0, 1, -1))
}

// before is the period that p is compared with: as many whole months, if p is
// whole months, or else as many days, directly before.
func (p span) before() span {
	start, end := p.days()
	next := end.AddDate(0, 0, 1)
	if start.Day() == 1 && next.Day() == 1 {
		months := (next.Year()-start.Year())*12 + int(next.Month()) - int(start.Month())
		return newSpan(start.AddDate(0, -months, 0), start.AddDate(0, 0, -1))
	}
	length := int(next.Sub(start) / (24 * time.Hour))
	return newSpan(start.AddDate(0, 0, -length), start.AddDate(0, 0, -1))
}

// figures are what a company made.
type figures struct {
	Revenue decimal `json:"revenue"`
	COGS    decimal `json:"cogs"`
	Margin  decimal `json:"gross_margin"`
	Percent decimal `json:"margin_percent"`
}

func newFigures(revenue, cogs decimal) figures {
	margin := revenue.sub(cogs)
	return figures{revenue, cogs, margin, percent(margin, revenue)}
}

// percent has two digits after the point; null of nothing.
func percent(part, whole decimal) decimal { return part.mul(integer(100)).quo(whole, 2) }

// change is what became of figures since the period before.
type change struct {
	Revenue        decimal `json:"revenue"`
	RevenuePercent decimal `json:"revenue_percent"`
	COGS           decimal `json:"cogs"`
	COGSPercent    decimal `json:"cogs_percent"`
	Margin         decimal `json:"gross_margin"`
	MarginPercent  decimal `json:"gross_margin_percent"`
	Points         decimal `json:"margin_points"`
}

func newChange(now, before figures) change {
	r, c, m := now.Revenue.sub(before.Revenue), now.COGS.sub(before.COGS), now.Margin.sub(before.Margin)
	return change{
		// Of the magnitude: a loss that shrinks has grown.
		r, percent(r, before.Revenue.abs()), c, percent(c, before.COGS.abs()), m, percent(m, before.Margin.abs()),
		now.Percent.sub(before.Percent),
	}
}

type datedFigures struct {
	span
	figures
}

type marketFigures struct {
	Country text `json:"country_code"`
	figures
	Previous figures `json:"previous"`
	Change   change  `json:"change"`
}

type companyProfit struct {
	Company  named           `json:"company"`
	Currency text            `json:"currency"`
	Total    datedFigures    `json:"total"`
	Previous *datedFigures   `json:"previous"`
	Change   *change         `json:"change"`
	Periods  []datedFigures  `json:"periods"`
	Markets  []marketFigures `json:"markets"`
}

type profitSummary struct {
	Companies  []companyProfit `json:"companies"`
	Incomplete []missing       `json:"incomplete,omitempty"`
}

// sales is a row of the API's summary.
type sales struct {
	Start    text    `json:"start_date"`
	End      text    `json:"end_date"`
	Revenue  decimal `json:"revenue_amount"`
	COGS     decimal `json:"cogs_amount"`
	Currency text    `json:"currency"`
	Country  text    `json:"country_code"`
}

// sum adds up the rows that fit; nothing sold is zero.
func sum(rows []sales, fits func(sales) bool) figures {
	revenue, cogs := integer(0), integer(0)
	for _, r := range rows {
		if fits(r) {
			revenue, cogs = revenue.add(r.Revenue), cogs.add(r.COGS)
		}
	}
	return newFigures(revenue, cogs)
}

// sales reads what a company sold in a period, by market.
func (s *session) sales(c company, p span, periodicity string, countries []string) ([]sales, *toolcall.Failure) {
	var answer struct {
		Data []sales `json:"data"`
	}
	q := query{operation: "revenueAndCogsSummary"}.with("start_date", string(p.Start)).with("end_date", string(p.End)).
		with("periodicity", periodicity).list("company_uuids", string(c.UUID)).list("grouping", "country").list("country_codes", countries...)
	if failure := s.get(q, &answer); failure != nil {
		return nil, failure
	}
	zone := c.zone()
	for i := range answer.Data {
		r := &answer.Data[i]
		r.Start, r.End = day(r.Start, zone), day(r.End, zone)
		r.Currency = cmp.Or(r.Currency, c.Currency)
	}
	return answer.Data, nil
}

// today is the company's own.
func (s *session) today(c company) time.Time {
	y, m, d := s.now.In(c.zone()).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// period is the one that the arguments mean, as a company's calendar has it.
func (s *session) period(c company, a arguments) (span, *toolcall.Failure) {
	p := span{text(a.text("start_date")), text(a.text("end_date"))}
	today := s.today(c)
	switch {
	case p.Start == "" && p.End == "":
		return month(today.AddDate(0, 0, -today.Day())), nil
	case p.Start == "":
		return p, &toolcall.Failure{Kind: toolcall.InvalidArguments, Message: s.tool.Name + " was not called: give start_date too, or neither date for last month."}
	case p.End == "":
		p.End = text(today.Format(time.DateOnly))
	}
	if start, end := p.days(); end.Before(start) {
		return p, &toolcall.Failure{Kind: toolcall.InvalidArguments, Message: fmt.Sprintf("%s was not called: end_date %s is before start_date %s.", s.tool.Name, p.End, p.Start)}
	}
	return p, nil
}

// profit compares what companies made in a period with the period before.
func profit(s *session, a arguments) (any, *toolcall.Failure) {
	list, failure := s.chosen("company", a.text("company"))
	if failure != nil {
		return nil, failure
	}
	periods := make([]span, len(list))
	for i, c := range list {
		if periods[i], failure = s.period(c, a); failure != nil {
			return nil, failure
		}
	}
	type read struct {
		now, before []sales
		ok, old     bool
	}
	reads := make([]read, len(list))
	countries := a.texts("country_codes")
	for i, c := range list {
		r, p := &reads[i], periods[i]
		s.part("sales of "+string(c.Name), func() (failure *toolcall.Failure) {
			r.now, failure = s.sales(c, p, a.text("periodicity"), countries)
			r.ok = failure == nil
			return failure
		})
		s.part("the period before of "+string(c.Name), func() (failure *toolcall.Failure) {
			r.before, failure = s.sales(c, p.before(), "total", countries)
			r.old = failure == nil
			return failure
		})
	}
	if failure := s.wait(); failure != nil {
		return nil, failure
	}
	out := profitSummary{Companies: []companyProfit{}}
	for i, c := range list {
		if r := reads[i]; r.ok {
			out.Companies = append(out.Companies, summarize(c, periods[i], r.now, r.before, r.old)...)
		}
	}
	s.shorten(out.Companies)
	out.Incomplete = s.incomplete()
	return out, nil
}

// maxAnswer bounds an answer in bytes, with room for what says so.
const maxAnswer = 90_000

// shorten leaves out the details of the last companies until the rest fits, and
// says so. The totals stay.
func (s *session) shorten(companies []companyProfit) {
	size := 0
	for i := range companies {
		c := &companies[i]
		encoded, err := encode(c)
		if size += len(encoded); err != nil || size <= maxAnswer {
			continue
		}
		size -= len(encoded)
		c.Periods, c.Markets = nil, nil
		if encoded, err = encode(c); err == nil {
			size += len(encoded)
		}
		s.left("periods and markets of "+string(c.Company.Name), "The answer would be too long. Ask for this company alone, or for fewer and longer periods.")
	}
}

// summarize makes one summary for each currency that a company sells in.
func summarize(c company, p span, now, before []sales, compared bool) []companyProfit {
	var out []companyProfit
	for _, currency := range distinct(slices.Concat(now, before), c.Currency, func(r sales) text { return r.Currency }) {
		in := func(r sales) bool { return r.Currency == currency }
		one := companyProfit{
			Company: c.named(), Currency: currency, Total: datedFigures{p, sum(now, in)},
			Periods: []datedFigures{}, Markets: []marketFigures{},
		}
		if compared {
			one.Previous = &datedFigures{p.before(), sum(before, in)}
			change := newChange(one.Total.figures, one.Previous.figures)
			one.Change = &change
		}
		for _, start := range distinct(now, "", func(r sales) text { return r.Start }) {
			ours := func(r sales) bool { return in(r) && r.Start == start }
			if i := slices.IndexFunc(now, ours); i >= 0 {
				one.Periods = append(one.Periods, datedFigures{span{start, now[i].End}, sum(now, ours)})
			}
		}
		slices.SortStableFunc(one.Periods, func(a, b datedFigures) int { return cmp.Compare(a.Start, b.Start) })
		for _, country := range distinct(slices.Concat(now, before), "", func(r sales) text { return r.Country }) {
			ours := func(r sales) bool { return in(r) && r.Country == country }
			if !slices.ContainsFunc(now, ours) && !slices.ContainsFunc(before, ours) {
				continue
			}
			m := marketFigures{Country: country, figures: sum(now, ours)}
			if compared {
				m.Previous = sum(before, ours)
				m.Change = newChange(m.figures, m.Previous)
			}
			one.Markets = append(one.Markets, m)
		}
		slices.SortStableFunc(one.Markets, func(a, b marketFigures) int {
			return cmp.Or(descending(a.Revenue, b.Revenue), cmp.Compare(a.Country, b.Country))
		})
		out = append(out, one)
	}
	return out
}

// distinct gives the values of rows in the order in which they appear; fallback
// when there are no rows.
func distinct(rows []sales, fallback text, of func(sales) text) []text {
	var out []text
	for _, r := range rows {
		if v := of(r); !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	if out == nil && fallback != "" {
		return []text{fallback}
	}
	return out
}
