package api

import (
	"net/http/httptest"
	"strconv"
	"testing"
)

// BenchmarkOperations prints what an answer costs, without network and token.
func BenchmarkOperations(b *testing.B) {
	p := shared()
	c := p.books.Companies[0]
	base := p.company(0)
	item := base + "/inventory-items/" + strconv.FormatInt(c.Items[0].ID, 10)
	for name, path := range map[string]string{
		"companies":          "/companies",
		"items":              base + "/inventory-items?per_page=60",
		"item balances":      item + "/balances",
		"cogs":               item + "/cogs?start_date=2024-01-01",
		"landed cost":        item + "/landed-cost?start_date=2024-01-01&warehouse_uuid=" + c.Warehouses[1].UUID,
		"warehouse balances": base + "/warehouses/" + c.Warehouses[1].UUID + "/balances",
		"invoices":           base + "/invoices",
		"revenue total":      "/revenue-and-cogs?start_date=2025-11-22",
		"revenue monthly":    "/revenue-and-cogs?start_date=2025-11-22&periodicity=monthly&grouping[]=company&grouping[]=country",
		"revenue by invoice": "/revenue-and-cogs?start_date=2025-11-22&grouping[]=invoice",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest("GET", "/api/v1"+path, nil)
			r.Header.Set("Test-Subject", "46")
			for b.Loop() {
				w := httptest.NewRecorder()
				p.ServeHTTP(w, r)
				if w.Code != 200 {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
