package api

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// What clients create is kept in memory, the newest of each company.
const (
	maxCreated = 500
	maxImports = 500
)

// intake holds the documents that clients created and the imports under way.
type intake struct {
	books *ledger.Books
	delay time.Duration

	mu   sync.Mutex
	desk map[*ledger.Company]*desk
}

// desk is a company's part of the intake.
type desk struct {
	bills   []*ledger.Bill // in order of id
	imports []*job         // in order of arrival
}

// job is an import. Its documents are made when its time has come, at the first
// look at anything that would show them.
type job struct {
	id      string
	due     time.Time
	start   time.Time
	settled bool
	broken  bool
	make    func(ledger.Date) ledger.BillInput
	bills   []*ledger.Bill
}

// The states of an import.
const (
	queued     = "queued"
	processing = "processing"
	done       = "done"
	failed     = "error"
)

func newIntake(b *ledger.Books, delay time.Duration) *intake {
	if delay <= 0 {
		delay = 10 * time.Second
	}
	return &intake{books: b, delay: delay, desk: make(map[*ledger.Company]*desk)}
}

func (in *intake) at(c *ledger.Company) *desk {
	d := in.desk[c]
	if d == nil {
		d = &desk{}
		in.desk[c] = d
	}
	return d
}

// submit queues an import; bill is called once, when it is done.
func (in *intake) submit(c *ledger.Company, now time.Time, broken bool, bill func(ledger.Date) ledger.BillInput) string {
	in.mu.Lock()
	defer in.mu.Unlock()
	d := in.at(c)
	d.settle(in.books, now)
	j := &job{id: uuid.NewString(), start: now, due: now.Add(in.delay), broken: broken, make: bill}
	d.keep(j)
	return j.id
}

// post books a bill at once and returns the id of the import. Bills are made
// under the lock, so that they are kept in order of id.
func (in *intake) post(c *ledger.Company, now time.Time, input ledger.BillInput) (string, *ledger.Bill) {
	in.mu.Lock()
	defer in.mu.Unlock()
	d := in.at(c)
	d.settle(in.books, now)
	b := in.books.NewBill(input)
	d.file(b)
	j := &job{id: uuid.NewString(), start: now, due: now, settled: true, bills: []*ledger.Bill{b}}
	d.keep(j)
	return j.id, b
}

// status tells how far an import is; ok is false for one the company never had.
func (in *intake) status(c *ledger.Company, now time.Time, id string) (state string, bills []*ledger.Bill, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	d := in.at(c)
	d.settle(in.books, now)
	for _, j := range d.imports {
		if j.id != id {
			continue
		}
		switch {
		case j.settled && j.broken:
			return failed, nil, true
		case j.settled:
			return done, j.bills, true
		case now.Sub(j.start) < in.delay/4:
			return queued, nil, true
		}
		return processing, nil, true
	}
	return "", nil, false
}

// bills returns what was created in the company so far.
func (in *intake) bills(c *ledger.Company, now time.Time) []*ledger.Bill {
	in.mu.Lock()
	defer in.mu.Unlock()
	d := in.desk[c]
	if d == nil {
		return nil
	}
	d.settle(in.books, now)
	return append([]*ledger.Bill(nil), d.bills...)
}

// settle makes the documents of the imports that are due, in order of arrival.
func (d *desk) settle(books *ledger.Books, now time.Time) {
	for _, j := range d.imports {
		if j.settled || now.Before(j.due) {
			continue
		}
		j.settled = true
		if !j.broken {
			b := books.NewBill(j.make(ledger.DateOf(j.due)))
			j.bills = []*ledger.Bill{b}
			d.file(b)
		}
		j.make = nil
	}
}

func (d *desk) file(b *ledger.Bill) {
	if len(d.bills) == maxCreated {
		d.bills = append(d.bills[:0:0], d.bills[1:]...)
	}
	d.bills = append(d.bills, b)
}

func (d *desk) keep(j *job) {
	if len(d.imports) == maxImports {
		d.imports = append(d.imports[:0:0], d.imports[1:]...)
	}
	d.imports = append(d.imports, j)
}
