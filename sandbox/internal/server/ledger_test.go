package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// audit reads the ledger, numbers as they are written.
func (s *sandbox) audit(path string, into any) {
	s.t.Helper()
	a := do(s.t, plain(), request(s.t, http.MethodGet, s.control+"/ledger/"+path, ""))
	if a.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s %s", path, a.Status, a.body)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		s.t.Fatalf("%s: %v\n%s", path, err, a.body)
	}
}

// call asks the API as seller one.
func (s *sandbox) call(raw, method, path, body string, into any) answer {
	s.t.Helper()
	a := do(s.t, plain(), request(s.t, method, s.issuer+"/api/v1"+path, body, "Authorization", "Bearer "+raw, "Content-Type", "application/json"))
	if into != nil {
		if err := json.Unmarshal(a.body, into); err != nil || a.StatusCode != http.StatusOK {
			s.t.Fatalf("%s %s: %s %s", method, path, a.Status, a.body)
		}
	}
	return a
}

type auditedItems struct {
	Company string `json:"company"`
	From    string `json:"from"`
	To      string `json:"to"`
	Days    int    `json:"days"`
	Items   []struct {
		ID      int64       `json:"id"`
		OnHand  int64       `json:"on_hand"`
		Sold    int64       `json:"units_sold"`
		COGS    json.Number `json:"cogs"`
		Country string      `json:"country_code"`
		Stock   []struct {
			Warehouse string      `json:"warehouse_uuid"`
			Units     int64       `json:"units"`
			Landed    json.Number `json:"landed_amount"`
			Received  int64       `json:"landed_quantity"`
		} `json:"stock"`
	} `json:"items"`
}

// What the ledger says, the API says.
func TestLedgerAgreesWithTheAPI(t *testing.T) {
	t.Parallel()
	s := shared(t)
	raw := s.mint(nil)
	var all struct {
		Today     string `json:"today"`
		Companies []struct {
			ID    int64  `json:"id"`
			UUID  string `json:"uuid"`
			Short string `json:"short_name"`
			Items int    `json:"items"`
		} `json:"companies"`
	}
	s.audit("companies", &all)
	if len(all.Companies) != 3 || all.Today != s.clock.Now().UTC().Format("2006-01-02") {
		t.Fatalf("%+v", all)
	}
	for n, c := range all.Companies[:2] { // seller one's
		base := "/companies/" + c.UUID
		var items auditedItems
		s.audit("companies/"+[]string{c.UUID, strings.ToLower(c.Short)}[n]+"/items?days=90", &items)
		if items.Company != c.UUID || items.Days != 90 || items.To != all.Today || len(items.Items) != c.Items {
			t.Fatalf("%s: %d items, %+v", c.Short, len(items.Items), items.Days)
		}
		for k, i := range items.Items {
			if k%9 != 0 {
				continue
			}
			var cogs struct {
				Amount   json.Number `json:"amount"`
				Quantity int64       `json:"quantity"`
			}
			s.call(raw, "GET", fmt.Sprintf("%s/inventory-items/%d/cogs?start_date=%s", base, i.ID, items.From), "", &cogs)
			if cogs.Amount != i.COGS || cogs.Quantity != i.Sold {
				t.Errorf("item %d: COGS %s of %d units, the ledger says %s of %d", i.ID, cogs.Amount, cogs.Quantity, i.COGS, i.Sold)
			}
			var held struct {
				Data struct {
					List []struct {
						Warehouse struct {
							UUID string `json:"uuid"`
						} `json:"warehouse"`
						Balance int64 `json:"balance"`
					} `json:"balances_list"`
				} `json:"balances_data"`
			}
			s.call(raw, "GET", fmt.Sprintf("%s/inventory-items/%d/balances", base, i.ID), "", &held)
			var sum int64
			for _, b := range held.Data.List {
				sum += b.Balance
				for _, w := range i.Stock {
					if w.Warehouse == b.Warehouse.UUID && w.Units != b.Balance {
						t.Errorf("item %d in %s: balance %d, the ledger says %d", i.ID, w.Warehouse, b.Balance, w.Units)
					}
				}
			}
			if sum != i.OnHand {
				t.Errorf("item %d: %d on hand, the ledger says %d", i.ID, sum, i.OnHand)
			}
			w := i.Stock[0]
			var landed struct {
				Amount   json.Number `json:"amount"`
				Quantity int64       `json:"quantity"`
			}
			s.call(raw, "GET", fmt.Sprintf("%s/inventory-items/%d/landed-cost?start_date=%s&warehouse_uuid=%s", base, i.ID, items.From, w.Warehouse), "", &landed)
			if landed.Amount != w.Landed || landed.Quantity != w.Received {
				t.Errorf("item %d in %s: landed %s for %d, the ledger says %s for %d", i.ID, w.Warehouse, landed.Amount, landed.Quantity, w.Landed, w.Received)
			}
		}

		var months struct {
			Months []struct {
				Month    string      `json:"month"`
				Country  string      `json:"country_code"`
				Currency string      `json:"currency"`
				Units    int64       `json:"units"`
				Revenue  json.Number `json:"revenue"`
				COGS     json.Number `json:"cogs"`
			} `json:"months"`
		}
		s.audit(fmt.Sprintf("companies/%d/months?from=2025-01-01", c.ID), &months)
		var summary struct {
			Data []struct {
				Start    string      `json:"start_date"`
				Country  string      `json:"country_code"`
				Currency string      `json:"currency"`
				Revenue  json.Number `json:"revenue_amount"`
				COGS     json.Number `json:"cogs_amount"`
			} `json:"data"`
		}
		s.call(raw, "GET", "/revenue-and-cogs?start_date=2025-01-01&periodicity=monthly&grouping[]=country&company_uuids[]="+c.UUID, "", &summary)
		said := make(map[string]string)
		for _, r := range summary.Data {
			said[r.Start[:7]+r.Country] = fmt.Sprint(r.Revenue, " ", r.COGS, " ", r.Currency)
		}
		if len(said) != len(months.Months) || len(said) < 20 {
			t.Errorf("%d months × markets, the ledger has %d", len(said), len(months.Months))
		}
		for _, m := range months.Months {
			if got, want := said[m.Month+m.Country], fmt.Sprint(m.Revenue, " ", m.COGS, " ", m.Currency); got != want {
				t.Errorf("%s in %s: %s, the ledger says %s", m.Month, m.Country, got, want)
			}
		}

		var payments struct {
			Payments []struct {
				Currency string      `json:"currency"`
				Due      json.Number `json:"amount_due"`
				Open     json.Number `json:"open_amount"`
				Count    int         `json:"open_count"`
			} `json:"payments"`
		}
		s.audit("companies/"+c.UUID+"/payments", &payments)
		if len(payments.Payments) != 1 || payments.Payments[0].Count == 0 || payments.Payments[0].Open == "0" {
			t.Errorf("%+v", payments)
		}
		var documents struct {
			Documents []struct {
				ID   int64  `json:"id"`
				Type string `json:"type"`
				Ref  string `json:"ref_number"`
			} `json:"documents"`
		}
		s.audit("companies/"+c.UUID+"/documents?type=AssemblyOrder", &documents)
		for _, d := range documents.Documents {
			if d.Type != "AssemblyOrder" {
				t.Errorf("%+v", d)
			}
		}
		last := documents.Documents[len(documents.Documents)-1]
		var read struct {
			Ref string `json:"ref_number"`
		}
		if s.call(raw, "GET", fmt.Sprint(base, "/assembly-orders/", last.ID), "", &read); read.Ref != last.Ref {
			t.Errorf("document %d is %s, the ledger says %s", last.ID, read.Ref, last.Ref)
		}
	}
	for _, path := range []string{
		"companies/NOBODY/items", "companies/TRAIL/items?days=0", "companies/TRAIL/items?to=soon", "companies/TRAIL/months?from=x",
		"companies/NOBODY/months", "companies/NOBODY/payments", "companies/TRAIL/payments?to=x", "companies/NOBODY/documents", "companies/TRAIL/documents?type=Moon",
	} {
		if a := do(t, plain(), request(t, http.MethodGet, s.control+"/ledger/"+path, "")); a.StatusCode != http.StatusBadRequest || a.text(t, "error") == "" {
			t.Errorf("%s: %s %s", path, a.Status, a.body)
		}
	}
}

