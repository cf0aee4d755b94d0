package api

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// shape states the fields of an object: a kind, another shape, or rows of one.
// A kind that ends in ? may be null, a field that begins with ~ may be absent.
// Fields that are not stated are faults.
type shape map[string]any

// rowsOf is an array of objects, textsOf an array of strings.
type rowsOf shape

// nullable is an object or null.
type nullable shape

// bullets are a listing's bullet points.
type bullets struct{}

const textsOf = "texts"

var kinds = map[string]func(any) bool{
	"int":  func(v any) bool { n, ok := v.(json.Number); return ok && !strings.ContainsAny(n.String(), ".eE") },
	"num":  func(v any) bool { _, ok := v.(json.Number); return ok },
	"bool": func(v any) bool { _, ok := v.(bool); return ok },
	"text": func(v any) bool { _, ok := v.(string); return ok },
	"hex":  matches(`^[0-9a-f]{40}$`),
	"uuid": matches(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`),
	"date": matches(`^\d{4}-\d\d-\d\d$`),
	"time": matches(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`),
	"code": matches(`^[A-Z]{2}$`),
	"cash": matches(`^(USD|EUR|GBP)$`),
	"url": func(v any) bool {
		s, _ := v.(string)
		u, err := url.Parse(s)
		return err == nil && u.Scheme == "https" && u.Host != ""
	},
	"ints":  allOf(func(v any) bool { n, ok := v.(json.Number); return ok && !strings.ContainsAny(n.String(), ".eE") }),
	textsOf: allOf(func(v any) bool { _, ok := v.(string); return ok }),
}

func allOf(is func(any) bool) func(any) bool {
	return func(v any) bool {
		list, ok := v.([]any)
		for _, e := range list {
			ok = ok && is(e)
		}
		return ok
	}
}

func matches(pattern string) func(any) bool {
	re := regexp.MustCompile(pattern)
	return func(v any) bool { s, ok := v.(string); return ok && re.MatchString(s) }
}

func (s shape) check(t testing.TB, at string, v any) {
	t.Helper()
	o, ok := v.(map[string]any)
	if !ok {
		t.Errorf("%s is %T, want an object", at, v)
		return
	}
	known := make(map[string]bool)
	for name, want := range s {
		optional := strings.HasPrefix(name, "~")
		name = strings.TrimPrefix(name, "~")
		known[name] = true
		field, present := o[name]
		if !present {
			if !optional {
				t.Errorf("%s lacks %s", at, name)
			}
			continue
		}
		checkField(t, at+"."+name, want, field)
	}
	for name := range o {
		if !known[name] {
			t.Errorf("%s has the unknown field %s", at, name)
		}
	}
}

func checkField(t testing.TB, at string, want, v any) {
	t.Helper()
	switch want := want.(type) {
	case shape:
		want.check(t, at, v)
	case nullable:
		if v != nil {
			shape(want).check(t, at, v)
		}
	case rowsOf:
		list, ok := v.([]any)
		if !ok {
			t.Errorf("%s is %T, want an array", at, v)
		}
		for i, row := range list {
			shape(want).check(t, fmt.Sprintf("%s[%d]", at, i), row)
		}
	case bullets:
		checkBullets(t, at, v)
	case string:
		kind, null := strings.CutSuffix(want, "?")
		if v == nil && null {
			return
		}
		if !kinds[kind](v) {
			t.Errorf("%s is %v (%T), want %s", at, v, v, want)
		}
	default:
		t.Fatalf("%s: the test states a %T", at, want)
	}
}

