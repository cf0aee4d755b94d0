//go:build chromium

package e2e

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/chromium"
	"github.com/neonpanel/mcp-gateway/e2e/internal/clients"
)

// pictures is where pictures of the pages go: PICTURES, or a directory that is
// thrown away.
func pictures(t *testing.T) string {
	if dir := os.Getenv("PICTURES"); dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	return t.TempDir()
}

func TestLoginAndConsentInChromiumByKeyboard(t *testing.T) {
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) {
			g := sharedGateway(t)
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			session, err := python(t).Open(ctx, g.URL+"/mcp", clients.Modern, chromium.Person{
				Email: sellerOne, Password: password, Dark: scheme == "dark", Pictures: pictures(t),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			result, err := session.Call(ctx, "list_companies", nil)
			if err != nil || result.IsError {
				t.Fatalf("list_companies: %+v %v", result, err)
			}
			want := g.companies(t, g.token(t, sellerOne))
			if got := companiesIn(t, result.StructuredContent); !slices.Equal(got, want) {
				t.Errorf("companies %v, the API says %v", got, want)
			}
		})
	}
}

func TestDenyInChromiumByKeyboard(t *testing.T) {
	g := sharedGateway(t)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	session, err := python(t).Open(ctx, g.URL+"/mcp", clients.Modern, chromium.Person{
		Email: sellerOne, Password: password, Deny: true, Pictures: pictures(t),
	})
	if err == nil {
		session.Close()
		t.Fatal("the client was let in though its user denied it")
	}
	if !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("the client was not told why: %v", err)
	}
}
