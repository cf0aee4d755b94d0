// Package server runs the three listeners of authz side by side and ends them in
// bounded time.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/neonpanel/mcp-gateway/authz/internal/check"
	"github.com/neonpanel/mcp-gateway/authz/internal/listen"
	"github.com/neonpanel/mcp-gateway/authz/internal/mtls"
)

// Options are what is served where.
type Options struct {
	Check                   *check.Service
	Discovery, Ops          http.Handler
	Listen, DiscoveryListen listen.Address
	OpsListen               []listen.Address
	// TLS is for the listeners on TCP, except for local ones of operations; nil
	// is none.
	TLS *mtls.Authority
	// Ready is asked until it returns nil; from then on the health service says
	// that authz serves.
	Ready func() error
	// OnReady is called once, at that moment.
	OnReady func()
	// Drain is the longest wait for running requests at the end.
	Drain time.Duration
	Log   *slog.Logger
}

const (
	// maxMessage bounds a question: Envoy's headers are at most 32 KiB at this
	// edge, and no body is asked for.
	maxMessage = 128 << 10
	maxStreams = 1000
	// readyPoll is short, since it adds to the time from start to ready.
	readyPoll = 10 * time.Millisecond
)

// Server has its listeners open and does not serve yet.
type Server struct {
	options                Options
	check, discovery       net.Listener
	ops                    []net.Listener
	grpc                   *grpc.Server
	health                 *health.Server
	discoveryHTTP, opsHTTP *http.Server
}

// New opens all listeners, so that a busy address is known before anything runs.
func New(ctx context.Context, o Options) (*Server, error) {
	s := &Server{
		options:       o,
		health:        health.NewServer(),
		discoveryHTTP: httpServer(o.Discovery, o.Log),
		opsHTTP:       httpServer(o.Ops, o.Log),
	}
	settings := []grpc.ServerOption{
		grpc.ForceServerCodecV2(check.Codec()),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(10 * time.Second),
		// Envoy may ping every few seconds, also while nothing is asked; with
		// the defaults of grpc-go that ends the connection (too_many_pings).
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
	if o.protected(o.Listen, false) {
		settings = append(settings, grpc.Creds(credentials.NewTLS(o.TLS.Config(mtls.Named, "h2"))))
	}
	s.grpc = grpc.NewServer(settings...)
	o.Check.Register(s.grpc)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	s.serving(false)

	var err error
	open := func(setting string, at listen.Address) net.Listener {
		l, failed := listen.Open(ctx, at)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", setting, failed))
			return nil
		}
		return l
	}
	openHTTP := func(setting string, at listen.Address, operations bool) net.Listener {
		l := open(setting, at)
		if l != nil && o.protected(at, operations) {
			who := mtls.Named
			if operations {
				who = mtls.Certified
			}
			l = tls.NewListener(l, o.TLS.Config(who, "http/1.1"))
		}
		return l
	}
	s.check = open("AUTHZ_LISTEN", o.Listen)
	s.discovery = openHTTP("AUTHZ_DISCOVERY_LISTEN", o.DiscoveryListen, false)
	for _, at := range o.OpsListen {
		s.ops = append(s.ops, openHTTP("AUTHZ_OPS_LISTEN", at, true))
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// protected is whether peers at the address need a certificate. The operations
// listener tells no secret: there TLS is for what leaves the machine alone, so
// that a probe needs none.
func (o Options) protected(at listen.Address, operations bool) bool {
	return o.TLS != nil && at.TCP() && !(operations && at.Local())
}

// Addresses are where it listens: the question, the documents, the operations.
func (s *Server) Addresses() (check, discovery net.Addr, ops []net.Addr) {
	for _, l := range s.ops {
		ops = append(ops, l.Addr())
	}
	return s.check.Addr(), s.discovery.Addr(), ops
}

func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Run serves until ctx is done or a listener fails, then lets running requests
// end, for at most Drain.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		// Told to stop before it began: that is no failure.
		if err := s.grpc.Serve(s.check); !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil
	})
	group.Go(func() error { return serve(s.discoveryHTTP, s.discovery) })
	for _, l := range s.ops {
		group.Go(func() error { return serve(s.opsHTTP, l) })
	}
	group.Go(func() error { s.awaitReady(ctx); return nil })
	group.Go(func() error {
		<-ctx.Done()
		s.stop()
		return nil
	})
	return group.Wait()
}

func serve(server *http.Server, l net.Listener) error {
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// awaitReady tells the health service once the first keys are in.
func (s *Server) awaitReady(ctx context.Context) {
	started := time.Now()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for s.options.Ready() != nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	s.serving(true)
	s.options.Log.Info("ready", "after", time.Since(started).String())
	s.options.OnReady()
}

func (s *Server) serving(yes bool) {
	status := healthv1.HealthCheckResponse_NOT_SERVING
	if yes {
		status = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(check.ServiceName, status)
}

// stop refuses new work, waits for what runs, and after Drain cuts it off.
func (s *Server) stop() {
	s.health.Shutdown()
	ctx, cancel := context.WithTimeout(context.Background(), s.options.Drain)
	defer cancel()
	var ending errgroup.Group
	ending.Go(func() error {
		drained := make(chan struct{})
		go func() { s.grpc.GracefulStop(); close(drained) }()
		select {
		case <-drained:
		case <-ctx.Done():
			s.options.Log.Warn("requests still ran at the end of the drain", "drain", s.options.Drain.String())
			s.grpc.Stop()
			<-drained
		}
		return nil
	})
	for _, server := range []*http.Server{s.discoveryHTTP, s.opsHTTP} {
		ending.Go(func() error {
			if err := server.Shutdown(ctx); err != nil {
				return server.Close()
			}
			return nil
		})
	}
	if err := ending.Wait(); err != nil {
		s.options.Log.Warn("a listener did not close cleanly", "error", err.Error())
	}
}

func (s *Server) close() {
	for _, l := range append(s.ops, s.check, s.discovery) {
		if l != nil {
			l.Close()
		}
	}
}
