package control

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// ledgerRoutes show what the books say, for tests that compare it with what came
// through the API. Nothing here goes through the API's code: figures are added up
// from the documents (see ledger.AuditItems), and are exact decimals.
func (c *control) ledgerRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /ledger/companies", c.audit(func(*http.Request) (any, error) {
		return map[string]any{"today": date(c.today()), "companies": each(c.Books.Companies, func(v *ledger.Company) any {
			return struct {
				ID         int64    `json:"id"`
				UUID       string   `json:"uuid"`
				Name       string   `json:"name"`
				ShortName  string   `json:"short_name"`
				Currency   string   `json:"currency"`
				Countries  []string `json:"countries"`
				Items      int      `json:"items"`
				Products   int      `json:"products"`
				Listings   int      `json:"listings"`
				Warehouses int      `json:"warehouses"`
				Vendors    int      `json:"vendors"`
			}{v.ID, v.UUID, v.Name, v.ShortName, v.Currency, v.Countries, len(v.Items), len(v.Products), len(v.Listings), len(v.Warehouses), len(v.Vendors)}
		})}, nil
	}))
	mux.HandleFunc("GET /ledger/companies/{company}/items", c.audit(c.items))
	mux.HandleFunc("GET /ledger/companies/{company}/months", c.audit(c.months))
	mux.HandleFunc("GET /ledger/companies/{company}/payments", c.audit(c.payments))
	mux.HandleFunc("GET /ledger/companies/{company}/documents", c.audit(c.documents))
}

// audit reads the books.
func (c *control) audit(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body any
		var err error
		c.Books.Read(func() { body, err = do(r) })
		if err != nil {
			refuse(w, err)
			return
		}
		reply(w, http.StatusOK, body)
	}
}

func (c *control) today() ledger.Date { return ledger.DateOf(c.Now()) }

// company finds a company by uuid, id or short name.
func (c *control) company(r *http.Request) (*ledger.Company, error) {
	key := r.PathValue("company")
	for _, v := range c.Books.Companies {
		if v.UUID == key || strconv.FormatInt(v.ID, 10) == key || strings.EqualFold(v.ShortName, key) {
			return v, nil
		}
	}
	return nil, fmt.Errorf("unknown company %q: want its uuid, id or short name", key)
}

// span reads from and to, or the days up to to; by default all days up to today.
func (c *control) span(r *http.Request) (from, to ledger.Date, err error) {
	to = c.today()
	if err = dateOf(r, "to", &to); err != nil {
		return
	}
	from = c.Books.Epoch
	if s := r.FormValue("days"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 10_000 {
			return 0, 0, fmt.Errorf("days must be a number from 1 to 10000: %q", s)
		}
		from = to - ledger.Date(n) + 1
	}
	err = dateOf(r, "from", &from)
	return
}

func dateOf(r *http.Request, name string, to *ledger.Date) error {
	s := r.FormValue(name)
	if s == "" {
		return nil
	}
	d, err := ledger.ParseDate(s)
	if err != nil {
		return fmt.Errorf("%s must be a date such as 2026-01-31: %q", name, s)
	}
	*to = d
	return nil
}

// date is a day, or null for none.
func date(d ledger.Date) *string {
	if d == 0 {
		return nil
	}
	s := d.String()
	return &s
}

func each[T any](all []T, show func(T) any) []any {
	out := make([]any, 0, len(all))
	for _, v := range all {
		out = append(out, show(v))
	}
	return out
}

type auditHead struct {
	Company  string  `json:"company"`
	Currency string  `json:"currency"`
	From     *string `json:"from,omitempty"`
	To       *string `json:"to,omitempty"`
}

