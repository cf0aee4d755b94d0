package explain

import (
	"encoding/json"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
)

const (
	// shortSecret is the length below which a text cannot be a secret and may
	// well be a word.
	shortSecret = 8
	// piece is how much of an opaque token must not be shown in one piece: a text
	// that holds the token may have been cut before it came here.
	piece = 16

	masked = "[secret]"
)

// secrets are what a report must not show of one token. Nothing that is shown is
// taken from a signature or is a whole token, but a claim or a server could
// repeat one. Values are masked before they are quoted or encoded, so that
// neither changes what is found.
type secrets struct {
	// pieces are all pieces of each length; with backslashes and quotes left out,
	// since errors quote what they name, and errors in errors do so again.
	pieces map[int]map[string]bool
}

// newSecrets takes what was given as a token, which may be pasted with what
// stood around it.
func newSecrets(raw string) *secrets {
	s := &secrets{pieces: make(map[int]map[string]bool)}
	forms := []string{raw, strings.Trim(raw, " \t\r\n\"'`,;:<>()[]{}")}
	var document any
	if json.Unmarshal([]byte(raw), &document) == nil {
		forms = append(forms, texts(document)...)
	}
	for _, form := range forms {
		for _, at := range signatures(form) {
			s.add(form[at[0]:at[1]], shortSecret)
		}
		if jws.Looks(form) {
			s.add(form[strings.LastIndexByte(form, '.')+1:], shortSecret)
			// The rest is shown anyhow, check by check; only not as a whole.
			s.add(form, len(form))
			continue
		}
		s.add(form, piece)
	}
	return s
}

// texts are the strings of a JSON document that can be secrets.
func texts(document any) (out []string) {
	switch value := document.(type) {
	case string:
		out = append(out, value)
	case []any:
		for _, element := range value {
			out = append(out, texts(element)...)
		}
	case map[string]any:
		for name, member := range value {
			// RFC 6749 §5.1: these are said of a token.
			if name != "token_type" && name != "scope" {
				out = append(out, texts(member)...)
			}
		}
	}
	return out
}

// add keeps the pieces of a secret of some length, in every spelling in which it
// may come back.
func (s *secrets) add(secret string, length int) {
	encoded, _ := json.Marshal(secret)
	for _, spelling := range []string{
		secret, printable(secret), string(encoded), strconv.Quote(secret), strconv.QuoteToASCII(secret), url.QueryEscape(secret), url.PathEscape(secret),
	} {
		spelling = plain(spelling)
		length := min(length, len(spelling))
		if length < shortSecret {
			continue
		}
		if s.pieces[length] == nil {
			s.pieces[length] = make(map[string]bool)
		}
		for at := 0; at+length <= len(spelling); at++ {
			s.pieces[length][spelling[at:at+length]] = true
		}
	}
}

// quotation is what quoting adds.
const quotation = "\\\""

func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(quotation, r) {
			return -1
		}
		return r
	}, s)
}

// value masks what was taken from the token or from a server.
func (s *secrets) value(text string) string { return s.hide(text, nil) }

// sentence masks in a text that is ours around what was taken: there the names
// of settings stay, even those that a token holds too.
func (s *secrets) sentence(text string) string {
	return s.hide(text, settingNames.FindAllStringIndex(text, -1))
}

// hide masks in a text all but what is wholly within one of the ranges to keep.
func (s *secrets) hide(text string, keep [][]int) string {
	hidden := make([]bool, len(text))
	for _, at := range signatures(text) {
		for i := at[0]; i < at[1]; i++ {
			hidden[i] = true
		}
	}
	// where tells for each byte of what is left without quotation where it was.
	bare, where := make([]byte, 0, len(text)), make([]int, 0, len(text))
	for i := range len(text) {
		if strings.IndexByte(quotation, text[i]) < 0 {
			bare, where = append(bare, text[i]), append(where, i)
		}
	}
	for length, pieces := range s.pieces {
		end := 0 // of what is hidden already
		for at := 0; at+length <= len(bare); at++ {
			if !pieces[string(bare[at:at+length])] {
				continue
			}
			for i := max(at, end); i < at+length; i++ {
				hidden[where[i]] = true
				if i > at { // with the quotation in between
					for j := where[i-1] + 1; j < where[i]; j++ {
						hidden[j] = true
					}
				}
			}
			end = at + length
		}
	}
	var b strings.Builder
	for at := 0; at < len(text); {
		end := at + 1
		for end < len(text) && hidden[end] == hidden[at] {
			end++
		}
		kept := slices.ContainsFunc(keep, func(k []int) bool { return k[0] <= at && end <= k[1] })
		if hidden[at] && !kept {
			b.WriteString(masked)
		} else {
			b.WriteString(text[at:end])
		}
		at = end
	}
	return b.String()
}

// foreign masks the signatures of whatever has the form of a JWT. It is for
// texts that are ours, or the operator's, as a whole.
func foreign(text string) string { return (&secrets{}).value(text) }

// dotted is what a JWT is within: base64url and dots (RFC 7515 §3.1).
var dotted = regexp.MustCompile(`[A-Za-z0-9_.-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_.-]+`)

// signatures are the ranges of the third parts, and of those after them
// (RFC 7516 §3.1), of all that has the form of a JWT in a text.
func signatures(text string) (found [][]int) {
	for _, run := range dotted.FindAllStringIndex(text, -1) {
		parts := strings.Split(text[run[0]:run[1]], ".")
		at := run[0]
		for i, part := range parts {
			// {" in base64url, which other text may stand before without a gap.
			if (strings.Contains(part, "eyJ") || jws.Looks(part+"..")) && i+2 < len(parts) {
				from := at + len(part) + 1 + len(parts[i+1]) + 1
				if from < run[1] {
					found = append(found, []int{from, run[1]})
				}
				break
			}
			at += len(part) + 1
		}
	}
	return found
}

// settingNames finds the names of the settings.
var settingNames = func() *regexp.Regexp {
	var names []string
	for field := range reflect.TypeFor[config.Settings]().Fields() {
		if name := field.Tag.Get("env"); name != "" {
			names = append(names, regexp.QuoteMeta(name))
		}
	}
	return regexp.MustCompile(`\b(` + strings.Join(names, "|") + `)\b`)
}()

// mask takes the secrets out of all that was taken from elsewhere.
func (r *Report) mask(s *secrets) {
	r.Challenge = foreign(r.Challenge)
	if who := r.Identity; who != nil {
		who.Subject, who.ClientID = s.value(who.Subject), s.value(who.ClientID)
		who.Scopes = slices.Clone(who.Scopes)
		for i := range who.Scopes {
			who.Scopes[i] = s.value(who.Scopes[i])
		}
	}
	for i := range r.Trouble {
		r.Trouble[i] = printable(s.sentence(r.Trouble[i]))
	}
	for i := range r.Proposal.Notes {
		r.Proposal.Notes[i] = printable(s.sentence(r.Proposal.Notes[i]))
	}
	for _, changes := range [][]Change{r.Proposal.Changes, r.Proposal.Others} {
		for i := range changes {
			changes[i].Value = s.sentence(changes[i].Value)
		}
	}
}