// A write whose answer is lost after the work was done has happened, once; one that
// failed before has not. The journal has both.
func TestLostAnswersOfWrites(t *testing.T) {
	t.Parallel()
	s := shared(t)
	raw := s.mint(nil)
	var company struct {
		Companies []struct {
			UUID string `json:"uuid"`
		} `json:"companies"`
	}
	s.audit("companies", &company)
	path := "/companies/" + company.Companies[1].UUID + "/invoices"
	written := func(ref string) (n int) {
		var documents struct {
			Documents []struct {
				Ref     string `json:"ref_number"`
				Creator string `json:"creator"`
			} `json:"documents"`
		}
		s.audit("companies/"+company.Companies[1].UUID+"/documents?type=Invoice", &documents)
		for _, d := range documents.Documents {
			if d.Ref == ref && d.Creator == "seller-one@example.com" {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		kind  string
		after bool
		want  int
	}{{"truncate", false, 1}, {"reset", true, 1}, {"down", true, 1}, {"html", true, 1}, {"status", true, 1}, {"reset", false, 0}, {"status", false, 0}} {
		ref := fmt.Sprint(c.kind, c.after)
		if a := s.command(http.MethodPost, "/faults", map[string]any{"path": "/api/v1" + path, "method": "POST", "kind": c.kind, "after": c.after, "times": 1}); a.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s", a.Status, a.body)
		}
		r := request(t, http.MethodPost, s.issuer+"/api/v1"+path, `{"ref_number":"`+ref+`"}`, "Authorization", "Bearer "+raw)
		response, err := plain().Do(r)
		if err == nil {
			_, err = io.ReadAll(response.Body)
			response.Body.Close()
		}
		if lost := c.kind != "html" && c.kind != "status"; lost != (err != nil) {
			t.Errorf("%s: error %v", ref, err)
		}
		if got := written(ref); got != c.want {
			t.Errorf("%s: %d invoices, want %d", ref, got, c.want)
		}
	}
}

// A path that would have to be cleaned is an unknown one, not a redirect.
func TestUncleanPathsAreUnknown(t *testing.T) {
	t.Parallel()
	s := shared(t)
	raw := s.mint(nil)
	for _, path := range []string{"//companies", "/companies//bills", "/companies/../companies", "/./companies", "/companies/.."} {
		if a := s.call(raw, http.MethodGet, path, "", nil); a.StatusCode != http.StatusNotFound || !strings.Contains(a.text(t, "message"), "could not be found") {
			t.Errorf("%s: %s %s", path, a.Status, a.body)
		}
	}
}
