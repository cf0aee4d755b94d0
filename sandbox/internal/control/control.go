// Package control is the sandbox's remote control: mint tokens, cause
// trouble, read the journal, rotate keys, look into the ledger. It has a listener
// of its own, which only the people who run the sandbox can reach.
//
// The ledger is there so that tests know what to expect. Its figures are added up
// from the documents in the books, whoever wrote them, in a way of their own: no
// code is shared with the API's balances, summaries and rendering.
//
//	GET /ledger/companies
//	GET /ledger/companies/{company}/items?days=30
//	GET /ledger/companies/{company}/months?from=2026-01-01&to=2026-06-30
//	GET /ledger/companies/{company}/payments
//	GET /ledger/companies/{company}/documents?type=Bill
//
// {company} is a uuid, an id or a short name. Days are counted back from `to`, which
// is today unless given, and include it; without `days` and `from` the span begins
// with the books. `daily_sales` is units_sold / days and `unit_cost` is value /
// units on hand, both rounded half up to four decimal places; everything else is
// exact. `stock` gives the units by warehouse at the end of `to`, and with
// landed_amount and landed_quantity what came in during the span. `value` is as of
// now, whatever `to` is.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/account"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/fault"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/journal"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/keys"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

// Options are the things that can be controlled.
type Options struct {
	Tokens   *token.Issuer
	Keys     *keys.Ring
	Faults   *fault.Set
	Journal  *journal.Journal
	Books    *ledger.Books
	Scopes   []string
	Resource string // the default audience
	// ClientID is the client of tokens minted here unless they name another.
	ClientID string
	Now      func() time.Time
}

// maxTTL allows the half year of NeonPanel's legacy tokens.
const maxTTL = 366 * 24 * time.Hour

// New returns the control API.
func New(o Options) http.Handler {
	c := &control{o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("POST /token", c.mint)
	mux.HandleFunc("POST /tokens/revoke", c.revoke)
	mux.HandleFunc("POST /keys/rotate", c.rotate)
	mux.HandleFunc("GET /journal", func(w http.ResponseWriter, _ *http.Request) {
		entries := o.Journal.Entries()
		if entries == nil {
			entries = []journal.Entry{}
		}
		reply(w, http.StatusOK, map[string]any{"entries": entries})
	})
	mux.HandleFunc("DELETE /journal", func(w http.ResponseWriter, _ *http.Request) {
		o.Journal.Clear()
		w.WriteHeader(http.StatusNoContent)
	})
	c.ledgerRoutes(mux)
	mux.HandleFunc("POST /faults", c.addFault)
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"faults": o.Faults.List()})
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		o.Faults.Clear()
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

type control struct{ Options }

// TokenRequest asks for an access token. Everything is optional.
type TokenRequest struct {
	Account  string  `json:"account,omitempty"`
	Scope    *string `json:"scope,omitempty"` // absent = all, "" = none
	TTL      string  `json:"ttl,omitempty"`   // negative = already expired
	Kind     string  `json:"kind,omitempty"`
	Resource string  `json:"resource,omitempty"`
	ClientID string  `json:"client_id,omitempty"`
}

// TokenResponse is the answer to a TokenRequest.
type TokenResponse struct {
	AccessToken string     `json:"access_token"`
	ExpiresIn   int64      `json:"expires_in"`
	Kind        token.Kind `json:"kind"`
}

var clientID = regexp.MustCompile(`^[\x21-\x7e]{1,128}$`)

func (c *control) mint(w http.ResponseWriter, r *http.Request) {
	var in TokenRequest
	if !read(w, r, &in) {
		return
	}
	record, ttl, err := c.record(in)
	if err != nil {
		refuse(w, err)
		return
	}
	raw, err := c.Tokens.Mint(record)
	if err != nil {
		reply(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	reply(w, http.StatusOK, TokenResponse{AccessToken: raw, ExpiresIn: int64(math.Ceil(ttl.Seconds())), Kind: record.Kind})
}

func (c *control) record(in TokenRequest) (token.Record, time.Duration, error) {
	email := in.Account
	if email == "" {
		email = account.All()[0].Email
	}
	who, ok := account.ByEmail(email)
	if !ok {
		return token.Record{}, 0, fmt.Errorf("unknown account %q: want one of %s", email, emails())
	}
	scopes := c.Scopes
	if in.Scope != nil {
		scopes = strings.Fields(*in.Scope)
		for _, s := range scopes {
			if !slices.Contains(c.Scopes, s) {
				return token.Record{}, 0, fmt.Errorf("unknown scope %q: want some of %s", s, strings.Join(c.Scopes, " "))
			}
		}
	}
	ttl := time.Hour
	if in.TTL != "" {
		d, err := time.ParseDuration(in.TTL)
		if err != nil || d == 0 || d.Abs() > maxTTL {
			return token.Record{}, 0, fmt.Errorf("ttl must be a duration such as 90s or 1h, not zero, at most %s: %q", maxTTL, in.TTL)
		}
		ttl = d
	}
	kind := token.JWT
	if in.Kind != "" {
		var err error
		if kind, err = token.ParseKind(in.Kind); err != nil {
			return token.Record{}, 0, err
		}
	}
	// Any resource may be asked for here, so that a verifier can be shown a
	// good token that is meant for someone else.
	resource := in.Resource
	if resource == "" {
		resource = c.Resource
	}
	client := in.ClientID
	if client == "" {
		client = c.ClientID
	}
	if !clientID.MatchString(client) {
		return token.Record{}, 0, errors.New("client_id must be 1 to 128 printable characters without spaces")
	}
	return token.Record{
		Kind:     kind,
		Subject:  who.Subject,
		ClientID: client,
		Scopes:   scopes,
		Audience: []string{resource},
		Expires:  c.Now().Add(ttl),
	}, ttl, nil
}

func emails() string {
	var all []string
	for _, a := range account.All() {
		all = append(all, a.Email)
	}
	return strings.Join(all, ", ")
}

func (c *control) revoke(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Token string `json:"token"`
	}
	if !read(w, r, &in) {
		return
	}
	if !c.Tokens.Revoke(token.HashOf(in.Token)) {
		reply(w, http.StatusNotFound, map[string]string{"error": "this sandbox has not issued that token"})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (c *control) rotate(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Mode keys.Mode `json:"mode"`
	}
	if !read(w, r, &in) {
		return
	}
	if in.Mode == "" {
		in.Mode = keys.Next
	}
	if err := c.Keys.Rotate(in.Mode); err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(c.Keys.JWKS())
}

func (c *control) addFault(w http.ResponseWriter, r *http.Request) {
	var in fault.Fault
	if !read(w, r, &in) {
		return
	}
	if err := c.Faults.Add(in); err != nil {
		refuse(w, err)
		return
	}
	reply(w, http.StatusCreated, in)
}

// read decodes a JSON body; an empty one is an empty object. A field that
// does not exist is an error: a misspelt one would otherwise pass unnoticed.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		refuse(w, fmt.Errorf("the body is not the JSON expected here: %w", err))
		return false
	}
	return true
}

func refuse(w http.ResponseWriter, err error) {
	reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
