package composite

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// Bounds of one call: pages of items, pages of a warehouse, and items whose
// restock data are read, each of which is a call.
const (
	maxItemPages      = 20
	maxWarehousePages = 20
	maxExamined       = 200
	// maxGone bounds how many of the examined are out of stock, if there are others.
	maxGone       = 150
	maxWarehouses = 40
)

type item struct {
	ID      text `json:"id"`
	Name    text `json:"name"`
	SKU     text `json:"sku"`
	ASIN    text `json:"asin"`
	Country text `json:"country_code"`
}

type warehouse struct {
	UUID    text `json:"uuid"`
	Name    text `json:"name"`
	Type    text `json:"type"`
	Country text `json:"country_code"`
}

type shelf struct {
	Item    item    `json:"inventory"`
	Balance decimal `json:"balance"`
}

// held is what a warehouse holds.
type held struct {
	warehouse
	// Units are unknown when not everything could be read.
	Units decimal
	// Items are the units by item.
	Items map[text]decimal
	// whole is false when pages are missing.
	whole bool
}

type restock struct {
	Sales       decimal `json:"estimated_daily_sales"`
	Cost        decimal `json:"unit_landed_cost"`
	LeadTime    decimal `json:"lead_time_days"`
	SafetyStock decimal `json:"safety_stock_days"`
}

// stock reads what the warehouses of a company hold on a day; whole says that
// nothing is missing.
func (s *session) stock(c company, on text) (out []held, whole bool, failure *toolcall.Failure) {
	found, failure := all[warehouse](s, "warehouses", query{operation: "listWarehouses", path: c.path()}, pageSize, 2)
	if failure != nil {
		return nil, false, failure
	}
	list, whole := found.rows, found.whole
	if found.pages > 2 || len(list) > maxWarehouses {
		list, whole = list[:min(len(list), maxWarehouses)], false
		s.left("warehouses", fmt.Sprintf("Only the first %d warehouses were looked at.", len(list)))
	}
	out = make([]held, len(list))
	var wait sync.WaitGroup
	for i, w := range list {
		out[i] = held{warehouse: w, Items: map[text]decimal{}}
		wait.Add(1)
		name := "stock of " + string(w.Name)
		s.part(name, func() *toolcall.Failure {
			defer wait.Done()
			q := query{operation: "warehouseBalances", path: map[string]string{"companyUuid": string(c.UUID), "warehouseUuid": string(w.UUID)}}.with("balances_date", string(on))
			found, failure := all[shelf](s, name, q, pageSize, maxWarehousePages)
			if failure != nil {
				return failure
			}
			h := &out[i]
			h.whole = found.whole
			if found.pages > maxWarehousePages {
				s.left(name, fmt.Sprintf("Only the first %d pages of %d were read.", maxWarehousePages, found.pages))
			}
			units := integer(0)
			for _, r := range found.rows {
				units = units.add(r.Balance)
				before, ok := h.Items[r.Item.ID]
				if !ok {
					before = integer(0)
				}
				h.Items[r.Item.ID] = before.add(r.Balance)
			}
			if h.whole {
				h.Units = units
			}
			return nil
		})
	}
	wait.Wait()
	return out, whole && !slices.ContainsFunc(out, func(h held) bool { return !h.whole }), nil
}

type warehouseStock struct {
	Name    text    `json:"name"`
	Type    text    `json:"type"`
	Country text    `json:"country_code"`
	Units   decimal `json:"units"`
	Items   decimal `json:"items"`
}

// shown counts what the warehouses hold of the items; of all items without any.
// Of items that are not all known it cannot.
func shown(stock []held, items *listed[item]) []warehouseStock {
	if stock == nil {
		return nil // unknown, not none
	}
	out := []warehouseStock{}
	for _, h := range stock {
		w := warehouseStock{Name: h.Name, Type: h.Type, Country: h.Country}
		switch {
		case !h.whole, items != nil && !items.whole:
		case items == nil:
			w.Units, w.Items = h.Units, integer(int64(len(h.Items)))
		default:
			w.Units, w.Items = integer(0), integer(0)
			for _, it := range items.rows {
				if n, ok := h.Items[it.ID]; ok {
					w.Units, w.Items = w.Units.add(n), w.Items.add(integer(1))
				}
			}
		}
		out = append(out, w)
	}
	return out
}

type itemHealth struct {
	ID          decimal `json:"id"`
	SKU         text    `json:"sku"`
	Name        text    `json:"name"`
	Country     text    `json:"country_code"`
	Units       decimal `json:"units"`
	Sales       decimal `json:"units_sold_per_day"`
	Cover       decimal `json:"days_of_cover"`
	LeadTime    decimal `json:"lead_time_days"`
	SafetyStock decimal `json:"safety_stock_days"`
	Cost        decimal `json:"unit_landed_cost"`
	Value       decimal `json:"stock_value"`
	// examined says that the restock data were read, whatever they hold.
	examined bool
}

