package toolcall

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// Companies finds the company that a caller means.
type Companies interface {
	// IsUUID says that a value can be nothing but a uuid.
	IsUUID(given string) bool
	// Find gives the company with that id, name or short name, or, unless exactly
	// is set, the only one whose name begins so or holds these words; or a fault,
	// when it is none or not just one; or an error of the API.
	Find(ctx context.Context, c Caller, given string, exactly bool) (m Match, fault string, err error)
	// Name gives the name of the company with that uuid, or "".
	Name(ctx context.Context, c Caller, uuid string) string
}

// Match is a company that was found.
type Match struct {
	UUID, Name string
	// Guessed is set when what was given is not all of its name.
	Guessed bool
}

// guessedMember says which company was taken for what is not all of its name.
const guessedMember = "_company_taken"

// guess is a company that was taken for what was given.
type guess struct {
	Argument string `json:"argument"`
	Given    string `json:"given"`
	Name     string `json:"name"`
	UUID     string `json:"uuid"`
}

// plausible says that a value can be a company's name. It never leaves the
// gateway: what becomes a segment of a path is the uuid that is found for it.
func plausible(name string) bool {
	return name != "" && strings.Trim(name, ". ") != "" && utf8.RuneCountInString(name) <= 128 &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError })
}

// nameCompanies puts uuids for the names of companies among checked arguments,
// and gives the uuids. A read takes a part of a name that fits one company only,
// and says which; a change must be told the whole name, since the wrong company
// would be changed before anybody could object. Others are further values for
// the same arguments: they must mean the same companies.
func nameCompanies(ctx context.Context, companies Companies, t *catalogue.Tool, c Caller, arguments values, others []other) ([]string, []guess, *Failure) {
	var uuids, faults []string
	var guesses []guess
	find := func(p *catalogue.Parameter, raw json.RawMessage) (json.RawMessage, *Failure) {
		given := text(raw)
		found, fault, err := Match{UUID: given}, "", error(nil)
		var scopes []string
		switch {
		case companies == nil, companies.IsUUID(given):
		case c.May != nil && !c.May(p.NameScopes):
			// A name must not tell what list_companies would refuse.
			err, scopes = &neonpanel.Error{Class: neonpanel.Forbidden}, p.NameScopes
		default:
			found, fault, err = companies.Find(ctx, c, given, !t.ReadOnly)
		}
		switch {
		case err != nil:
			f := explain(&catalogue.Tool{Name: t.Name, ReadOnly: true}, err)
			var e *neonpanel.Error
			if errors.As(err, &e) && (e.Class == neonpanel.Forbidden || e.Class == neonpanel.NotFound) {
				f.Message = t.Name + " was not called: the user's companies cannot be listed, so " + p.Argument + " must be a uuid."
				if scopes != nil {
					f.Scopes = scopes
					f.Message = t.Name + " was not called: to find a company by its name needs " + strings.Join(scopes, " ") + ", which was not granted; without it " + p.Argument + " must be a uuid."
				}
			} else {
				f.Message = t.Name + " was not called, because the company could not be looked up. " + f.Message
			}
			return nil, &f
		case fault != "":
			faults = append(faults, p.Argument+" "+fault)
		case !neonpanel.ValidPathArgument(found.UUID):
			faults = append(faults, p.Argument+" must be the uuid of a company")
		default:
			uuids = append(uuids, found.UUID)
			if found.Guessed {
				guesses = append(guesses, guess{p.Argument, given, found.Name, found.UUID})
			}
			if found.UUID != given {
				return marshal(found.UUID), nil
			}
		}
		return raw, nil
	}
	findAll := func(p *catalogue.Parameter, value json.RawMessage) (json.RawMessage, *Failure) {
		if value[0] != '[' {
			return find(p, value)
		}
		var items []json.RawMessage
		// It was checked before.
		_ = json.Unmarshal(value, &items)
		for i, item := range items {
			var failure *Failure
			if items[i], failure = find(p, item); failure != nil {
				return nil, failure
			}
		}
		return join(items), nil
	}
	for i := range t.Operation.Parameters {
		p := &t.Operation.Parameters[i]
		if p.Names != catalogue.Companies || arguments[i] == nil {
			continue
		}
		value, failure := findAll(p, arguments[i])
		if failure != nil {
			return uuids, nil, failure
		}
		arguments[i] = value
		for _, o := range others {
			if o.parameter != i {
				continue
			}
			before, told, wrong := len(uuids), len(guesses), len(faults)
			also, failure := findAll(p, o.raw)
			if failure != nil {
				return uuids, nil, failure
			}
			uuids, guesses = uuids[:before], guesses[:told]
			if len(faults) == wrong && !strings.EqualFold(string(also), string(value)) {
				faults = append(faults, o.fault(p))
			}
		}
	}
	if len(faults) > 0 {
		return uuids, nil, &Failure{Kind: InvalidArguments, Message: listFaults(t, faults)}
	}
	return uuids, guesses, nil
}

// tell says in an answer which companies were taken.
func tell(r Result, guesses []guess) Result {
	if len(guesses) == 0 || r.Failure != nil {
		return r
	}
	if r.Structured != nil {
		var taken bytes.Buffer
		e := json.NewEncoder(&taken)
		e.SetEscapeHTML(false)
		_ = e.Encode(guesses) // nothing but text
		r.Structured = with(r.Structured, guessedMember, bytes.TrimSpace(taken.Bytes()))
	}
	for _, g := range guesses {
		r.Text += fmt.Sprintf("\n\n%s \"%s\" was taken for %s (uuid %s), the only company that it fits.", g.Argument, presentable(g.Given, longestName), g.Name, g.UUID)
	}
	return r
}
