// Package api serves NeonPanel's REST API under /api/v1/ from the books: its
// paths, paging, filters, changes, refusals and oddities.
//
// Whether a request may do something is decided as NeonPanel does: by the token's
// user and the role this user has in the company. No operation asks for a scope:
// NeonPanel's document names `openid` for all of them alike, and its server looks
// at none.
//
// A change is made while nobody else reads or writes, so that readers see all of
// it or nothing. There is no key to make it idempotent: sent twice, it is made
// twice, as at NeonPanel.
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
	// Books are what the API shows and changes.
	Books *ledger.Books
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
	raw     []byte // the body of a change
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

// New builds the API on books.
func New(o Options) (http.Handler, error) {
	if o.Verify == nil || o.Books == nil {
		return nil, errors.New("api: Options.Verify or Options.Books is missing")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return newServer(o, citations(o.Books)), nil
}

func newServer(o Options, cited map[*ledger.Document]json.RawMessage) *server {
	s := &server{books: o.Books, verify: o.Verify, now: o.Now, intake: newIntake(o.Books, o.ImportDelay), citations: cited, mux: http.NewServeMux()}
	s.routes()
	return s
}

// mode is how a route uses the books.
type mode int

const (
	viewing   mode = iota // reads them
	changing              // has them to itself; its body has been read before
	uploading             // leaves them alone, because its body may take a while
)

// route is one operation. What is changed under a company needs the permission to
// edit that part of NeonPanel.
type route struct {
	method, path string
	mode         mode
	permission   string
	do           endpoint
}

// routes is the table of operations.
func (s *server) routes() {
	for _, r := range s.operations() {
		s.mux.Handle(r.method+" "+prefix+r.path, s.handle(r))
	}
	for path, methods := range s.allowed() {
		s.mux.Handle(prefix+path, s.handle(route{do: func(x *exchange) (any, error) { return nil, methodNotAllowed(x.r, methods) }}))
	}
	s.mux.Handle("/", s.unknown())
}

// allowed are the methods of each path.
func (s *server) allowed() map[string][]string {
	out := make(map[string][]string)
	for _, r := range s.operations() {
		out[r.path] = append(out[r.path], r.method)
		if r.method == http.MethodGet {
			out[r.path] = append(out[r.path], http.MethodHead)
		}
	}
	return out
}

func (s *server) operations() []route {
	const (
		company = "/companies/{companyUuid}"
		item    = company + "/inventory-items/{inventoryId}"

		editItems       = "edit:pages.catalog.inventory"
		editProducts    = "edit:pages.catalog.products"
		editListings    = "edit:pages.catalog.listings"
		editForecasts   = "edit:pages.settings.forecasts"
		editOrders      = "edit:pages.processes.inventory-orders"
		editShipments   = "edit:pages.processes.inventory-shipments"
		editInvoices    = "edit:pages.processes.invoicing"
		editAssemblies  = "edit:pages.processes.assembly-orders"
		editAdjustments = "edit:pages.processes.adjustments"
		editPayments    = "edit:pages.payments"
	)
	get := func(path string, do endpoint) route { return route{"GET", path, viewing, "", do} }
	change := func(method, path, permission string, do endpoint) route {
		return route{method, path, changing, permission, do}
	}
	return []route{
		get("/companies", s.listCompanies),
		get("/permissions", s.listPermissions),
		get("/permissions/{permission}/companies", s.listCompaniesWithPermission),
		get(company+"/permissions", s.listPermissionsByCompany),
		get("/revenue-and-cogs", s.revenueAndCogsSummary),
		get("/reports", s.listReports),
		get("/reports/{reportId}", s.getReportData),
		get("/sales-channels", s.listSalesChannels),
		get("/payment-terms", s.listAllPaymentTerms),
		get(company+"/payment-terms", s.listPaymentTerms),
		get(company+"/vendors", s.listVendors),
		get(company+"/services", s.listServices),
		get(company+"/warehouses", s.listWarehouses),
		get(company+"/warehouses/{warehouseUuid}/balances", s.warehouseBalances),
		get(company+"/inventory-items", s.listInventoryItems),
		get(item, s.getInventoryItemFullData),
		get(item+"/balances", s.inventoryBalances),
		get(item+"/landed-cost", s.listInventoryLandedCosts),
		get(item+"/cogs", s.listInventoryCogs),
		get(company+"/products", s.getProducts),
		get(company+"/listings", s.getListings),
		get(company+"/settings/forecasts", s.getCompanyForecastingSettings),
		get(company+"/inventory-orders", s.listOrders),
		get(company+"/inventory-orders/{orderId}", s.readOrder),
		get(company+"/bills", s.listBills),
		get(company+"/bills/{billId}", s.readBill),
		get(company+"/shipments", s.listShipments),
		get(company+"/shipments/{shipmentId}", s.readShipment),
		get(company+"/invoices", s.listInvoices),
		get(company+"/invoices/{invoiceId}", s.readInvoice),
		get(company+"/assembly-orders", s.listAssemblies),
		get(company+"/assembly-orders/{orderId}", s.readAssembly),
		get(company+"/adjustments", s.listAdjustments),
		get(company+"/adjustments/{adjustmentId}", s.readAdjustment),
		get(company+"/payment-requests", s.listPayments),
		get("/import/{type}/instructions", s.getImportInstructions),
		get(company+"/import/{type}/status/{requestId}", s.checkImportProcessing),
		change("POST", company+"/inventory-items", editItems, s.createInventoryItem),
		change("PUT", item, editItems, s.updateInventoryItem),
		change("DELETE", item, editItems, s.deleteInventoryItem),
		change("POST", company+"/products", editProducts, s.createProduct),
		change("PUT", company+"/products/{productId}", editProducts, s.updateProduct),
		change("DELETE", company+"/products/{productId}", editProducts, s.deleteProduct),
		change("POST", company+"/listings/{listingId}/sync", editListings, s.syncListing),
		change("PUT", company+"/settings/forecasts", editForecasts, s.updateCompanyForecastingSettings),
		change("POST", company+"/inventory-orders", editOrders, s.createOrder),
		change("PUT", company+"/inventory-orders/{orderId}", editOrders, s.updateOrder),
		change("POST", company+"/bills", editBills, s.createBill),
		change("PUT", company+"/bills/{billId}", editBills, s.updateBill),
		change("POST", company+"/shipments", editShipments, s.createShipment),
		change("PUT", company+"/shipments/{shipmentId}", editShipments, s.updateShipment),
		change("POST", company+"/invoices", editInvoices, s.createInvoice),
		change("PUT", company+"/invoices/{invoiceId}", editInvoices, s.updateInvoice),
		change("POST", company+"/assembly-orders", editAssemblies, s.createAssembly),
		change("PUT", company+"/assembly-orders/{orderId}", editAssemblies, s.updateAssembly),
		change("POST", company+"/adjustments", editAdjustments, s.createAdjustment),
		change("PUT", company+"/adjustments/{adjustmentId}", editAdjustments, s.updateAdjustment),
		change("PUT", company+"/payment-requests/{paymentId}", editPayments, s.updatePayment),
		// These look at the type before the permission.
		change("POST", company+"/create/{type}", "", s.createDocuments),
		{"POST", company + "/import/{type}/pdf", uploading, "", s.createDocumentsByPdf},
	}
}

// unknown answers where no route is.
func (s *server) unknown() http.Handler {
	refuse := s.handle(route{do: func(x *exchange) (any, error) { return nil, routeNotFound(x.r) }})
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
func (s *server) handle(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := buffers.Get().(*bytes.Buffer)
		defer buffers.Put(buf)
		buf.Reset()
		x, err := s.enter(rt, r)
		var a *answer
		// The answer is encoded before anybody else can change what it shows.
		finish := func() {
			var v any
			if err == nil {
				v, err = rt.do(x)
			}
			if err != nil {
				v = refusal(err)
			}
			a = encodeAnswer(buf, v)
		}
		switch {
		case err != nil || rt.mode == uploading:
			finish()
		case rt.mode == changing:
			s.books.Write(finish)
		default:
			s.books.Read(finish)
		}
		h := w.Header()
		h.Set("Cache-Control", "no-cache, private")
		for name, value := range a.header {
			h.Set(name, value)
		}
		if a.status != http.StatusNoContent {
			h.Set("Content-Length", strconv.Itoa(buf.Len()))
		}
		w.WriteHeader(a.status)
		_, _ = w.Write(buf.Bytes()) // the client may be gone
	})
}

