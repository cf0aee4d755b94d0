package ledger

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDecimalText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0": "0", "-0": "0", "3675": "3675", "3675.00": "3675", "100.5": "100.5", "12.99": "12.99", "0.0001": "0.0001",
		"-0.05": "-0.05", "1e3": "1000", "1.5E-3": "0.0015", "1000000000": "1000000000",
	} {
		d, err := ParseDecimal(text)
		if err != nil || d.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, d, err, want)
		}
		if raw, err := json.Marshal(d); err != nil || string(raw) != want {
			t.Errorf("%s as JSON: %s, %v", text, raw, err)
		}
	}
	for _, text := range []string{"", "x", "1/2", "0x10", "1_000", "0.00001", "1000000000.01", "1e99", "1e999999999", "NaN", "Inf", "9223372036854775807"} {
		if d, err := ParseDecimal(text); err == nil {
			t.Errorf("%q is taken as %s", text, d)
		}
	}
}

func TestDecimalKeepsEveryValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := Decimal(rapid.Int64Range(int64(-maxDecimal), int64(maxDecimal)).Draw(t, "d"))
		got, err := ParseDecimal(d.String())
		if err != nil || got != d {
			t.Fatalf("%d became %s became %d, %v", int64(d), d, int64(got), err)
		}
	})
}

func TestSharesAddUpToTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		total := Cents(rapid.Int64Range(0, 1_000_000_00).Draw(t, "cents"))
		l := lot{quantity: rapid.Int64Range(1, 5000).Draw(t, "units"), costs: []Cost{{Amount: total}}}
		var sum Decimal
		for l.quantity > 0 {
			n := rapid.Int64Range(1, l.quantity).Draw(t, "part")
			part := l.split(n)
			if part.costs[0].Amount < 0 {
				t.Fatalf("a part of %s costs %s", total, part.costs[0].Amount)
			}
			sum += part.value()
		}
		if sum != total {
			t.Fatalf("parts make %s of %s", sum, total)
		}
	})
}

func TestTimesRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	if p, ok := Cents(1299).Times(3); !ok || p != Cents(3897) {
		t.Errorf("3 × 12.99 = %s, %v", p, ok)
	}
	if p, ok := maxDecimal.Times(2); ok {
		t.Errorf("too large a product is taken as %s", p)
	}
	if p, ok := maxDecimal.Times(1 << 60); ok {
		t.Errorf("an overflow is taken as %s", p)
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2024-01-01":                "2024-01-01",
		"2024-01-01T00:00:00.000Z":  "2024-01-01",
		"2024-12-31t23:59:59z":      "2024-12-31",
		"2025-01-01T23:00:00-08:00": "2025-01-01",
		"1999-02-28":                "1999-02-28",
	} {
		if d, err := ParseDate(text); err != nil || d.String() != want {
			t.Errorf("%s: %s, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "2024", "2024-13-01", "2024-02-30", "01/02/2024", "yesterday", "1969-12-31", "2024-01-01T25:00:00Z"} {
		if d, err := ParseDate(text); err == nil {
			t.Errorf("%q is taken as %s", text, d)
		}
	}
	if DateOf(time.Unix(-1, 0)) != -1 || DateOf(time.Unix(86400, 0)) != 1 {
		t.Error("days around the epoch")
	}
}

func FuzzParseDecimal(f *testing.F) {
	for _, s := range []string{"12.99", "-0.0001", "1e3", "0x1p-2", "1/3", "1e-999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDecimal(s)
		if err != nil {
			return
		}
		if again, err := ParseDecimal(d.String()); err != nil || again != d {
			t.Fatalf("%q is %s, which is %s, %v", s, d, again, err)
		}
	})
}

func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"2024-01-01", "2024-01-01T00:00:00.000Z", "9999-12-31", "2024-01-01T00:00:00+14:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDate(s)
		if err != nil {
			return
		}
		if again, err := ParseDate(d.String()); err != nil || again != d {
			t.Fatalf("%q is %s, which is %s, %v", s, d, again, err)
		}
	})
}
