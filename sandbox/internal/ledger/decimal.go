package ledger

import (
	"errors"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// Decimal is an exact number with four decimal places, counted in ten
// thousandths. Money, unit prices and rates use it, so that sums never drift as
// binary floats do.
type Decimal int64

const (
	one  Decimal = 10_000
	cent Decimal = 100

	// maxDecimal keeps quantity × rate of one document line inside int64.
	maxDecimal Decimal = 1_000_000_000 * one
)

// Cents returns n hundredths.
func Cents(n int64) Decimal { return Decimal(n) * cent }

// Int returns a whole number.
func Int(n int64) Decimal { return Decimal(n) * one }

// String renders the shortest exact form, as PHP's json_encode does: 3675,
// 100.5, 12.99.
func (d Decimal) String() string { return string(d.Append(nil)) }

// MarshalJSON writes a JSON number.
func (d Decimal) MarshalJSON() ([]byte, error) { return d.Append(make([]byte, 0, 16)), nil }

// Append appends what String returns.
func (d Decimal) Append(b []byte) []byte {
	if d < 0 {
		b = append(b, '-')
		d = -d
	}
	b = strconv.AppendInt(b, int64(d/one), 10)
	frac := int64(d % one)
	if frac == 0 {
		return b
	}
	digits := [5]byte{'.'}
	for i := 4; i > 0; i-- {
		digits[i] = byte('0' + frac%10)
		frac /= 10
	}
	n := 5
	for digits[n-1] == '0' {
		n--
	}
	return append(b, digits[:n]...)
}

// ErrDecimal is what ParseDecimal returns for text that is no number, is too
// large, or has more than four decimal places.
var ErrDecimal = errors.New("not a number with at most four decimal places")

// ParseDecimal reads a JSON number, exponents included.
func ParseDecimal(s string) (Decimal, error) {
	// A huge exponent would make big.Rat allocate without bound.
	if len(s) > 40 {
		return 0, ErrDecimal
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if exp, err := strconv.Atoi(s[i+1:]); err != nil || exp > 20 || exp < -20 {
			return 0, ErrDecimal
		}
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok || strings.ContainsAny(s, "/_xXoObBpP") {
		return 0, ErrDecimal
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(one)))
	if !r.IsInt() || !r.Num().IsInt64() {
		return 0, ErrDecimal
	}
	d := Decimal(r.Num().Int64())
	if d > maxDecimal || d < -maxDecimal {
		return 0, ErrDecimal
	}
	return d, nil
}

// share returns total × part / whole rounded to cents, half away from zero, for
// parts of zero or more. Callers subtract it from what is left, so the shares of a
// total always add up to the total.
func share(total Decimal, part, whole int64) Decimal {
	if part == whole {
		return total
	}
	if total < 0 {
		return -share(-total, part, whole)
	}
	// 2 × cents × part may need more than 64 bits.
	hi, lo := bits.Mul64(2*uint64(total/cent), uint64(part))
	lo, carry := bits.Add64(lo, uint64(whole), 0)
	cents, _ := bits.Div64(hi+carry, lo, 2*uint64(whole))
	return Cents(int64(cents))
}

// allocate divides an amount by weights, to the last ten-thousandth. Without any
// weight the first share is all of it.
func allocate(amount Decimal, weights []int64) []Decimal {
	var left int64
	for _, w := range weights {
		left += w
	}
	shares := make([]Decimal, len(weights))
	for i, w := range weights {
		shares[i] = amount
		if left > 0 {
			shares[i] = share(amount, w, left)
		}
		amount -= shares[i]
		left -= w
	}
	return shares
}

// per divides an amount over n units, to four decimal places.
func per(total Decimal, n int64) Decimal {
	if n == 0 {
		return 0
	}
	return (2*total + Decimal(n)) / Decimal(2*n)
}