// inventoryTotals are of all items, or null.
type inventoryTotals struct {
	Items      decimal `json:"items"`
	InStock    decimal `json:"items_in_stock"`
	OutOfStock decimal `json:"items_out_of_stock"`
	Units      decimal `json:"units"`
	Value      decimal `json:"stock_value_at_landed_cost"`
	// Unpriced items are in stock but not in the value.
	Unpriced   decimal `json:"items_in_stock_without_landed_cost"`
	RunningOut decimal `json:"items_running_out"`
	Slow       decimal `json:"slow_items"`
	// Unjudged items are neither running out nor slow: NeonPanel has no sales
	// estimate or lead time of them.
	Unjudged decimal `json:"items_without_sales_estimate_or_lead_time"`
	// AtLeast are the counts, as far as they go, of what is null above.
	AtLeast map[string]int `json:"at_least,omitempty"`
}

type inventoryHealth struct {
	Company    named            `json:"company"`
	Date       text             `json:"date"`
	Currency   text             `json:"currency"`
	Totals     inventoryTotals  `json:"totals"`
	Warehouses []warehouseStock `json:"warehouses"`
	RunningOut []itemHealth     `json:"running_out"`
	SlowAfter  int              `json:"slow_after_days"`
	Slow       []itemHealth     `json:"slow_movers"`
	Incomplete []missing        `json:"incomplete,omitempty"`
}

// inventory says what runs out and what does not move.
func inventory(s *session, a arguments) (any, *toolcall.Failure) {
	c, failure := s.company("company", a.text("company"))
	if failure != nil {
		return nil, failure
	}
	q := query{operation: "listInventoryItems", path: c.path()}.
		with("search", strings.TrimSpace(a.text("search"))).with("country_code", strings.ToUpper(a.text("country_code")))
	var items listed[item]
	var stock []held
	var whole bool
	var itemsFailed *toolcall.Failure
	s.part("items", func() *toolcall.Failure {
		items, itemsFailed = all[item](s, "items", q, pageSize, maxItemPages)
		if items.pages > maxItemPages {
			s.left("items", fmt.Sprintf("Only the first %d items were looked at. Narrow them with search or country_code.", len(items.rows)))
		}
		return itemsFailed
	})
	today := text(s.today(c).Format(time.DateOnly))
	s.part("warehouses", func() (failure *toolcall.Failure) {
		stock, whole, failure = s.stock(c, today)
		return failure
	})
	failure = s.wait()
	if failure == nil {
		failure = itemsFailed // without the items there is nothing to judge
	}
	if failure != nil {
		return nil, failure
	}

	health := make([]itemHealth, len(items.rows))
	for i, it := range items.rows {
		h := itemHealth{ID: parseDecimal(string(it.ID)), SKU: it.SKU, Name: it.Name, Country: it.Country}
		if whole {
			h.Units = integer(0)
			for _, w := range stock {
				if n, ok := w.Items[it.ID]; ok {
					h.Units = h.Units.add(n)
				}
			}
		}
		health[i] = h
	}
	s.examine(c, health, today)
	if failure := s.wait(); failure != nil {
		return nil, failure
	}
	out := judge(health, items.whole, a.integer("slow_after_days"), a.integer("limit"))
	out.Company, out.Currency, out.Date = c.named(), c.Currency, today
	out.Warehouses, out.Incomplete = shown(stock, &items), s.incomplete()
	return out, nil
}

// examine reads the restock data of the items, each of which costs a call.
func (s *session) examine(c company, health []itemHealth, on text) {
	order := worstFirst(health)
	if n := len(order) - maxExamined; n > 0 {
		s.left(fmt.Sprintf("sales and landed cost of %d items", n), fmt.Sprintf(
			"One call examines %d items: those out of stock first, then those with least and with most stock. Totals that need the others are null. Narrow them with search or country_code.", maxExamined))
		order = order[:maxExamined]
	}
	for _, h := range order {
		s.part("sales and landed cost of "+string(cmp.Or(h.SKU, text(h.ID.String()))), func() *toolcall.Failure {
			var answer struct {
				Restock  restock `json:"restock_data"`
				Balances struct {
					List []struct {
						Balance decimal `json:"balance"`
					} `json:"balances_list"`
				} `json:"balances_data"`
			}
			q := query{operation: "inventoryBalances", path: map[string]string{"companyUuid": string(c.UUID), "inventoryId": h.ID.String()}}.with("balances_date", string(on))
			if failure := s.get(q, &answer); failure != nil {
				return failure
			}
			r := answer.Restock
			h.examined = true
			h.Sales, h.Cost, h.LeadTime, h.SafetyStock = r.Sales, r.Cost, r.LeadTime, r.SafetyStock
			if !h.Units.known() && answer.Balances.List != nil {
				// The warehouses could not all be read, but this item's own stock could.
				h.Units = integer(0)
				for _, b := range answer.Balances.List {
					h.Units = h.Units.add(b.Balance)
				}
			}
			h.Cover = h.Units.quo(r.Sales, 1)
			h.Value = h.Units.mul(r.Cost)
			return nil
		})
	}
}

