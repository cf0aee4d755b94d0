package toolcall

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// Companies finds the company that a caller means.
type Companies interface {
	// IsUUID says that a value can be nothing but a uuid.
	IsUUID(given string) bool
	// Find gives the uuid of the company with that id, name or short name; or a
	// fault, when it is none or not just one; or an error of the API.
	Find(ctx context.Context, c Caller, given string) (uuid, fault string, err error)
	// Name gives the name of the company with that uuid, or "".
	Name(ctx context.Context, c Caller, uuid string) string
}

// plausible says that a value can be a company's name: the others never leave
// the gateway, since the value becomes a segment of a path.
func plausible(name string) bool {
	return name != "" && strings.Trim(name, ". ") != "" && utf8.RuneCountInString(name) <= 128 &&
		!strings.ContainsFunc(name, func(r rune) bool {
			return r < ' ' || r == 0x7f || r == utf8.RuneError || strings.ContainsRune(`/\?#%;`, r)
		})
}

// nameCompanies puts uuids for the names of companies among checked arguments,
// and gives the uuids.
func nameCompanies(ctx context.Context, companies Companies, t *catalogue.Tool, c Caller, arguments values) ([]string, *Failure) {
	var uuids, faults []string
	find := func(p *catalogue.Parameter, raw json.RawMessage) (json.RawMessage, *Failure) {
		given := text(raw)
		uuid, fault, err := given, "", error(nil)
		var scopes []string
		switch {
		case companies == nil, companies.IsUUID(given):
		case c.May != nil && !c.May(p.NameScopes):
			// A name must not tell what list_companies would refuse.
			err, scopes = &neonpanel.Error{Class: neonpanel.Forbidden}, p.NameScopes
		default:
			uuid, fault, err = companies.Find(ctx, c, given)
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
		case !neonpanel.ValidPathArgument(uuid):
			faults = append(faults, p.Argument+" must be the uuid of a company")
		default:
			uuids = append(uuids, uuid)
			if uuid != given {
				return marshal(uuid), nil
			}
		}
		return raw, nil
	}
	for i := range t.Operation.Parameters {
		p := &t.Operation.Parameters[i]
		value := &arguments[i]
		if p.Names != catalogue.Companies || *value == nil {
			continue
		}
		var failure *Failure
		if (*value)[0] != '[' {
			if *value, failure = find(p, *value); failure != nil {
				return uuids, failure
			}
			continue
		}
		var items []json.RawMessage
		// It was checked before.
		_ = json.Unmarshal(*value, &items)
		for i, item := range items {
			if items[i], failure = find(p, item); failure != nil {
				return uuids, failure
			}
		}
		*value = join(items)
	}
	if len(faults) > 0 {
		return uuids, &Failure{Kind: InvalidArguments, Message: listFaults(t, faults)}
	}
	return uuids, nil
}
