package composite

import (
	"math/big"
	"strconv"
	"strings"
)

// decimal is an exact decimal number, or an unknown one: its zero value, which
// is null in JSON. What is computed with something unknown is unknown.
type decimal struct {
	unscaled *big.Int
	// scale is the number of digits after the point.
	scale int
}

// No amount, quantity or price is longer than this; a longer number would only
// cost time.
const (
	maxDigits   = 60
	maxExponent = 40
)

var ten = big.NewInt(10)

func integer(n int64) decimal { return decimal{big.NewInt(n), 0} }

// parseDecimal reads a JSON number (RFC 8259 §6). Anything else is unknown.
func parseDecimal(s string) decimal {
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.Atoi(s[i+1:])
		if err != nil || e > maxExponent || e < -maxExponent {
			return decimal{}
		}
		mantissa, exponent = s[:i], e
	}
	digits, scale := mantissa, 0
	if whole, fraction, ok := strings.Cut(mantissa, "."); ok {
		if fraction == "" {
			return decimal{}
		}
		digits, scale = whole+fraction, len(fraction)
	}
	unsigned := strings.TrimPrefix(digits, "-")
	if unsigned == "" || len(unsigned) > maxDigits || strings.ContainsFunc(unsigned, func(r rune) bool { return r < '0' || r > '9' }) ||
		strings.HasPrefix(mantissa, ".") || strings.HasPrefix(mantissa, "-.") {
		return decimal{}
	}
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return decimal{}
	}
	d := decimal{n, scale - exponent}
	if d.scale < 0 {
		d = decimal{new(big.Int).Mul(n, power(-d.scale)), 0}
	}
	return d
}

func power(n int) *big.Int { return new(big.Int).Exp(ten, big.NewInt(int64(n)), nil) }

func (d decimal) known() bool { return d.unscaled != nil }

// sign is -1, 0 or 1; 0 for the unknown.
func (d decimal) sign() int {
	if !d.known() {
		return 0
	}
	return d.unscaled.Sign()
}

// aligned gives both numbers at the larger of the two scales.
func aligned(a, b decimal) (x, y *big.Int, scale int) {
	x, y, scale = a.unscaled, b.unscaled, max(a.scale, b.scale)
	if a.scale < scale {
		x = new(big.Int).Mul(x, power(scale-a.scale))
	}
	if b.scale < scale {
		y = new(big.Int).Mul(y, power(scale-b.scale))
	}
	return x, y, scale
}

func (d decimal) add(o decimal) decimal {
	if !d.known() || !o.known() {
		return decimal{}
	}
	x, y, scale := aligned(d, o)
	return decimal{new(big.Int).Add(x, y), scale}
}

func (d decimal) sub(o decimal) decimal {
	if !d.known() || !o.known() {
		return decimal{}
	}
	x, y, scale := aligned(d, o)
	return decimal{new(big.Int).Sub(x, y), scale}
}

// mul drops zeros at the end, which would only pretend to be digits.
func (d decimal) mul(o decimal) decimal {
	if !d.known() || !o.known() {
		return decimal{}
	}
	product := decimal{new(big.Int).Mul(d.unscaled, o.unscaled), d.scale + o.scale}
	for product.scale > 0 {
		q, r := new(big.Int).QuoRem(product.unscaled, ten, new(big.Int))
		if r.Sign() != 0 {
			break
		}
		product = decimal{q, product.scale - 1}
	}
	return product
}

// quo divides and rounds to places digits after the point, half away from zero.
// A division by zero is unknown.
func (d decimal) quo(o decimal, places int) decimal {
	if !d.known() || o.sign() == 0 {
		return decimal{}
	}
	x, y, _ := aligned(d, o)
	// One half is added to the magnitude before the remainder is dropped.
	n := new(big.Int).Mul(new(big.Int).Abs(x), power(places))
	m := new(big.Int).Abs(y)
	n.Add(n.Lsh(n, 1), m)
	n.Quo(n, new(big.Int).Lsh(m, 1))
	if x.Sign()*y.Sign() < 0 {
		n.Neg(n)
	}
	return decimal{n, places}
}

func (d decimal) abs() decimal {
	if !d.known() {
		return d
	}
	return decimal{new(big.Int).Abs(d.unscaled), d.scale}
}

// compare puts the unknown after all others.
func (d decimal) compare(o decimal) int {
	switch {
	case d.known() && o.known():
		x, y, _ := aligned(d, o)
		return x.Cmp(y)
	case d.known():
		return -1
	case o.known():
		return 1
	}
	return 0
}

// descending puts the largest first and the unknown last.
func descending(a, b decimal) int {
	if a.known() && b.known() {
		return b.compare(a)
	}
	return a.compare(b)
}

func (d decimal) String() string {
	if !d.known() {
		return "null"
	}
	digits := new(big.Int).Abs(d.unscaled).String()
	if d.scale > 0 {
		if missing := d.scale + 1 - len(digits); missing > 0 {
			digits = strings.Repeat("0", missing) + digits
		}
		digits = digits[:len(digits)-d.scale] + "." + digits[len(digits)-d.scale:]
	}
	if d.unscaled.Sign() < 0 {
		return "-" + digits
	}
	return digits
}

// MarshalJSON writes a JSON number with all its digits, or null.
func (d decimal) MarshalJSON() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON takes a number, or a number in a string; what is neither is
// unknown, not an error.
func (d *decimal) UnmarshalJSON(raw []byte) error {
	s := string(raw)
	if len(s) > 1 && s[0] == '"' {
		s = s[1 : len(s)-1]
	}
	*d = parseDecimal(s)
	return nil
}