// refusal is the answer to an error.
func refusal(err error) *answer {
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{status: http.StatusInternalServerError, Message: "Server Error"}
	}
	return &answer{status: p.status, header: p.header, body: p}
}

// enter does what all routes have in common.
func (s *server) enter(rt route, r *http.Request) (*exchange, error) {
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
	if rt.permission != "" && !x.role.May(rt.permission) {
		return nil, forbidden
	}
	if rt.mode == changing {
		if x.raw, err = x.body(maxJSON); err != nil {
			return nil, err
		}
	}
	s.intake.settle(now)
	return x, nil
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// encodeAnswer fills the buffer with the body.
func encodeAnswer(buf *bytes.Buffer, v any) *answer {
	a, ok := v.(*answer)
	if !ok {
		a = &answer{status: http.StatusOK, body: v}
	}
	if a.header == nil {
		a.header = make(map[string]string, 1)
	}
	switch {
	case a.status == http.StatusNoContent:
	case a.text != "":
		a.header["Content-Type"] = "text/plain; charset=UTF-8"
		buf.WriteString(a.text)
	default:
		a.header["Content-Type"] = "application/json"
		var err error
		if l, ok := a.body.(*long); ok {
			err = l.encode(buf)
		} else {
			err = encode(buf, a.body)
		}
		if err != nil {
			a.status = http.StatusInternalServerError
			buf.Reset()
			buf.WriteString(`{"message":"Server Error"}`)
		}
	}
	return a
}
