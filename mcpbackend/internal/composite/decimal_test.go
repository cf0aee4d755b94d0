package composite

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

func TestDecimalsAreExact(t *testing.T) {
	t.Parallel()
	d := parseDecimal
	for name, c := range map[string]struct {
		got  decimal
		want string
	}{
		"as sent":                            {d("12.50"), "12.50"},
		"binary fractions would not do":      {d("0.1").add(d("0.2")), "0.3"},
		"more digits than a float64":         {d("12345678901234567890.01").add(d("0.01")), "12345678901234567890.02"},
		"scales differ":                      {d("1.5").sub(d("0.25")), "1.25"},
		"below one":                          {d("0.05").sub(d("0.1")), "-0.05"},
		"a product without idle zeros":       {d("10").mul(d("9.4000")), "94"},
		"a product":                          {d("70").mul(d("26.8384")), "1878.688"},
		"an exponent":                        {d("1.5e3"), "1500"},
		"a negative exponent":                {d("15E-3"), "0.015"},
		"half is rounded away from zero":     {d("1").quo(d("8"), 2), "0.13"},
		"half is rounded away, negative":     {d("-1").quo(d("8"), 2), "-0.13"},
		"a divisor below zero":               {d("1").quo(d("-8"), 2), "-0.13"},
		"a third":                            {d("1").quo(d("3"), 4), "0.3333"},
		"a division by zero is unknown":      {d("1").quo(d("0"), 2), "null"},
		"zero by zero is unknown":            {d("0").quo(d("0.00"), 2), "null"},
		"with the unknown, unknown":          {d("1").add(decimal{}), "null"},
		"no number":                          {d("twelve"), "null"},
		"no JSON number":                     {d(".5"), "null"},
		"no JSON number either":              {d("5."), "null"},
		"a sign alone":                       {d("-"), "null"},
		"a plus":                             {d("+5"), "null"},
		"an exponent that would fill memory": {d("1e999999999"), "null"},
		"digits that would cost time":        {d(strings.Repeat("9", 1000)), "null"},
		"NaN":                                {d("NaN"), "null"},
	} {
		if got := c.got.String(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestUnknownSortsLastBothWays(t *testing.T) {
	t.Parallel()
	known, unknown := integer(1), decimal{}
	if known.compare(unknown) >= 0 || descending(known, unknown) >= 0 {
		t.Error("the unknown comes before the known")
	}
	if descending(integer(2), known) >= 0 || known.compare(integer(2)) >= 0 || unknown.compare(unknown) != 0 {
		t.Error("known numbers are out of order")
	}
}

func TestNumbersAreReadFromNumbersAndStrings(t *testing.T) {
	t.Parallel()
	var got []decimal
	if err := json.Unmarshal([]byte(`[1.50, "2.25", null, true, {}, "x", []]`), &got); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(got)
	if err != nil || string(out) != `[1.50,2.25,null,null,null,null,null]` {
		t.Errorf("%s %v", out, err)
	}
}

// FuzzDecimal holds the arithmetic against big.Rat.
func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"0", "-0", "1.10", "-12.005", "9e12", "1e-20", "00", "1.e3", "", "--1", "3.14159265358979"} {
		f.Add(s, "7.5")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := parseDecimal(a), parseDecimal(b)
		for _, d := range []decimal{x, y} {
			if d.known() && !json.Valid([]byte(d.String())) {
				t.Fatalf("%q is written as %s", a, d)
			}
		}
		if !x.known() || !y.known() {
			return
		}
		p, ok := new(big.Rat).SetString(a)
		q, also := new(big.Rat).SetString(b)
		if !ok || !also {
			t.Fatalf("%q or %q was taken for a number", a, b)
		}
		same := func(name string, got decimal, want *big.Rat) {
			r, ok := new(big.Rat).SetString(got.String())
			if !ok || r.Cmp(want) != 0 {
				t.Errorf("%s %s %s = %s, want %s", a, name, b, got, want)
			}
		}
		same("+", x.add(y), new(big.Rat).Add(p, q))
		same("-", x.sub(y), new(big.Rat).Sub(p, q))
		same("*", x.mul(y), new(big.Rat).Mul(p, q))
		if y.sign() != 0 {
			quotient := new(big.Rat).Quo(p, q)
			rounded, _ := new(big.Rat).SetString(quotient.FloatString(3)) // it rounds half away from zero too
			same("/", x.quo(y, 3), rounded)
		}
		if x.compare(y) != p.Cmp(q) {
			t.Errorf("%s against %s: %d", a, b, x.compare(y))
		}
	})
}
