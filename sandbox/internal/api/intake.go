package api

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// usualDelay is how long an import takes.
const usualDelay = 10 * time.Second

// maxImports bounds the imports that are kept, the newest of each company.
const maxImports = 500

// intake holds the imports, done and under way.
type intake struct {
	books *ledger.Books
	delay time.Duration

	mu      sync.Mutex
	desk    map[*ledger.Company][]*job // in order of arrival
	pending []*job                     // in order of arrival, over all companies
}

// job is an import. Its documents are made when its time has come, at the first
// look at anything that could show them.
type job struct {
	id      string
	company *ledger.Company
	author  ledger.Author
	due     time.Time
	settled bool
	broken  bool
	make    func(ledger.Date) ledger.Bill
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
		delay = usualDelay
	}
	return &intake{books: b, delay: delay, desk: make(map[*ledger.Company][]*job)}
}

// submit queues an import; bill is called once, when it is done.
func (in *intake) submit(c *ledger.Company, by ledger.Author, broken bool, bill func(ledger.Date) ledger.Bill) string {
	in.mu.Lock()
	defer in.mu.Unlock()
	j := &job{id: uuid.NewString(), company: c, author: by, due: by.At.Add(in.delay), broken: broken, make: bill}
	in.keep(j)
	in.pending = append(in.pending, j)
	return j.id
}

// done files an import that has made its bill already.
func (in *intake) done(c *ledger.Company, now time.Time, made *ledger.Bill) string {
	in.mu.Lock()
	defer in.mu.Unlock()
	j := &job{id: uuid.NewString(), company: c, due: now, settled: true, bills: []*ledger.Bill{made}}
	in.keep(j)
	return j.id
}

func (in *intake) keep(j *job) {
	d := in.desk[j.company]
	if len(d) == maxImports {
		d = append(d[:0:0], d[1:]...)
	}
	in.desk[j.company] = append(d, j)
}

// status tells how far an import is; ok is false for one the company never had.
func (in *intake) status(c *ledger.Company, now time.Time, id string) (state string, bills []*ledger.Bill, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, j := range in.desk[c] {
		if j.id != id {
			continue
		}
		switch {
		case j.settled && j.broken:
			return failed, nil, true
		case j.settled:
			return done, j.bills, true
		case now.Sub(j.author.At) < in.delay/4:
			return queued, nil, true
		}
		return processing, nil, true
	}
	return "", nil, false
}

// settle makes the documents of the imports that are due, in order of arrival. The
// caller must not hold the books.
func (in *intake) settle(now time.Time) {
	in.mu.Lock()
	due := false
	for _, j := range in.pending {
		due = due || !now.Before(j.due)
	}
	in.mu.Unlock()
	if !due {
		return
	}
	in.books.Write(func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		left := in.pending[:0]
		for _, j := range in.pending {
			if now.Before(j.due) {
				left = append(left, j)
				continue
			}
			j.settled = true
			if !j.broken {
				bill, err := in.books.SaveBill(j.company, ledger.Author{User: j.author.User, At: j.due}, nil, j.make(ledger.DateOf(j.due)))
				j.broken = err != nil
				if err == nil {
					j.bills = []*ledger.Bill{bill}
				}
			}
			j.make = nil
		}
		clear(in.pending[len(left):])
		in.pending = left
	})
}
