// Package ops serves what operators and orchestrators ask: is it alive, is it
// ready, what does it count. It also holds the client of those questions, for
// images without a shell.
package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/neonpanel/mcp-gateway/authz/internal/listen"
)

// Handler serves /healthz, /readyz, /metrics and a CPU profile. Liveness
// depends on nothing: a restart mends no outage of the issuer. A CPU profile
// holds names of functions and no data; profiles of the heap or of goroutines
// are not served.
func Handler(ready func() error, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { state(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { state(w, ready()) })
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	return mux
}

func state(w http.ResponseWriter, trouble error) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	body := map[string]string{"status": "ok"}
	if trouble != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		body = map[string]string{"status": "not ready", "reason": trouble.Error()}
	}
	_ = json.NewEncoder(w).Encode(body)
}

// Ask puts one of those questions to a running authz; nil is a good answer.
func Ask(ctx context.Context, at listen.Address, path string) error {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return at.Dial(ctx) },
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://authz"+path, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("nothing answers at %s: %w", at, err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	return fmt.Errorf("%s at %s: %d %s", path, at, response.StatusCode, strings.TrimSpace(string(body)))
}