func (s shape) with(more shape) shape {
	out := shape{}
	for k, v := range s {
		out[k] = v
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// What the API's document says about its answers, restated.
var (
	paged = shape{"current_page": "int", "per_page": "int", "last_page": "int"}

	companyShape   = shape{"id": "int", "uuid": "hex", "name": "text", "short_name": "text", "currency": "cash", "timezone": "text"}
	warehouseShape = shape{"uuid": "hex", "name": "text", "type": "text?", "country_code": "code?"}
	placeShape     = warehouseShape.with(shape{"id": "int"})
	itemShape      = shape{
		"id": "int", "name": "text", "fnsku": "text", "asin": "text", "sku": "text", "image": "url?", "country_code": "code",
		"weight": "num", "length": "num", "height": "num", "depth": "num",
	}
	productShape = shape{
		"id": "int", "sku": "text", "parent_sku": "text", "name": "text", "~image": "url",
		"weight": "num", "length": "num", "height": "num", "depth": "num",
	}
	listingShape = shape{
		"id": "int", "asin": "text", "parent_asin": "text", "title": "text", "brand": "text", "color": "text", "~image": "url",
		"bullet_points": bullets{},
	}
	restockShape = shape{
		"daily_sales_target": "num", "unit_vendor_price": "num", "unit_landed_cost": "num", "estimated_daily_sales": "num", "estimated_price": "num",
		"lead_time_days": "num", "safety_stock_days": "num", "fba_lead_time_days": "num", "fba_safety_stock_days": "num",
		"target_fba_fee": "num", "target_price": "num", "target_referral_percentage": "num", "daily_unit_sales_target": "num",
	}
	citationShape  = shape{"type": "text", "link": "url", "status": "text", "completed": "time?", "ref_number": "text?", "date": "time?"}
	referenceShape = citationShape.with(shape{"id": "int", "date": "date?"})
	namedShape     = nullable{"id": "int?", "name": "text?"}
	costShape      = shape{"type": "text", "document": citationShape, "currency": "cash", "amount": "num", "quantity": "int"}
	paymentShape   = shape{
		"id": "int", "amount_due": "num?", "paid_amount": "num?", "due_date": "date?", "payment_date": "date?", "currency": "cash?",
		"description": "text?", "classification": "text?", "transaction_number": "text?", "memo": "text?",
	}
	termShape = shape{"id": "int", "system": "bool", "document": "text?", "name": "text", "schema": rowsOf{"date_anchor": "text", "days_offset": "int", "percentage": "int"}}
	filters   = shape{"~search": "text", "~warehouses": "ints", "~vendors": "ints", "~start_date": "date", "~end_date": "date"}

	orderShape = shape{
		"id": "int", "name": "text?", "link": "url?", "ref_number": "text?", "date_order_placed": "date?", "date_manufacturing_completed": "date?",
		"market": "code?", "total_amount": "num", "currency": "cash?", "vendor": namedShape, "warehouse": placeShape, "payment_term": namedShape,
		"details":          rowsOf{"inventory_id": "int", "sku": "text", "name": "text", "quantity": "int", "price": "num"},
		"payment_requests": rowsOf(paymentShape),
	}
	billShape = shape{
		"id": "int", "name": "text?", "link": "url?", "ref_number": "text?", "date": "date?", "market": "code?", "amount": "num", "currency": "cash?",
		"vendor": namedShape, "payment_term": namedShape, "documents": rowsOf(referenceShape),
		"details":          rowsOf{"service_id": "int", "service_name": "text?", "service_group": "text?", "quantity": "int", "rate": "num", "amount": "num"},
		"payment_requests": rowsOf(paymentShape),
	}
	shipmentShape = shape{
		"id": "int", "name": "text?", "link": "url?", "source_type": "text", "ref_number": "text?", "date_shipment_sent": "date?", "date_shipment_arrived": "date?",
		"origin_market": "code?", "destination_market": "code?", "origin_warehouse": placeShape, "destination_warehouse": placeShape,
		"tracking_number": "text?", "shipment_method": "text?", "carrier_name": "text?",
		"items": rowsOf{"origin_inventory": nullable(itemShape), "quantity_shipped": "int?", "quantity_received": "int?"},
	}
	invoiceShape = shape{
		"id": "int", "name": "text?", "link": "url?", "source": "text", "ref_number": "text?", "transaction_date": "date?", "market": "code?",
		"amount": "num?", "currency": "cash?", "warehouse": placeShape,
		"customer":      nullable{"id": "int", "bk_id": "text?", "bk_type": "text?", "name": "text?", "code": "text?"},
		"sales_channel": nullable{"id": "int", "name": "text?"},
		"details": rowsOf{
			"inventory_id": "int?", "service_id": "int", "sku": "text?", "product_name": "text?", "service_name": "text", "service_group": "text?",
			"quantity": "int?", "amount": "num?",
		},
	}
	assemblyShape = shape{
		"id": "int", "name": "text?", "link": "url?", "ref_number": "text?", "date_order_assembled": "date?", "market": "code?", "warehouse": placeShape,
		"items": rowsOf{"assembly_id": "int", "assembly_sku": "text?", "assembly_name": "text?", "assembly_description": "text?", "quantity": "int"},
	}
	adjustmentShape = shape{
		"id": "int", "name": "text?", "link": "url?", "ref_number": "text?", "reason": "text?", "transaction_date": "date?", "market": "code?",
		"amount": "num?", "currency": "cash?", "warehouse": placeShape,
		"details": rowsOf{
			"inventory_id": "int?", "service_id": "int?", "sku": "text?", "product_name": "text?", "service_name": "text?", "service_group": "text?",
			"quantity": "int?", "amount": "num?",
		},
	}
)

// checkBullets: bullet points are keyed by language, so that no shape can state them.
func checkBullets(t testing.TB, at string, v any) {
	t.Helper()
	if v == nil {
		return
	}
	tag := regexp.MustCompile(`^[a-z]{2}_[A-Z]{2}$`)
	languages, ok := v.(map[string]any)
	if !ok {
		t.Errorf("%s is %T", at, v)
	}
	for language, list := range languages {
		if !tag.MatchString(language) {
			t.Errorf("%s: language %s", at, language)
		}
		checkField(t, at+"."+language, textsOf, list)
	}
}
