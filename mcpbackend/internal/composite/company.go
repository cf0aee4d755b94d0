package composite

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	// Images hold no time zone files.
	_ "time/tzdata"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/companies"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// company is one that the caller can open.
type company struct {
	ID        text `json:"id"`
	UUID      text `json:"uuid"`
	Name      text `json:"name"`
	ShortName text `json:"short_name"`
	Currency  text `json:"currency"`
	Timezone  text `json:"timezone"`
}

// named is a company as an answer shows it.
type named struct {
	ID       decimal `json:"id"`
	UUID     text    `json:"uuid"`
	Name     text    `json:"name"`
	Currency text    `json:"currency"`
	Timezone text    `json:"timezone"`
}

func (c company) named() named {
	return named{parseDecimal(string(c.ID)), c.UUID, c.Name, c.Currency, c.Timezone}
}

// zone is where the company's days begin; UTC when the API does not say, or
// names no time zone.
func (c company) zone() *time.Location {
	zone, err := time.LoadLocation(string(c.Timezone))
	if err != nil || c.Timezone == "" || c.Timezone == "Local" {
		return time.UTC
	}
	return zone
}

func (c company) path() map[string]string { return map[string]string{"companyUuid": string(c.UUID)} }

// Bounds of what one call reads.
const (
	maxCompanyPages = 10
	maxCompanies    = 25
	pageSize        = 60
)

func (s *session) companies() ([]company, *toolcall.Failure) {
	found, failure := all[company](s, "companies", query{operation: "listCompanies"}, pageSize, maxCompanyPages)
	if failure != nil {
		return nil, failure
	}
	list := found.rows
	if found.pages > maxCompanyPages {
		s.left("companies", fmt.Sprintf("Only the first %d companies were looked at.", len(list)))
	}
	if len(list) == 0 {
		return nil, &toolcall.Failure{Kind: toolcall.NotFound, Message: "NeonPanel shows this user no company."}
	}
	return list, nil
}

// company finds the one company that is meant.
func (s *session) company(argument, given string) (company, *toolcall.Failure) {
	list, failure := s.companies()
	if failure != nil {
		return company{}, failure
	}
	given = strings.TrimSpace(given)
	found, fit := list, companies.Exact
	if given != "" {
		found, fit = match(list, given)
	}
	switch {
	case len(found) == 1:
		s.about = []string{string(found[0].UUID)}
		s.guessed(argument, given, found[0], fit)
		return found[0], nil
	case given == "":
		return company{}, choose(s.tool.Name, "company is required, since there are several", found)
	case len(found) == 0:
		return company{}, choose(s.tool.Name, "no company of this user has that name or id", list)
	}
	return company{}, choose(s.tool.Name, "company fits several companies", found)
}

// guess is a company that was taken for what is not all of its name, as the
// tools that are one operation tell it.
type guess struct {
	Argument string `json:"argument"`
	Given    string `json:"given"`
	Name     text   `json:"name"`
	UUID     text   `json:"uuid"`
}

func (g guess) String() string {
	return fmt.Sprintf("%s %q was taken for %s (uuid %s), the only company that it fits.", g.Argument, g.Given, g.Name, g.UUID)
}

func (s *session) guessed(argument, given string, c company, fit companies.Fit) {
	if fit != companies.Exact {
		s.guesses = append(s.guesses, guess{argument, given, cmp.Or(c.Name, c.ShortName), c.UUID})
	}
}

// agree refuses a company that was given twice, unless both mean the same one.
func (s *session) agree(a arguments, others []toolcall.Other) *toolcall.Failure {
	if len(others) == 0 {
		return nil
	}
	list, failure := s.companies()
	if failure != nil {
		return failure
	}
	for _, o := range others {
		var also text
		_ = json.Unmarshal(orNull(o.Value), &also)
		one, _ := match(list, a.text(o.Argument))
		two, _ := match(list, string(also))
		if len(one) != 1 || len(two) != 1 || one[0].UUID != two[0].UUID {
			return o.Failure(s.tool)
		}
	}
	return nil
}

// chosen gives the companies that are meant: one, or without a name all.
func (s *session) chosen(argument, given string) ([]company, *toolcall.Failure) {
	if given != "" {
		c, failure := s.company(argument, given)
		return []company{c}, failure
	}
	list, failure := s.companies()
	return s.bounded(list), failure
}

// bounded keeps as many companies as one call can look at, and says so.
func (s *session) bounded(list []company) []company {
	for _, c := range list[min(len(list), maxCompanies):] {
		s.left(string(c.Name), fmt.Sprintf("One call looks at %d companies. Ask for the others by name.", maxCompanies))
	}
	list = list[:min(len(list), maxCompanies)]
	for _, c := range list {
		s.about = append(s.about, string(c.UUID))
	}
	return list
}

// match gives the companies that a name or an id fits best, and how well. The
// rule is that of all tools.
func match(list []company, given string) ([]company, companies.Fit) {
	fits := map[companies.Fit][]company{}
	best := companies.None
	for _, c := range list {
		fit := companies.FitOf(given, string(c.ID), string(c.UUID), string(c.Name), string(c.ShortName))
		fits[fit] = append(fits[fit], c)
		best = min(best, fit)
	}
	if best == companies.None {
		return nil, best
	}
	return fits[best], best
}

func choose(tool, fault string, list []company) *toolcall.Failure {
	const most = 20
	var names []string
	for _, c := range list[:min(len(list), most)] {
		names = append(names, fmt.Sprintf("%q (id %s)", string(c.Name), c.ID))
	}
	if len(list) > most {
		names = append(names, "…")
	}
	return &toolcall.Failure{Kind: toolcall.InvalidArguments, Message: fmt.Sprintf(
		"%s was not called: %s. Give one of %s.", tool, fault, strings.Join(names, ", "))}
}
