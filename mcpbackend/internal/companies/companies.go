// Package companies finds the company that a caller means by a name, a short
// name or an id. It asks the NeonPanel API with the caller's own token, and
// remembers the answer for a minute for that user, client and scopes.
package companies

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/singleflight"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

const (
	// keep is how long a list of companies is remembered.
	keep = time.Minute
	// pageSize is the most that the API gives at once, pages the most that are
	// asked for.
	pageSize, pages = 60, 20
	// callers is of how many callers the lists are remembered.
	callers = 1000
	// patience bounds the search, whatever the patience of those who wait.
	patience = 20 * time.Second
)

// Company is a company of the API.
type Company struct {
	ID        json.Number `json:"id"`
	UUID      string      `json:"uuid"`
	Name      string      `json:"name"`
	ShortName string      `json:"short_name"`
}

// Directory finds companies. It is safe for concurrent use.
type Directory struct {
	api toolcall.API
	now func() time.Time

	flight singleflight.Group
	mu     sync.Mutex
	known  map[string]list
}

type list struct {
	companies []Company
	until     time.Time
}

// New makes a Directory on api.
func New(api toolcall.API, now func() time.Time) *Directory {
	return &Directory{api: api, now: now, known: map[string]list{}}
}

// Find implements [toolcall.Companies].
func (d *Directory) Find(ctx context.Context, c toolcall.Caller, given string, exactly bool) (m toolcall.Match, fault string, err error) {
	given = strings.TrimSpace(given)
	all, err := d.of(ctx, c)
	if err != nil {
		return m, "", err
	}
	fits := map[Fit][]Company{}
	best := None
	for _, company := range all {
		fit := FitOf(given, company.ID.String(), company.UUID, company.Name, company.ShortName)
		fits[fit] = append(fits[fit], company)
		best = min(best, fit)
	}
	candidates := fits[best]
	switch {
	case len(all) == 0:
		return m, "names no company: the user has none", nil
	case best == None:
		return m, "names no company of the user. Give the uuid, name or id of one of these: " + name(all), nil
	case best != Exact && exactly:
		return m, "is no company's whole name, which a change needs. Give the uuid, name or id of the one that is meant: " + name(candidates), nil
	case len(candidates) > 1:
		return m, "fits several companies. Give the uuid of one of these: " + name(candidates), nil
	}
	found := candidates[0]
	return toolcall.Match{UUID: found.UUID, Name: plain(cmp.Or(strings.TrimSpace(found.Name), found.ShortName)), Guessed: best != Exact}, "", nil
}

// Fit says how well what was given names a company; less is better.
type Fit int

// The fits.
const (
	// Exact: its uuid, id, name or short name, in any case.
	Exact Fit = iota
	// Beginning: its name or short name begins so.
	Beginning
	// Words: these are words of its name, the last perhaps only begun.
	Words
	None
)

// shortest is the least that can stand for a longer name, in characters.
const shortest = 2

// FitOf judges what was given against a company.
func FitOf(given, id, uuid, name, shortName string) Fit {
	given = strings.ToLower(strings.TrimSpace(given))
	names := [...]string{strings.ToLower(strings.TrimSpace(name)), strings.ToLower(strings.TrimSpace(shortName))}
	switch {
	case given == "":
		return None
	case given == id, strings.EqualFold(given, uuid), strings.EqualFold(given, names[0]), strings.EqualFold(given, names[1]):
		return Exact
	case utf8.RuneCountInString(given) < shortest, strings.Trim(given, "0123456789") == "":
		// A number is an id, and not the beginning of a name.
		return None
	case strings.HasPrefix(names[0], given), strings.HasPrefix(names[1], given):
		return Beginning
	}
	notLetter := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	words, of := strings.FieldsFunc(given, notLetter), strings.FieldsFunc(names[0], notLetter)
	if len(words) == 0 {
		return None
	}
	for i, word := range words {
		last := i == len(words)-1 && utf8.RuneCountInString(word) >= shortest
		if !slices.ContainsFunc(of, func(w string) bool { return w == word || last && strings.HasPrefix(w, word) }) {
			return None
		}
	}
	return Words
}

// Name implements [toolcall.Companies].
func (d *Directory) Name(ctx context.Context, c toolcall.Caller, uuid string) string {
	all, err := d.of(ctx, c)
	if err != nil {
		return ""
	}
	for _, company := range all {
		if strings.EqualFold(uuid, company.UUID) {
			return cmp.Or(strings.TrimSpace(company.Name), strings.TrimSpace(company.ShortName))
		}
	}
	return ""
}

// IsUUID implements [toolcall.Companies]: it knows RFC 9562's form, and the 40
// hexadecimal digits that NeonPanel also uses.
func (d *Directory) IsUUID(value string) bool {
	return len(value) >= 32 && len(value) <= 64 && strings.Trim(value, "0123456789abcdefABCDEF-") == ""
}

// name shows companies to choose from.
func name(companies []Company) string {
	const most = 20
	var b strings.Builder
	for i, company := range companies {
		if i == most {
			fmt.Fprintf(&b, ", and %d more (list_companies)", len(companies)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (id %s, uuid %s)", plain(company.Name), company.ID, plain(company.UUID))
	}
	return b.String()
}

// plain bounds what is shown of a name.
func plain(name string) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, name))
	return string(runes[:min(len(runes), 80)])
}

// of gives the companies of a caller.
func (d *Directory) of(ctx context.Context, c toolcall.Caller) ([]Company, error) {
	key := strings.Join([]string{c.Subject, c.ClientID, strings.Join(c.Scopes, " ")}, "\x00")
	d.mu.Lock()
	known, ok := d.known[key]
	d.mu.Unlock()
	if ok && d.now().Before(known.until) {
		return known.companies, nil
	}
	// Whoever asks first must not end the search for the others by leaving.
	search := d.flight.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		companies, err := d.fetch(ctx, c.Bearer)
		if err == nil {
			d.remember(key, companies)
		}
		return companies, err
	})
	select {
	case found := <-search:
		companies, _ := found.Val.([]Company)
		return companies, found.Err
	case <-ctx.Done():
		return nil, &neonpanel.Error{Class: neonpanel.Canceled}
	}
}

func (d *Directory) remember(key string, companies []Company) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if len(d.known) >= callers {
		for key, known := range d.known {
			if !now.Before(known.until) {
				delete(d.known, key)
			}
		}
	}
	for key := range d.known { // any one: it only costs a call
		if len(d.known) < callers {
			break
		}
		delete(d.known, key)
	}
	d.known[key] = list{companies, now.Add(keep)}
}

// fetch reads all pages.
func (d *Directory) fetch(ctx context.Context, bearer string) ([]Company, error) {
	var all []Company
	for page := 1; page <= pages; page++ {
		response, err := d.api.Do(ctx, neonpanel.Request{
			Operation: "listCompanies", Method: "GET", Path: "/api/v1/companies", Bearer: bearer,
			Query: []neonpanel.Pair{{Name: "page", Value: strconv.Itoa(page)}, {Name: "per_page", Value: strconv.Itoa(pageSize)}},
		})
		if err != nil {
			return nil, err
		}
		var answer struct {
			LastPage int       `json:"last_page"`
			Data     []Company `json:"data"`
		}
		if err := json.Unmarshal(response.Body, &answer); err != nil {
			return nil, &neonpanel.Error{Class: neonpanel.Unavailable, Reason: neonpanel.ReasonNotJSON, Status: response.Status}
		}
		all = append(all, answer.Data...)
		if page >= answer.LastPage {
			break
		}
	}
	return all, nil
}
