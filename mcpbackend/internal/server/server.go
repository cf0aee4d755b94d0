// Package server is the HTTP edge: it routes, listens, and stops in good order.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/selection"
)

// Drain is how long calls that are under way may take to end.
const Drain = 9 * time.Second

// Counter counts answers per route, and breaches of the identity contract.
type Counter interface {
	Count(route string, next http.Handler) http.Handler
	Violation()
}

// Routes are the handlers by what they serve.
type Routes struct {
	// The bearer routes.
	MCP, Plain, SSE, Messages http.Handler
	// Public serves the documents, by path.
	Public map[string]http.Handler
	// Tools are those that the callers of bearer routes may select from.
	Tools selection.Tools
	// List is how their list looks unless they say; empty is [selection.Full].
	List selection.Form
	// Refuse answers a request of MCP whose selection cannot be read, in the form
	// that its clients show to people.
	Refuse func(w http.ResponseWriter, r *http.Request, message string)
}

// New returns the handler of everything that the gateway may ask for.
func New(r Routes, count Counter, log *slog.Logger, now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	bearer := func(path string, h http.Handler) {
		refuse := func(w http.ResponseWriter, req *http.Request, err error) {
			count.Violation()
			log.Error("identity headers break the contract with the gateway", "route", path, "error", err.Error())
			(denial.Denial{
				Status: http.StatusInternalServerError, Code: "server_error",
				Description: "The gateway and this service disagree about who is calling. The operator has been told.",
			}).Write(w)
		}
		mux.Handle(path, count.Count(path, identity.Middleware(r.selected(path, h), now, refuse)))
	}
	bearer("/mcp", r.MCP)
	bearer("/mcp/tools/call", r.Plain)
	bearer("/sse", r.SSE)
	bearer("/sse/{$}", r.SSE)
	bearer("/messages", r.Messages)
	for path, h := range r.Public {
		pattern := path
		if pattern == "/" {
			pattern = "/{$}"
		}
		mux.Handle(pattern, count.Count(path, h))
	}
	mux.Handle("/", count.Count("other", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		(denial.Denial{Status: http.StatusNotFound, Code: "not_found", Description: "There is nothing here. The MCP endpoint is /mcp."}).Write(w)
	})))
	return survive(mux, log)
}

// selected reads what a request wants to see less of. One that cannot be read is
// refused: it must not be taken for a wish to see everything.
func (routes Routes) selected(path string, next http.Handler) http.Handler {
	otherwise := routes.List.Selection()
	refuse := func(w http.ResponseWriter, _ *http.Request, message string) {
		denial.Invalid(http.StatusBadRequest, message).Write(w)
	}
	if path == "/mcp" {
		refuse = routes.Refuse
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := selection.Of(r.Header, routes.Tools, otherwise)
		if err != nil {
			refuse(w, r, err.Error()+".")
			return
		}
		if s == nil {
			next.ServeHTTP(w, r)
			return
		}
		c, ok := identity.From(r.Context())
		if !ok {
			http.Error(w, "no caller", http.StatusInternalServerError) // a route without identity: fail closed
			return
		}
		c.Selection = s
		next.ServeHTTP(w, r.WithContext(identity.With(r.Context(), c)))
	})
}

// survive answers a request whose handler panics. net/http would close the
// connection without an answer, and log a value that may hold data.
func survive(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			log.Error("panic in a handler", "method", r.Method, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			(denial.Denial{Status: http.StatusInternalServerError, Code: "server_error", Description: "This request failed by a fault of this server. It was logged."}).Write(w)
		}()
		next.ServeHTTP(w, r)
	})
}

// Server is an HTTP server on one listener.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// NewServer returns a server. It has no write timeout, which would cut streams;
// each stream sees to its own slow readers.
func NewServer(l net.Listener, h http.Handler, log *slog.Logger) *Server {
	return &Server{l, &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}
}

// OnStop registers what runs when the server begins to stop.
func (s *Server) OnStop(f func()) { s.http.RegisterOnShutdown(f) }

// Serve serves until the context ends, then lets the requests under way finish
// for at most [Drain].
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), Drain)
	defer cancel()
	err := s.http.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		// What is still running by now is cut off.
		err = s.http.Close()
	}
	if serveErr := <-failed; !errors.Is(serveErr, http.ErrServerClosed) {
		return errors.Join(err, serveErr)
	}
	return err
}

// Run serves until the context ends or a server fails. The operations servers
// outlive the main one, so that the end of it can be watched.
func Run(ctx context.Context, main *Server, operations ...*Server) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	opsCtx, stopOps := context.WithCancel(context.Background())
	failed := make(chan error, len(operations))
	for _, s := range operations {
		go func() {
			err := s.Serve(opsCtx)
			stop()
			failed <- err
		}()
	}
	err := main.Serve(ctx)
	stopOps()
	for range operations {
		err = errors.Join(err, <-failed)
	}
	return err
}
