package api

import "github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"

type vendorBody struct {
	ID     int64   `json:"id"`
	BKID   *string `json:"bk_id"`
	BKType *string `json:"bk_type"`
	Term   *int64  `json:"payment_term_id"`
	Name   *string `json:"name"`
	Code   *string `json:"code"`
}

// directoryPage is a list of a directory, with the echo of its filter.
type directoryPage[V any] struct {
	paging
	Filters struct {
		Search string `json:"search,omitempty"`
	} `json:"filters"`
	Data []V `json:"data"`
}

func listDirectory[T, V any](x *exchange, all []T, name func(T) string, render func(T) V) (any, error) {
	f := x.form()
	page := directoryPage[V]{paging: f.page(directory)}
	page.Filters.Search = f.scalar("search")
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	d := documentFilters{Search: page.Filters.Search}
	rows := cut(&page.paging, filter(all, func(v T) bool { return d.found(name(v)) }))
	page.Data = each(rows, render)
	return page, nil
}

func (s *server) listVendors(x *exchange) (any, error) {
	return listDirectory(x, x.company.Vendors, func(v *ledger.Vendor) string { return v.Name }, func(v *ledger.Vendor) vendorBody {
		b := vendorBody{ID: v.ID, BKID: orNull(v.BKID), BKType: orNull(v.BKType), Name: orNull(v.Name), Code: orNull(v.Code)}
		if v.Term != nil {
			b.Term = &v.Term.ID
		}
		return b
	})
}

type serviceBody struct {
	ID    int64   `json:"id"`
	Name  *string `json:"name"`
	Group *string `json:"group"`
}

func (s *server) listServices(x *exchange) (any, error) {
	return listDirectory(x, x.company.Services, func(v *ledger.Service) string { return v.Name }, func(v *ledger.Service) serviceBody {
		return serviceBody{v.ID, orNull(v.Name), orNull(v.Group)}
	})
}

// data is an unpaged list: no page fields at all.
type data[V any] struct {
	Data []V `json:"data"`
}

func (s *server) listSalesChannels(*exchange) (any, error) {
	return data[channelBody]{each(s.books.Channels, func(c *ledger.SalesChannel) channelBody { return channelBody{c.ID, c.Name} })}, nil
}

type instalmentBody struct {
	Anchor     string `json:"date_anchor"`
	DaysOffset int    `json:"days_offset"`
	Percentage int    `json:"percentage"`
}

type termBody struct {
	ID       int64            `json:"id"`
	System   bool             `json:"system"`
	Document *string          `json:"document"`
	Name     string           `json:"name"`
	Schema   []instalmentBody `json:"schema"`
}

func renderTerm(t *ledger.PaymentTerm) termBody {
	return termBody{t.ID, t.System, orNull(t.Document), t.Name, each(t.Instalments, func(i ledger.Instalment) instalmentBody { return instalmentBody(i) })}
}

// listPaymentTerms is GET …/payment-terms under a company.
func (s *server) listPaymentTerms(x *exchange) (any, error) {
	return data[termBody]{each(x.company.Terms, renderTerm)}, nil
}

// listAllPaymentTerms is GET /payment-terms, as an older document has it: the
// shared terms and those of all the user's companies.
func (s *server) listAllPaymentTerms(x *exchange) (any, error) {
	terms := append([]*ledger.PaymentTerm(nil), s.books.Terms...)
	for _, c := range x.companies() {
		terms = append(terms, filter(c.Terms, func(t *ledger.PaymentTerm) bool { return !t.System })...)
	}
	return data[termBody]{each(terms, renderTerm)}, nil
}
