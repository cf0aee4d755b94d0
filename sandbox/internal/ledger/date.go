package ledger

import (
	"fmt"
	"strings"
	"time"
)

// Date is a calendar day, counted from 1970-01-01. Zero is that day and stands
// for "no date" in documents, which are all younger.
type Date int32

// DateOf returns the UTC day of t.
func DateOf(t time.Time) Date {
	u := t.Unix()
	if u < 0 {
		u -= 86399
	}
	return Date(u / 86400)
}

// Day returns the given calendar day.
func Day(year int, month time.Month, day int) Date {
	return DateOf(time.Date(year, month, day, 0, 0, 0, 0, time.UTC))
}

// Time returns the day's first instant in UTC.
func (d Date) Time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// String renders YYYY-MM-DD.
func (d Date) String() string { return string(d.Append(nil)) }

// Append appends YYYY-MM-DD. Years have four digits in any book.
func (d Date) Append(b []byte) []byte {
	y, m, day := d.Time().Date()
	return append(b,
		byte('0'+y/1000), byte('0'+y/100%10), byte('0'+y/10%10), byte('0'+y%10), '-',
		byte('0'+m/10), byte('0'+m%10), '-', byte('0'+day/10), byte('0'+day%10))
}

// MonthStart returns the first day of d's month moved by n months.
func (d Date) MonthStart(n int) Date {
	y, m, _ := d.Time().Date()
	return Day(y, m+time.Month(n), 1)
}

// ParseDate reads YYYY-MM-DD or an RFC 3339 date-time, of which the day is kept:
// NeonPanel declares `format: date` and shows date-times as examples.
func ParseDate(s string) (Date, error) {
	if len(s) > 40 {
		return 0, fmt.Errorf("not a date")
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return dateInRange(t)
	}
	if t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s)); err == nil {
		return dateInRange(t)
	}
	return 0, fmt.Errorf("not a date")
}

func dateInRange(t time.Time) (Date, error) {
	if y := t.Year(); y < 1970 || y > 9999 {
		return 0, fmt.Errorf("year out of range")
	}
	// The day as written: 2025-01-01T23:00:00-08:00 is 1 January.
	return Day(t.Year(), t.Month(), t.Day()), nil
}
