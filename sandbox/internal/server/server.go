// Package server puts the parts of the sandbox together and runs them.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/access"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/api"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/client"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/config"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/control"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/fault"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/grant"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/journal"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/keys"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/listen"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/oauth"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/resource"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

// Bounds of what is kept in memory.
const (
	maxTokens  = 100_000
	maxClients = 10_000
	maxEntries = 10_000
)

// grace is how long open requests may go on after the signal to stop.
const grace = time.Second

// controlClient is the OAuth client of tokens made by the control API.
const controlClient = "neonpanel-sandbox"

// Handlers are the two faces of the sandbox.
type Handlers struct {
	Public, Control http.Handler
}

// New wires the sandbox.
func New(s config.Settings, now func() time.Time, log *slog.Logger) (Handlers, error) {
	// The keys and the books take longest: they are made side by side.
	var (
		ring     *keys.Ring
		books    *ledger.Books
		verifier *access.Verifier
		slow     errgroup.Group
	)
	slow.Go(func() (err error) {
		ring, err = keys.New()
		return err
	})
	slow.Go(func() (err error) {
		books, err = ledger.New(now())
		return err
	})
	if err := slow.Wait(); err != nil {
		return Handlers{}, err
	}
	tokens, err := token.NewIssuer(token.Options{Issuer: s.Issuer, Signer: ring, Limit: maxTokens, Now: now})
	if err != nil {
		return Handlers{}, err
	}
	clients := client.NewRegistry(maxClients, now)
	clients.AddPermanent(client.Client{ID: controlClient, Metadata: client.Metadata{Name: "NeonPanel sandbox", AuthMethod: client.None}}, "")
	if s.IntrospectionID != "" {
		clients.AddPermanent(client.Client{ID: s.IntrospectionID, ResourceServer: true, Metadata: client.Metadata{
			Name: "NeonPanel MCP gateway", AuthMethod: client.ClientSecretBase,
		}}, s.IntrospectionSecret)
	}
	resources, err := resource.New(s.Resources...)
	if err != nil {
		return Handlers{}, err
	}
	grants, err := grant.New(grant.Options{
		Issuer: s.Issuer, Clients: clients, Tokens: tokens, Keys: ring, Scopes: s.Scopes, Resources: resources,
		Kind: s.TokenKind, TTL: s.TokenTTL, Now: now,
	})
	if err != nil {
		return Handlers{}, err
	}
	verifier, err = access.New(access.Options{
		Issuer:      s.Issuer,
		Audiences:   append([]string{s.Issuer}, s.Resources...),
		KnownClient: func(id string) bool { _, ok := clients.Get(id); return ok },
		Signatures:  ring.Verify,
		Lookup:      tokens.Lookup,
		Now:         now,
	})
	if err != nil {
		return Handlers{}, err
	}
	oauthServer, err := oauth.New(oauth.Options{
		Issuer: s.Issuer, Scopes: s.Scopes, Keys: ring, Clients: clients, Grants: grants, Resources: resources,
		Quirks: s.Quirks, Now: now, Log: log,
	})
	if err != nil {
		return Handlers{}, err
	}
	rest, err := api.New(api.Options{Books: books, Now: now, ImportDelay: s.ImportDelay, Verify: func(r *http.Request) (string, error) { return subject(r, verifier) }})
	if err != nil {
		return Handlers{}, err
	}
	// A ServeMux would redirect paths that are not clean, and hide from the API
	// that it was asked for them.
	split := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v1/") {
			rest.ServeHTTP(w, r)
			return
		}
		oauthServer.ServeHTTP(w, r)
	})
	record := journal.New(maxEntries, now, log)
	faults := &fault.Set{}
	return Handlers{
		// The journal is outermost: it also records what a fault swallows.
		Public: record.Handler(faults.Handler(split)),
		Control: control.New(control.Options{
			Tokens:   tokens,
			Keys:     ring,
			Faults:   faults,
			Journal:  record,
			Books:    books,
			Scopes:   s.Scopes,
			Resource: s.Resources[0],
			ClientID: controlClient,
			Now:      now,
		}),
	}, nil
}

// subject is whose token a request to the API carries.
func subject(r *http.Request, v *access.Verifier) (string, error) {
	g, err := v.Verify(r)
	journal.Note(r.Context(), func(e *journal.Entry) {
		if err != nil {
			e.Error = access.Reason(err)
			return
		}
		e.Subject, e.ClientID = g.Subject, g.ClientID
	})
	return g.Subject, err
}

// Run serves until ctx ends, then stops within two seconds.
func Run(ctx context.Context, s config.Settings, log *slog.Logger) error {
	public, err := listen.On(ctx, s.Listen)
	if err != nil {
		return fmt.Errorf("SANDBOX_LISTEN: %w", err)
	}
	defer public.Close()
	controlled, err := listen.On(ctx, s.ControlListen)
	if err != nil {
		return fmt.Errorf("SANDBOX_CONTROL_LISTEN: %w", err)
	}
	defer controlled.Close()
	handlers, err := New(s, time.Now, log)
	if err != nil {
		return err
	}

	log.Info("serving", "issuer", s.Issuer, "listen", s.Listen, "control", s.ControlListen, "resources", s.Resources, "token_kind", s.TokenKind)
	failed := make(chan error, 2)
	stop := []func(){
		start(public, handlers.Public, log, failed),
		start(controlled, handlers.Control, log, failed),
	}
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case err = <-failed:
	}
	for _, s := range stop {
		s()
	}
	return err
}

// start serves in the background and returns what stops it.
func start(l net.Listener, h http.Handler, log *slog.Logger, failed chan<- error) func() {
	base, cancel := context.WithCancel(context.Background())
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	return func() {
		cancel() // ends what hangs on purpose
		ctx, done := context.WithTimeout(context.Background(), grace/2)
		defer done()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
	}
}
