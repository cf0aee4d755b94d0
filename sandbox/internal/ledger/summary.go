package ledger

import (
	"slices"
	"sort"
	"time"
)

// Grouping says by what a summary is broken down.
type Grouping struct{ Company, Country, Invoice bool }

// Periodicity cuts a range of days into periods.
type Periodicity string

// The periods NeonPanel knows.
const (
	Total     Periodicity = "total"
	Yearly    Periodicity = "yearly"
	Quarterly Periodicity = "quarterly"
	Monthly   Periodicity = "monthly"
)

// Row is one figure of a summary. Currency is part of every row: amounts in
// different currencies are never added.
type Row struct {
	Start, End Date
	Company    *Company // nil unless grouped by
	Country    string
	Invoice    *Invoice
	Currency   string
	Revenue    Decimal
	COGS       Decimal
}

// Summarize adds up revenue and cost of goods sold from start to end, both
// included. No countries means all.
func Summarize(companies []*Company, countries []string, by Grouping, every Periodicity, start, end Date) []Row {
	var rows []Row
	type key struct {
		start    Date
		company  *Company
		country  string
		currency string
	}
	index := make(map[key]int)
	for _, c := range companies {
		from := sort.Search(len(c.sales), func(i int) bool { return c.sales[i].Date >= start })
		var periodStart, periodEnd Date // of the invoice before: they are in order
		for _, inv := range c.sales[from:] {
			if inv.Date > end {
				break
			}
			if len(countries) > 0 && !slices.Contains(countries, inv.Country) {
				continue
			}
			if periodEnd == 0 || inv.Date > periodEnd {
				periodStart, periodEnd = every.around(inv.Date, start, end)
			}
			row := Row{Start: periodStart, End: periodEnd, Currency: c.Currency}
			k := key{start: periodStart, currency: c.Currency}
			if by.Company {
				row.Company, k.company = c, c
			}
			if by.Country {
				row.Country, k.country = inv.Country, inv.Country
			}
			if by.Invoice {
				row.Invoice, row.Revenue, row.COGS = inv, inv.Revenue, inv.COGS
				rows = append(rows, row)
				continue
			}
			n, ok := index[k]
			if !ok {
				n = len(rows)
				index[k] = n
				rows = append(rows, row)
			}
			rows[n].Revenue += inv.Revenue
			rows[n].COGS += inv.COGS
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int { return int(a.Start - b.Start) })
	return rows
}

// around returns the period that holds the day, clipped to the range.
func (p Periodicity) around(d, start, end Date) (Date, Date) {
	first, next := start, end+1
	y, m, _ := d.Time().Date()
	switch p {
	case Yearly:
		first, next = Day(y, time.January, 1), Day(y+1, time.January, 1)
	case Quarterly:
		q := (m - 1) / 3 * 3
		first, next = Day(y, q+1, 1), Day(y, q+4, 1)
	case Monthly:
		first, next = Day(y, m, 1), Day(y, m+1, 1)
	}
	return max(first, start), min(next-1, end)
}
