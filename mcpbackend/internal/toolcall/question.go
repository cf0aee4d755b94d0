package toolcall

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
)

const (
	// longestQuestion is the size up to which a question shows all of a change, in
	// bytes. Of a larger one it says what it does not show.
	longestQuestion = 8 << 10
	// longestPart is how much of one value a question shows that does not show all,
	// in characters, and leastLines what every list may take of it at least.
	longestPart, leastLines = 240, 1 << 10
)

// question shows a person what would be done, with the names of what is known by
// name.
func question(t *catalogue.Tool, given values, names map[string]string) string {
	head := t.Title + " in NeonPanel?"
	if flag(t, given, catalogue.RepeatArgument) {
		head += "\nThis is to be done even if the same was done just before."
	}
	if whole := head + arguments(t, given, names, 0, 0); len(whole) <= longestQuestion {
		return whole
	}
	// What single values leave of the size, the lists share.
	lists := 0
	for i, raw := range given {
		if raw != nil && changed(&t.Operation.Parameters[i]) && manyLined(raw) {
			lists++
		}
	}
	room := longestQuestion - len(head) - len(arguments(t, given, names, longestPart, 1))
	return head + arguments(t, given, names, longestPart, max(leastLines, room/max(1, lists)))
}

// arguments are the lines for what is given: all of it, or of a value only its
// first characters, and of a list the first lines that fit into as many bytes.
func arguments(t *catalogue.Tool, given values, names map[string]string, characters, lines int) string {
	var b strings.Builder
	for i, raw := range given {
		p := &t.Operation.Parameters[i]
		if raw == nil || !changed(p) {
			continue
		}
		if manyLined(raw) {
			fmt.Fprintf(&b, "\n%s (%d):", p.Argument, count(compacted(raw)))
			table(&b, compacted(raw), characters, lines)
			continue
		}
		value := readable(raw, false)
		if name := names[p.Argument]; name != "" && name != value {
			value = name + " (" + value + ")"
		}
		fmt.Fprintf(&b, "\n%s: %s", p.Argument, cut(value, characters))
	}
	return b.String()
}

// changed says whether an argument is part of the change.
func changed(p *catalogue.Parameter) bool {
	return !p.Hidden && (p.In != catalogue.InGateway || p.Argument == catalogue.ClearArgument)
}

func compacted(raw []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return []byte("[]") // it was checked before
	}
	return b.Bytes()
}

// manyLined says whether a value is a list of records.
func manyLined(raw json.RawMessage) bool {
	if raw[0] != '[' {
		return false
	}
	for element := range elements(compacted(raw)) {
		if element[0] == '{' {
			return true
		}
	}
	return false
}

// table shows each record of a list on a line of its own. When not all of them fit
// into so many bytes, it says how many there are more, and what their numbers sum
// to. Zero means no bound.
func table(b *strings.Builder, list []byte, characters, bytes int) {
	begin, n := b.Len(), 0
	rest := sums{}
	for element := range elements(list) {
		n++
		line := fmt.Sprintf("\n  %d. %s", n, cut(readable(element, false), characters))
		if rest.lines == 0 && (bytes == 0 || b.Len()-begin+len(line) <= bytes) {
			b.WriteString(line)
			continue
		}
		rest.add(element)
	}
	if rest.lines > 0 {
		fmt.Fprintf(b, "\n  … and %d more that are not shown here (%d to %d)%s", rest.lines, n-rest.lines+1, n, rest.text())
	}
}

// sums are those of the numbers of records, by the name of the member.
type sums struct {
	lines int
	names []string
	of    map[string]*big.Rat
}

func (s *sums) add(record []byte) {
	s.lines++
	if record[0] != '{' {
		return
	}
	var quantity, rate *big.Rat
	for raw, value := range members(record) {
		name := plainName(raw)
		exact := decimal(value)
		switch {
		case exact == nil || name == "id" || strings.HasSuffix(name, "_id"):
			continue
		case name == "rate":
			rate = exact // prices sum to nothing
			continue
		case name == "quantity":
			quantity = exact
		}
		s.plus(name, exact)
	}
	if quantity != nil && rate != nil {
		s.plus("quantity × rate", rate.Mul(rate, quantity))
	}
}

func (s *sums) plus(name string, exact *big.Rat) {
	if s.of == nil {
		s.of = map[string]*big.Rat{}
	}
	if s.of[name] == nil {
		if len(s.names) == 10 {
			return
		}
		s.of[name] = new(big.Rat)
		s.names = append(s.names, name)
	}
	s.of[name].Add(s.of[name], exact)
}

// decimal is a number, or a text that is one, such as an amount; else nil.
func decimal(value []byte) *big.Rat {
	number := text(value)
	// Not with an exponent, which could ask for a number of any size.
	if number == "" || len(number) > 40 || strings.Trim(number, "0123456789.-") != "" {
		return nil
	}
	exact, ok := new(big.Rat).SetString(number)
	if !ok {
		return nil
	}
	return exact
}

func (s *sums) text() string {
	var b strings.Builder
	for i, name := range s.names {
		b.WriteString([]string{", in sum ", ", "}[min(i, 1)])
		digits, _ := s.of[name].FloatPrec() // of decimals it is exact
		fmt.Fprintf(&b, "%s %s", presentable(name, longestName), s.of[name].FloatString(digits))
	}
	return b.String()
}

// cut says how much it cuts off; zero means no bound.
func cut(line string, characters int) string {
	n := utf8.RuneCountInString(line)
	if characters == 0 || n <= characters {
		return line
	}
	return string([]rune(line)[:characters]) + fmt.Sprintf("… (and %d more characters that are not shown here)", n-characters)
}

// readable is a value in one line. Within others, texts have quotes, so that none
// looks like another member.
func readable(raw []byte, within bool) string {
	switch raw[0] {
	case '"':
		if value := presentable(text(raw), len(raw)); within {
			return strconv.Quote(value)
		} else {
			return value
		}
	case '{':
		var parts []string
		for name, value := range members(compacted(raw)) {
			parts = append(parts, presentable(plainName(name), longestName)+": "+readable(value, true))
		}
		if line := strings.Join(parts, ", "); within {
			return "{" + line + "}"
		} else {
			return line
		}
	case '[':
		var parts []string
		for value := range elements(compacted(raw)) {
			parts = append(parts, readable(value, true))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	if string(raw) == "null" {
		return "empty"
	}
	return string(raw)
}
