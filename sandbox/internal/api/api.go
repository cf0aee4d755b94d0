// Package api serves NeonPanel's REST API under /api/v1/ from the seeded books:
// its paths, paging, filters, refusals and oddities.
package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/journal"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// Options are what the API needs from outside.
type Options struct {
	// Verify returns the subject of the request's access token.
	Verify func(*http.Request) (subject string, err error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// ImportDelay is how long the import of a PDF takes; 0 means ten seconds.
	ImportDelay time.Duration
}

const prefix = "/api/v1"

// maxJSON bounds a JSON body, maxPDF an uploaded file.
const (
	maxJSON = 1 << 20
	maxPDF  = 20 << 20
)

type server struct {
	books     *ledger.Books
	verify    func(*http.Request) (string, error)
	now       func() time.Time
	intake    *intake
	citations map[*ledger.Document]json.RawMessage
	mux       *http.ServeMux
}

// exchange is one verified request.
type exchange struct {
	r       *http.Request
	user    *ledger.User
	role    ledger.Role
	company *ledger.Company // nil on paths without a company
	query   *params
	now     time.Time
	today   ledger.Date
}

// endpoint answers a request with something to encode as JSON, an *answer, or
// an error, of which a *problem is shown to the client.
type endpoint func(*exchange) (any, error)

// answer is a reply other than 200 with JSON.
type answer struct {
	status int
	header map[string]string
	body   any
	text   string // instead of body
}

// New builds the API on freshly computed books.
func New(o Options) (http.Handler, error) {
	if o.Verify == nil {
		return nil, errors.New("api: Options.Verify is missing")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	books, err := ledger.New(o.Now())
	if err != nil {
		return nil, err
	}
	s := &server{books: books, verify: o.Verify, now: o.Now, intake: newIntake(books, o.ImportDelay), citations: citations(books), mux: http.NewServeMux()}
	s.routes()
	return s, nil
}

// routes is the table of operations.
func (s *server) routes() {
	type route struct {
		method, path string
		do           endpoint
	}
	const company = "/companies/{companyUuid}"
	table := []route{
		{"GET", "/companies", s.listCompanies},
		{"GET", "/permissions", s.listPermissions},
		{"GET", "/permissions/{permission}/companies", s.listCompaniesWithPermission},
		{"GET", company + "/permissions", s.listPermissionsByCompany},
		{"GET", "/revenue-and-cogs", s.revenueAndCogsSummary},
		{"GET", "/reports", s.listReports},
		{"GET", "/reports/{reportId}", s.getReportData},
		{"GET", "/sales-channels", s.listSalesChannels},
		{"GET", "/payment-terms", s.listAllPaymentTerms},
		{"GET", company + "/payment-terms", s.listPaymentTerms},
		{"GET", company + "/vendors", s.listVendors},
		{"GET", company + "/services", s.listServices},
		{"GET", company + "/warehouses", s.listWarehouses},
		{"GET", company + "/warehouses/{warehouseUuid}/balances", s.warehouseBalances},
		{"GET", company + "/inventory-items", s.listInventoryItems},
		{"GET", company + "/inventory-items/{inventoryId}", s.getInventoryItemFullData},
		{"GET", company + "/inventory-items/{inventoryId}/balances", s.inventoryBalances},
		{"GET", company + "/inventory-items/{inventoryId}/landed-cost", s.listInventoryLandedCosts},
		{"GET", company + "/inventory-items/{inventoryId}/cogs", s.listInventoryCogs},
		{"GET", company + "/products", s.getProducts},
		{"GET", company + "/listings", s.getListings},
		{"GET", company + "/settings/forecasts", s.getCompanyForecastingSettings},
		{"GET", company + "/inventory-orders", s.listOrders},
		{"GET", company + "/inventory-orders/{orderId}", s.readOrder},
		{"GET", company + "/bills", s.listBills},
		{"GET", company + "/bills/{billId}", s.readBill},
		{"GET", company + "/shipments", s.listShipments},
		{"GET", company + "/shipments/{shipmentId}", s.readShipment},
		{"GET", company + "/invoices", s.listInvoices},
		{"GET", company + "/invoices/{invoiceId}", s.readInvoice},
		{"GET", company + "/assembly-orders", s.listAssemblies},
		{"GET", company + "/assembly-orders/{orderId}", s.readAssembly},
		{"GET", company + "/adjustments", s.listAdjustments},
		{"GET", company + "/adjustments/{adjustmentId}", s.readAdjustment},
		{"GET", company + "/payment-requests", s.listPayments},
		{"GET", "/import/{type}/instructions", s.getImportInstructions},
		{"POST", company + "/create/{type}", s.createDocuments},
		{"POST", company + "/import/{type}/pdf", s.createDocumentsByPdf},
		{"GET", company + "/import/{type}/status/{requestId}", s.checkImportProcessing},
	}
	allowed := make(map[string][]string)
	for _, r := range table {
		path := prefix + r.path
		s.mux.Handle(r.method+" "+path, s.handle(r.do))
		allowed[path] = append(allowed[path], r.method)
		if r.method == http.MethodGet {
			allowed[path] = append(allowed[path], http.MethodHead)
		}
	}
	for path, methods := range allowed {
		s.mux.Handle(path, s.handle(func(x *exchange) (any, error) { return nil, methodNotAllowed(x.r, methods) }))
	}
	s.mux.Handle("/", s.unknown())
}

// unknown answers where no route is.
func (s *server) unknown() http.Handler {
	refuse := s.handle(func(x *exchange) (any, error) { return nil, routeNotFound(x.r) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		journal.Unknown(r.Context())
		refuse.ServeHTTP(w, r)
	})
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.Contains(path, "//") || strings.Contains(path, "/./") || strings.Contains(path, "/../") || strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..") {
		// ServeMux would redirect to the cleaned path; Laravel finds no route.
		s.unknown().ServeHTTP(w, r)
		return
	}
	if len(path) > 1 && strings.HasSuffix(path, "/") {
		// Laravel trims a trailing slash before it looks for the route.
		trimmed := *r
		url := *r.URL
		url.Path, url.RawPath = strings.TrimSuffix(path, "/"), strings.TrimSuffix(r.URL.RawPath, "/")
		trimmed.URL = &url
		r = &trimmed
	}
	s.mux.ServeHTTP(w, r)
}

// handle verifies the token, finds the company and writes the answer.
func (s *server) handle(do endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := s.serve(do, r)
		if err != nil {
			var p *problem
			if !errors.As(err, &p) {
				p = &problem{status: http.StatusInternalServerError, Message: "Server Error"}
			}
			v = &answer{status: p.status, header: p.header, body: p}
		}
		write(w, v)
	})
}