func (c *control) items(r *http.Request) (any, error) {
	company, err := c.company(r)
	if err != nil {
		return nil, err
	}
	from, to, err := c.span(r)
	if err != nil {
		return nil, err
	}
	type stock struct {
		Warehouse string         `json:"warehouse_uuid"`
		Name      string         `json:"warehouse_name"`
		Units     int64          `json:"units"`
		Landed    ledger.Decimal `json:"landed_amount"`
		Received  int64          `json:"landed_quantity"`
	}
	rows := each(company.AuditItems(from, to), func(a ledger.ItemAudit) any {
		return struct {
			ID         int64          `json:"id"`
			SKU        string         `json:"sku"`
			Name       string         `json:"name"`
			Country    string         `json:"country_code"`
			OnHand     int64          `json:"on_hand"`
			InTransit  int64          `json:"in_transit"`
			Value      ledger.Decimal `json:"value"`
			UnitCost   ledger.Decimal `json:"unit_cost"`
			Sold       int64          `json:"units_sold"`
			DailySales ledger.Decimal `json:"daily_sales"`
			Revenue    ledger.Decimal `json:"revenue"`
			COGS       ledger.Decimal `json:"cogs"`
			LastSale   *string        `json:"last_sale"`
			Stock      []any          `json:"stock"`
		}{
			a.Item.ID, a.Item.Product.SKU, a.Item.Product.Name, a.Item.Country, a.OnHand, a.InTransit, a.Value, a.UnitCost,
			a.Sold, a.DailySales, a.Revenue, a.COGS, date(a.LastSale),
			each(a.Stock, func(s ledger.StockAudit) any {
				return stock{s.Warehouse.UUID, s.Warehouse.Name, s.Units, s.Landed, s.Received}
			}),
		}
	})
	return struct {
		auditHead
		Days  int   `json:"days"`
		Items []any `json:"items"`
	}{auditHead{company.UUID, company.Currency, date(from), date(to)}, int(to-from) + 1, rows}, nil
}

func (c *control) months(r *http.Request) (any, error) {
	company, err := c.company(r)
	if err != nil {
		return nil, err
	}
	from, to, err := c.span(r)
	if err != nil {
		return nil, err
	}
	return struct {
		auditHead
		Months []any `json:"months"`
	}{auditHead{company.UUID, company.Currency, date(from), date(to)}, each(company.AuditMonths(from, to), func(m ledger.MonthAudit) any {
		return struct {
			Month    string         `json:"month"` // 2026-01
			Country  string         `json:"country_code"`
			Currency string         `json:"currency"`
			Units    int64          `json:"units"`
			Revenue  ledger.Decimal `json:"revenue"`
			COGS     ledger.Decimal `json:"cogs"`
		}{m.Month.String()[:7], m.Country, m.Currency, m.Units, m.Revenue, m.COGS}
	})}, nil
}

func (c *control) payments(r *http.Request) (any, error) {
	company, err := c.company(r)
	if err != nil {
		return nil, err
	}
	day := c.today()
	if err := dateOf(r, "to", &day); err != nil {
		return nil, err
	}
	return struct {
		auditHead
		Payments []any `json:"payments"`
	}{auditHead{Company: company.UUID, Currency: company.Currency, To: date(day)}, each(company.AuditPayments(day), func(p ledger.PaymentAudit) any {
		return struct {
			Currency string         `json:"currency"`
			Due      ledger.Decimal `json:"amount_due"`
			Paid     ledger.Decimal `json:"paid_amount"`
			Open     ledger.Decimal `json:"open_amount"`
			Overdue  ledger.Decimal `json:"overdue_amount"`
			Count    int            `json:"open_count"`
		}{p.Currency, p.Due, p.Paid, p.Open, p.Overdue, p.Count}
	})}, nil
}

// documents lists all documents, or those of one type, in order of type and id.
func (c *control) documents(r *http.Request) (any, error) {
	company, err := c.company(r)
	if err != nil {
		return nil, err
	}
	kind := r.FormValue("type")
	rows := []any{}
	for d := range company.Documents() {
		if kind != "" && d.Type != kind {
			continue
		}
		var creator *string
		if d.Creator != nil {
			creator = &d.Creator.Email
		}
		rows = append(rows, struct {
			ID      int64   `json:"id"`
			Type    string  `json:"type"`
			Ref     string  `json:"ref_number"`
			Name    string  `json:"name"`
			Date    *string `json:"date"`
			Status  string  `json:"status"`
			Creator *string `json:"creator"` // null for the seeded ones
		}{d.ID, d.Type, d.Ref, d.Name, date(d.Date), d.Status, creator})
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no documents of type %q: want InventoryOrder, Bill, Shipment, Invoice, AssemblyOrder or Adjustment", cmp.Or(kind, "any"))
	}
	return struct {
		auditHead
		Documents []any `json:"documents"`
	}{auditHead{Company: company.UUID, Currency: company.Currency}, rows}, nil
}
