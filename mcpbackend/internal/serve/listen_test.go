package serve

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mtls"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mtlstest"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/server"
)

func TestTheListenerOnTCPLetsInOnlyPeersWithACertificate(t *testing.T) {
	t.Parallel()
	const name = "mcpbackend.internal"
	ca, other, dir := mtlstest.New(t), mtlstest.New(t), t.TempDir()
	files := mtlstest.Write(t, dir, ca.Issue(t, []string{name}), ca.PEM)
	var log strings.Builder
	listeners, err := listen(config.Config{
		Listen: config.Address{Network: "tcp", Address: "127.0.0.1:0"},
		OpsListen: []config.Address{
			{Network: "tcp", Address: "127.0.0.1:0"}, {Network: "unix", Address: filepath.Join(dir, "ops")},
		},
		TLS: &mtls.Options{Cert: files.Cert, Key: files.Key, ClientCA: files.ClientCA},
	}, ops.NewMetrics("v1", "abc"), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "MCPBACKEND_TLS_CLIENT_SANS is empty") {
		t.Errorf("that any certificate will do is not said: %s", log.String())
	}
	for _, l := range listeners {
		s := server.NewServer(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "served") }), slog.New(slog.DiscardHandler))
		done := make(chan error, 1)
		ctx := t.Context()
		go func() { done <- s.Serve(ctx) }()
		t.Cleanup(func() {
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	get := func(url string, how *tls.Config) string {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: how, ForceAttemptHTTP2: true}}
		response, err := client.Get(url)
		if err != nil {
			return "refused"
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			return "refused"
		}
		return string(body)
	}
	at := listeners[0].Addr().String()
	for who, c := range map[string]struct {
		config *tls.Config
		want   string
	}{
		"a peer of the authority":    {ca.Client(t, name, ca.Issue(t, nil)), "served"},
		"a peer without certificate": {ca.Client(t, name), "refused"},
		"a peer of another":          {ca.Client(t, name, other.Issue(t, nil)), "refused"},
	} {
		if got := get("https://"+at, c.config); got != c.want {
			t.Errorf("%s: %s", who, got)
		}
	}
	if got := get("http://"+at, nil); got != "refused" {
		t.Errorf("without TLS: %s", got)
	}
	if got := get("http://"+listeners[1].Addr().String(), nil); got != "served" {
		t.Errorf("a probe on loopback: %s", got)
	}
}

func TestEveryListenerThatFailsIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gone := config.Address{Network: "unix", Address: filepath.Join(dir, "none", "s")}
	_, err := listen(config.Config{Listen: gone, OpsListen: []config.Address{{Network: "unix", Address: filepath.Join(dir, "s")}, gone}},
		ops.NewMetrics("v1", "abc"), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "MCPBACKEND_LISTEN: ") || !strings.Contains(err.Error(), "MCPBACKEND_OPS_LISTEN: ") {
		t.Errorf("%v", err)
	}
}