func (s *server) serve(do endpoint, r *http.Request) (any, error) {
	subject, err := s.verify(r)
	if err != nil {
		return nil, unauthenticated
	}
	user := s.books.User(subject)
	if user == nil {
		// A good token of somebody who is no user here: Laravel's guard finds no
		// model and treats the request as a guest's.
		return nil, unauthenticated
	}
	now := s.now()
	x := &exchange{r: r, user: user, query: parseQuery(r.URL.RawQuery), now: now, today: ledger.DateOf(now)}
	if id := r.PathValue("companyUuid"); id != "" {
		x.company = s.books.Company(id)
		if x.company == nil {
			return nil, notFound("Company is not found.")
		}
		role, ok := user.Role(x.company)
		if !ok {
			return nil, forbidden
		}
		x.role = role
	}
	return do(x)
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func write(w http.ResponseWriter, v any) {
	a, ok := v.(*answer)
	if !ok {
		a = &answer{status: http.StatusOK, body: v}
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache, private")
	for name, value := range a.header {
		h.Set(name, value)
	}
	if a.status == http.StatusNoContent {
		w.WriteHeader(a.status)
		return
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset()
	if a.text != "" {
		h.Set("Content-Type", "text/plain; charset=UTF-8")
		buf.WriteString(a.text)
	} else {
		h.Set("Content-Type", "application/json")
		var err error
		if l, ok := a.body.(*long); ok {
			err = l.encode(buf)
		} else {
			err = encode(buf, a.body)
		}
		if err != nil {
			a = &answer{status: http.StatusInternalServerError}
			buf.Reset()
			buf.WriteString(`{"message":"Server Error"}`)
		}
	}
	h.Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(a.status)
	_, _ = w.Write(buf.Bytes()) // the client may be gone
}
