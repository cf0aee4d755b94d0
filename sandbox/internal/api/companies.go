package api

import (
	"slices"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

type companyBody struct {
	ID        int64  `json:"id"`
	UUID      string `json:"uuid"`
	Name      string `json:"name"`
	ShortName string `json:"short_name"`
	Currency  string `json:"currency"`
	Timezone  string `json:"timezone"`
}

func renderCompany(c *ledger.Company) companyBody {
	return companyBody{c.ID, c.UUID, c.Name, c.ShortName, c.Currency, c.Timezone}
}

func (x *exchange) companies() []*ledger.Company {
	return each(x.user.Roles, func(r ledger.Role) *ledger.Company { return r.Company })
}

// listCompanies is GET /companies.
func (s *server) listCompanies(x *exchange) (any, error) {
	f := x.form()
	p := f.page(coreList)
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	rows := cut(&p, x.companies())
	return struct {
		paging
		Data []companyBody `json:"data"`
	}{p, each(rows, renderCompany)}, nil
}

type permissionsBody struct {
	Permissions []string `json:"permissions"`
}

// listPermissions is GET /permissions: all there are, whoever asks.
func (s *server) listPermissions(*exchange) (any, error) {
	return permissionsBody{s.books.Permissions}, nil
}

// listPermissionsByCompany is GET /companies/{companyUuid}/permissions.
func (s *server) listPermissionsByCompany(x *exchange) (any, error) {
	return permissionsBody{x.role.Permissions}, nil
}

// listCompaniesWithPermission is GET /permissions/{permission}/companies.
func (s *server) listCompaniesWithPermission(x *exchange) (any, error) {
	permission := x.r.PathValue("permission")
	if !slices.Contains(s.books.Permissions, permission) {
		return nil, notFound("Permission is not found.")
	}
	companies, uuids, err := s.chosenCompanies(x)
	if err != nil {
		return nil, err
	}
	companies = slices.DeleteFunc(companies, func(c *ledger.Company) bool {
		role, _ := x.user.Role(c)
		return !role.May(permission)
	})
	type filters struct {
		CompanyUUIDs []string `json:"company_uuids"`
	}
	return struct {
		Filters   filters       `json:"filters"`
		Companies []companyBody `json:"companies"`
	}{filters{uuids}, each(companies, renderCompany)}, nil
}

// chosenCompanies reads company_uuids, by default all of the user's. A company of
// somebody else is refused, not left out: an answer that lacks a company which
// was asked for would look complete.
//
// The document spells the array `company_uuids`, form-exploded, which PHP does
// not read as an array: of company_uuids=a&company_uuids=b only b is left, while
// company_uuids[]=a&company_uuids[]=b keeps both. The filters of the answer echo
// what was understood.
func (s *server) chosenCompanies(x *exchange) (companies []*ledger.Company, uuids []string, err error) {
	asked := x.query.list("company_uuids")
	if asked == nil {
		companies = x.companies()
		return companies, each(companies, func(c *ledger.Company) string { return c.UUID }), nil
	}
	f := faults{}
	for i, id := range asked {
		c := s.books.Company(id)
		if c == nil {
			f.add(indexed("company_uuids", i), "The selected "+indexed("company_uuids", i)+" is invalid.")
			continue
		}
		if _, ok := x.user.Role(c); !ok {
			return nil, nil, forbidden
		}
		if !slices.Contains(companies, c) {
			companies = append(companies, c)
			uuids = append(uuids, id)
		}
	}
	return companies, uuids, f.err()
}
