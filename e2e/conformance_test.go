//go:build conformance

package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/clients"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// withFixtures is a directory of binaries whose mcpbackend carries the tools
// that the conformance suite calls.
func withFixtures(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range []string{"authz", "envoy", "envoyconf", "sandbox", "stack"} {
		path, err := filepath.Abs(filepath.Join(binaries(t), name))
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "conformance", "-buildvcs=false", "-o", filepath.Join(dir, "mcpbackend"), ".")
	build.Dir = filepath.Join(root(t), "mcpbackend")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func TestConformance(t *testing.T) {
	g := ownGateway(t, stack.Options{Bin: withFixtures(t), Env: map[string][]string{stack.Authz: {"AUTHZ_REFUSED_BURST=100000"}}})
	edge, err := url.Parse(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	// The suite has no way to bring a token, so somebody adds it on the way.
	token := g.token(t, sellerOne)
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(edge)
		r.Out.Host = r.In.Host
		r.Out.Header.Set("Authorization", "Bearer "+token)
	}}
	front := httptest.NewServer(http.Handler(proxy))
	t.Cleanup(front.Close)

	suite, err := installer(t).Conformance(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []clients.Era{clients.Legacy, clients.Modern} {
		t.Run(string(version), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			out, err := suite.Run(ctx, front.URL+"/mcp", version, t.TempDir())
			_, summary, found := strings.Cut(out, "=== SUMMARY ===")
			if !found {
				summary = out
			}
			if err != nil || !found {
				t.Errorf("%v\n%s", err, summary)
			}
			t.Log(summary)
		})
	}
}
