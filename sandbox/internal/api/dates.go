package api

import (
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// day is a date as documents show it: 2024-03-15, or null.
type day ledger.Date

func (d day) MarshalJSON() ([]byte, error) {
	return appendDate(make([]byte, 0, 12), ledger.Date(d), `"`), nil
}

// midnight is a date as the analytics and balances show it. Their schemas say
// `format: date`, their examples are date-times: 2024-01-01T00:00:00.000Z.
type midnight ledger.Date

func (d midnight) MarshalJSON() ([]byte, error) {
	return appendDate(make([]byte, 0, 28), ledger.Date(d), midnightEnd), nil
}

const midnightEnd = `T00:00:00.000Z"`

// appendDate appends a date in quotes, of which end has the closing one.
func appendDate(b []byte, d ledger.Date, end string) []byte {
	if d == 0 {
		return append(b, "null"...)
	}
	return append(d.Append(append(b, '"')), end...)
}

// instant is a date-time, or null.
type instant time.Time

func (t instant) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return time.Time(t).UTC().AppendFormat(make([]byte, 0, 28), `"2006-01-02T15:04:05.000Z"`), nil
}
