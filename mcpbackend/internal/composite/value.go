package composite

import (
	"bytes"
	"encoding/json"
	"time"
)

// text is a string of the API; null and what is no scalar are "". Ids arrive as
// numbers in some answers and as strings in others.
type text string

// UnmarshalJSON takes any scalar.
func (t *text) UnmarshalJSON(raw []byte) error {
	*t = ""
	switch raw[0] {
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		*t = text(s)
	case 'n', '{', '[':
	default:
		*t = text(raw)
	}
	return nil
}

// MarshalJSON writes null for "".
func (t text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return encode(string(t))
}

// day gives a date of the API as YYYY-MM-DD, "" when there is none. The
// analytics write dates as midnight in UTC, which is no moment but a day of the
// company; a real moment is a day in the company's own time zone.
func day(value text, zone *time.Location) text {
	if len(value) == len(time.DateOnly) {
		if _, err := time.Parse(time.DateOnly, string(value)); err == nil {
			return value
		}
		return ""
	}
	t, err := time.Parse(time.RFC3339Nano, string(value))
	// A year with another number of digits has no such form.
	if err != nil || t.Year() < 1 || t.Year() > 9998 {
		return ""
	}
	if _, offset := t.Zone(); offset == 0 && t.Equal(t.Truncate(24*time.Hour)) {
		return text(t.Format(time.DateOnly))
	}
	return text(t.In(zone).Format(time.DateOnly))
}

// encode writes JSON without the HTML escapes of encoding/json.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
