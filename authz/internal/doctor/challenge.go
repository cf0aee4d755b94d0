package doctor

import (
	"errors"
	"fmt"
	"strings"
)

// challenge is one challenge of a WWW-Authenticate field (RFC 9110 §11.6.1).
type challenge struct {
	// Scheme and the names of Params are in lower case: both are
	// case-insensitive (RFC 9110 §11.1, §11.2).
	Scheme string
	// Token68 is set instead of Params in some schemes, such as Negotiate.
	Token68 string
	Params  map[string]string
}

// parseChallenges reads the values of all WWW-Authenticate fields of an answer.
// It is strict, because clients are: what is ambiguous here is read in two ways
// out there. The one thing it forgives are empty list elements, as RFC 9110
// §5.6.1.2 asks of a recipient.
func parseChallenges(fields []string) ([]challenge, error) {
	var all []challenge
	for _, field := range fields {
		found, err := parseChallengeField(field)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func parseChallengeField(field string) ([]challenge, error) {
	p := parser{rest: field}
	var found []challenge
	for {
		p.skipListSeparators()
		if p.rest == "" {
			return found, nil
		}
		c, err := p.challenge()
		if err != nil {
			return nil, fmt.Errorf("at byte %d: %w", len(field)-len(p.rest), err)
		}
		found = append(found, c)
	}
}

type parser struct{ rest string }

// challenge reads auth-scheme [ 1*SP ( token68 / #auth-param ) ] and the comma
// after it.
func (p *parser) challenge() (challenge, error) {
	c := challenge{Scheme: strings.ToLower(p.token()), Params: map[string]string{}}
	if c.Scheme == "" {
		return c, errors.New("an authentication scheme was expected")
	}
	if p.rest == "" || p.rest[0] == ',' {
		return c, nil
	}
	if p.rest[0] != ' ' {
		return c, fmt.Errorf("a space was expected after the scheme %q", c.Scheme)
	}
	p.rest = strings.TrimLeft(p.rest, " ")
	if value, is := p.token68(); is {
		c.Token68 = value
		return c, nil
	}
	for {
		p.skipListSeparators()
		if p.rest == "" {
			return c, nil
		}
		// A token that no "=" follows is the next challenge's scheme.
		before := p.rest
		name := strings.ToLower(p.token())
		if name == "" {
			return c, errors.New("the name of a parameter was expected")
		}
		p.skipSpace()
		if !strings.HasPrefix(p.rest, "=") {
			p.rest = before
			return c, nil
		}
		p.rest = p.rest[1:]
		p.skipSpace()
		value, err := p.value()
		if err != nil {
			return c, fmt.Errorf("parameter %s: %w", name, err)
		}
		// RFC 9110 §11.2: a parameter occurs once in a challenge.
		if _, twice := c.Params[name]; twice {
			return c, fmt.Errorf("parameter %s occurs twice", name)
		}
		c.Params[name] = value
		p.skipSpace()
		if p.rest != "" && p.rest[0] != ',' {
			return c, fmt.Errorf("a comma was expected after the parameter %s", name)
		}
	}
}

func (p *parser) value() (string, error) {
	if !strings.HasPrefix(p.rest, `"`) {
		if value := p.token(); value != "" {
			return value, nil
		}
		return "", errors.New("a token or a quoted string was expected")
	}
	// quoted-string (RFC 9110 §5.6.4).
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		c := p.rest[i]
		switch {
		case c == '"':
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case c == '\\':
			i++
			if i == len(p.rest) || !isText(p.rest[i]) {
				return "", errors.New("a backslash before nothing that can be quoted")
			}
			b.WriteByte(p.rest[i])
		case isText(c):
			b.WriteByte(c)
		default:
			return "", errors.New("a control character in a quoted string")
		}
	}
	return "", errors.New("the quoted string has no end")
}

// token reads the longest token (RFC 9110 §5.6.2); "" if there is none.
func (p *parser) token() string {
	end := 0
	for end < len(p.rest) && isTokenByte(p.rest[end]) {
		end++
	}
	token := p.rest[:end]
	p.rest = p.rest[end:]
	return token
}

// token68 reads a value that ends the challenge (RFC 9110 §11.2). A name with
// its "=" looks like one, but something always follows the "=".
func (p *parser) token68() (string, bool) {
	end := 0
	for end < len(p.rest) && (isAlphanumeric(p.rest[end]) || strings.IndexByte("-._~+/", p.rest[end]) >= 0) {
		end++
	}
	letters := end
	for end < len(p.rest) && p.rest[end] == '=' {
		end++
	}
	after := strings.TrimLeft(p.rest[end:], " \t")
	if letters == 0 || (after != "" && after[0] != ',') {
		return "", false
	}
	value := p.rest[:end]
	p.rest = after
	return value, true
}

func (p *parser) skipSpace() { p.rest = strings.TrimLeft(p.rest, " \t") }

func (p *parser) skipListSeparators() { p.rest = strings.TrimLeft(p.rest, " \t,") }

func isText(c byte) bool { return c == '\t' || (c >= ' ' && c != 0x7F) }

func isAlphanumeric(c byte) bool {
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
}

func isTokenByte(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
