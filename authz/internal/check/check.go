// Package check is the gRPC edge of authz: it turns Envoy's question
// (envoy.service.auth.v3) into a plain request and the plain answer back into
// Envoy's. Nothing behind it knows Envoy's types.
package check

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/resource"
)

// Decider decides on plain requests.
type Decider interface {
	Decide(context.Context, decision.Request) decision.Response
	Broken(cause error) decision.Response
}

// Observer counts decisions.
type Observer interface {
	Decided(allowed bool, reason string, took time.Duration)
}

// Service answers Envoy.
type Service struct {
	decider  Decider
	observer Observer
	log      *slog.Logger
}

// New returns the service.
func New(decider Decider, observer Observer, log *slog.Logger) *Service {
	return &Service{decider: decider, observer: observer, log: log}
}

// Answer answers one question.
func (s *Service) Answer(ctx context.Context, r decision.Request) decision.Response {
	start := time.Now()
	answer := s.decide(ctx, r)
	s.observer.Decided(answer.Allowed(), answer.Facts.Reason, time.Since(start))
	s.record(ctx, r, &answer)
	return answer
}

// decide turns a panic into a refusal: one odd token must not end the process
// and with it every stream's next request.
func (s *Service) decide(ctx context.Context, r decision.Request) (answer decision.Response) {
	defer func() {
		if p := recover(); p != nil {
			// The value of a panic may quote what the client sent; its type does not.
			s.log.ErrorContext(ctx, "panic while deciding", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			answer = s.decider.Broken(fmt.Errorf("panic of type %T", p))
		}
	}()
	return s.decider.Decide(ctx, r)
}

// record writes the one log line of a decision, with nothing that the client
// sent but its address.
func (s *Service) record(ctx context.Context, r decision.Request, a *decision.Response) {
	level := slog.LevelInfo
	if a.Allowed() || a.Facts.Reason == decision.ReasonTooManyRequests {
		level = slog.LevelDebug
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs,
		slog.Bool("allowed", a.Allowed()),
		slog.String("reason", a.Facts.Reason),
		slog.String("resource", resource.Of(r.Path).Path()),
	)
	if a.Allowed() {
		attrs = append(attrs, slog.String("auth", a.Facts.Auth), slog.String("subject", a.Facts.Subject), slog.String("client_id", a.Facts.ClientID))
	} else {
		attrs = append(attrs, slog.Int("status", a.Status))
	}
	if r.Client.IsValid() {
		attrs = append(attrs, slog.String("client", r.Client.String()))
	}
	if a.Cause != nil {
		attrs = append(attrs, slog.String("cause", a.Cause.Error()))
	}
	s.log.LogAttrs(ctx, level, "decision", attrs...)
}