// worstFirst orders items by how much there is to learn from their sales. Which
// sell is not known before, only what is in stock: nothing of what may sell comes
// first, then by turns the least, which may run out, and the most, which may be
// slow. Items that are gone for good are no reason to look at nothing else.
func worstFirst(health []itemHealth) []*itemHealth {
	var gone, rest, order []*itemHealth
	for i := range health {
		if h := &health[i]; h.Units.known() && h.Units.sign() <= 0 {
			gone = append(gone, h)
		} else {
			rest = append(rest, h)
		}
	}
	slices.SortStableFunc(rest, func(a, b *itemHealth) int { return a.Units.compare(b.Units) })
	first := min(len(gone), max(maxGone, maxExamined-len(rest)))
	order, gone = append(order, gone[:first]...), gone[first:]
	for len(rest) > 0 {
		order, rest = append(order, rest[0]), rest[1:]
		if last := len(rest) - 1; last >= 0 {
			order, rest = append(order, rest[last]), rest[:last]
		}
	}
	return append(order, gone...)
}

// judge counts the items and finds those to act on. All says that no item is
// missing: what needs one that is, or what was not read of one, is unknown.
func judge(health []itemHealth, all bool, slowAfter, limit int) inventoryHealth {
	out := inventoryHealth{SlowAfter: slowAfter}
	units, value := integer(0), integer(0)
	var in, gone, unpriced, unjudged int
	stocked, priced, running, moving, judged := all, all, all, all, all
	for _, h := range health {
		units = units.add(h.Units)
		stocked = stocked && h.Units.known()
		judged = judged && h.examined
		running = running && h.examined && (h.Units.known() || h.Sales.sign() <= 0)
		// What is not there is worth nothing and is not slow.
		there := !h.Units.known() || h.Units.sign() > 0
		priced = priced && (!there || h.examined && h.Units.known())
		moving = moving && (!there || h.examined && h.Units.known())
		switch {
		case h.Units.sign() > 0:
			in++
			if h.Value.known() && h.Cost.sign() > 0 {
				value = value.add(h.Value)
			} else if h.examined {
				unpriced++
			}
		case h.Units.known():
			gone++
		}
		if h.examined && (!h.Sales.known() || h.Sales.sign() > 0 && !h.LeadTime.known()) {
			unjudged++
		}
		if runsOut(h) {
			out.RunningOut = append(out.RunningOut, h)
		}
		if slow(h, slowAfter) {
			out.Slow = append(out.Slow, h)
		}
	}
	t := &out.Totals
	count := func(to *decimal, name string, n int, known bool) {
		switch {
		case known:
			*to = integer(int64(n))
		case n > 0:
			if t.AtLeast == nil {
				t.AtLeast = map[string]int{}
			}
			t.AtLeast[name] = n
		}
	}
	count(&t.Items, "items", len(health), all)
	count(&t.InStock, "items_in_stock", in, stocked)
	count(&t.OutOfStock, "items_out_of_stock", gone, stocked)
	count(&t.Unpriced, "items_in_stock_without_landed_cost", unpriced, priced)
	count(&t.RunningOut, "items_running_out", len(out.RunningOut), running)
	count(&t.Slow, "slow_items", len(out.Slow), moving)
	count(&t.Unjudged, "items_without_sales_estimate_or_lead_time", unjudged, judged)
	if all {
		t.Units = units
	}
	if priced {
		t.Value = value
	}
	// An empty list says that there is none.
	if running && out.RunningOut == nil {
		out.RunningOut = []itemHealth{}
	}
	if moving && out.Slow == nil {
		out.Slow = []itemHealth{}
	}
	// What sells fastest of what is gone, or will be gone first, comes first.
	slices.SortStableFunc(out.RunningOut, func(a, b itemHealth) int {
		return cmp.Or(a.Cover.compare(b.Cover), descending(a.Sales, b.Sales))
	})
	// What ties up most money comes first.
	slices.SortStableFunc(out.Slow, func(a, b itemHealth) int {
		return cmp.Or(descending(a.Value, b.Value), descending(a.Units, b.Units))
	})
	out.RunningOut = out.RunningOut[:min(len(out.RunningOut), limit)]
	out.Slow = out.Slow[:min(len(out.Slow), limit)]
	return out
}

// runsOut says that an item that sells has stock for less time than it takes to
// order more, with the safety stock that is wanted.
func runsOut(h itemHealth) bool {
	if h.Sales.sign() <= 0 || !h.Units.known() || !h.LeadTime.known() {
		return false
	}
	needed := h.LeadTime
	if h.SafetyStock.known() {
		needed = needed.add(h.SafetyStock)
	}
	return h.Units.compare(needed.mul(h.Sales)) < 0
}

// slow says that an item has stock and does not sell, or not soon.
func slow(h itemHealth, after int) bool {
	if h.Units.sign() <= 0 || !h.Sales.known() {
		return false
	}
	return h.Sales.sign() <= 0 || h.Units.compare(h.Sales.mul(integer(int64(after)))) > 0
}
