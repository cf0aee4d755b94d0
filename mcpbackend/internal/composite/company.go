package composite

import (
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
func (s *session) company(given string) (company, *toolcall.Failure) {
	list, failure := s.companies()
	if failure != nil {
		return company{}, failure
	}
	found := match(list, given)
	switch {
	case len(found) == 1:
		s.about = []string{string(found[0].UUID)}
		return found[0], nil
	case given == "":
		return company{}, choose(s.tool.Name, "company is required, since there are several", found)
	case len(found) == 0:
		return company{}, choose(s.tool.Name, "no company of this user has that name or id", list)
	}
	return company{}, choose(s.tool.Name, "company fits several companies", found)
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
		one, two := match(list, a.text(o.Argument)), match(list, string(also))
		if len(one) != 1 || len(two) != 1 || one[0].UUID != two[0].UUID {
			return o.Failure(s.tool)
		}
	}
	return nil
}

// chosen gives the companies that are meant: one, or without a name all.
func (s *session) chosen(given string) ([]company, *toolcall.Failure) {
	if given != "" {
		c, failure := s.company(given)
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

// match gives the companies that a name or an id fits: exactly, or else those
// whose name begins so, or has these words, or holds it.
func match(list []company, given string) []company {
	given = strings.TrimSpace(given)
	if given == "" {
		return list
	}
	fits := map[companies.Fit][]company{}
	best := companies.None
	for _, c := range list {
		fit := companies.FitOf(given, string(c.ID), string(c.UUID), string(c.Name), string(c.ShortName))
		if fit == companies.None && !contains(string(c.Name), given) && !contains(string(c.ShortName), given) {
			continue
		}
		fits[fit] = append(fits[fit], c)
		best = min(best, fit)
	}
	return fits[best]
}

func contains(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
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
