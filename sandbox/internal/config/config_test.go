package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/config"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

func flags() config.Flags {
	return config.Flags{Listen: "127.0.0.1:9090", ControlListen: "127.0.0.1:9091", Expose: "false", TokenKind: "jwt", TokenTTL: "1h", ImportDelay: "10s"}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	s, err := flags().Settings()
	if err != nil {
		t.Fatal(err)
	}
	if s.Issuer != "http://127.0.0.1:9090" || !slices.Equal(s.Resources, []string{s.Issuer}) || s.TokenKind != token.JWT || s.TokenTTL != time.Hour || s.ImportDelay != 10*time.Second {
		t.Errorf("got %+v", s)
	}
	if len(s.Scopes) != 10 || s.Scopes[0] != "openid" {
		t.Errorf("scopes %v", s.Scopes)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a secret from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := flags()
	f.Listen, f.Issuer = "unix:/run/sandbox.sock", "https://issuer.example"
	f.Resources = []string{"https://mcp.example/mcp", " https://mcp.example ", "", "https://mcp.example"}
	f.Scopes = []string{"a", "b c"}
	f.IntrospectionID, f.IntrospectionFile = "gateway", secret
	f.Quirks = []string{"basic-html"}
	s, err := f.Settings()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Resources, []string{"https://mcp.example/mcp", "https://mcp.example"}) || !slices.Equal(s.Scopes, []string{"a", "b", "c"}) ||
		s.IntrospectionSecret != "a secret from a file" || !slices.Equal(s.Quirks, []config.Quirk{config.BasicHTML}) {
		t.Errorf("got %+v", s)
	}
}

func TestEveryFaultIsNamed(t *testing.T) {
	t.Parallel()
	f := config.Flags{
		Listen: "0.0.0.0:9090", ControlListen: "nowhere", Expose: "maybe", Issuer: "https://issuer.example/",
		Resources: []string{"mcp"}, Scopes: []string{`"`}, TokenKind: "paper", TokenTTL: "1ms", ImportDelay: "2h",
		IntrospectionID: "x", IntrospectionFile: "/does/not/exist", Quirks: []string{"all"},
	}
	_, err := f.Settings()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{
		"SANDBOX_LISTEN", "SANDBOX_CONTROL_LISTEN", "SANDBOX_EXPOSE", "SANDBOX_ISSUER", "SANDBOX_RESOURCES", "SANDBOX_SCOPES",
		"SANDBOX_TOKEN_KIND", "SANDBOX_TOKEN_TTL", "SANDBOX_IMPORT_DELAY", "SANDBOX_INTROSPECTION_CLIENT_ID", "SANDBOX_INTROSPECTION_CLIENT_SECRET_FILE", "SANDBOX_QUIRKS",
	} {
		if !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%s is not named in:\n%v", name, err)
		}
	}
}

func TestSingleFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(*config.Flags)
		want string
	}{
		"control on the same address": {func(f *config.Flags) { f.ControlListen = f.Listen }, "SANDBOX_CONTROL_LISTEN"},
		"control for everyone":        {func(f *config.Flags) { f.ControlListen, f.Expose = "0.0.0.0:1", "true" }, "SANDBOX_CONTROL_LISTEN"},
		"relative socket":             {func(f *config.Flags) { f.ControlListen = "unix:x.sock" }, "SANDBOX_CONTROL_LISTEN"},
		"socket without issuer":       {func(f *config.Flags) { f.Listen = "unix:/x.sock" }, "SANDBOX_ISSUER"},
		"issuer with a path":          {func(f *config.Flags) { f.Issuer = "https://issuer.example/x" }, "SANDBOX_ISSUER"},
		"issuer with a query":         {func(f *config.Flags) { f.Issuer = "https://issuer.example?x" }, "SANDBOX_ISSUER"},
		"issuer with a user":          {func(f *config.Flags) { f.Issuer = "https://x@issuer.example" }, "SANDBOX_ISSUER"},
		"issuer over plain http":      {func(f *config.Flags) { f.Issuer = "http://issuer.example" }, "SANDBOX_ISSUER"},
		"issuer that is no URL":       {func(f *config.Flags) { f.Issuer = "issuer" }, "SANDBOX_ISSUER"},
		"resource with a fragment":    {func(f *config.Flags) { f.Resources = []string{"https://x.example/#"} }, "SANDBOX_RESOURCES"},
		"secret without client":       {func(f *config.Flags) { f.IntrospectionSecret = "0123456789abcdef" }, "SANDBOX_INTROSPECTION_CLIENT_ID"},
		"short secret":                {func(f *config.Flags) { f.IntrospectionID, f.IntrospectionSecret = "x", "short" }, "SANDBOX_INTROSPECTION_CLIENT_SECRET"},
		"secret given twice": {func(f *config.Flags) {
			f.IntrospectionID, f.IntrospectionSecret, f.IntrospectionFile = "x", "0123456789abcdef", "/dev/null"
		}, "SANDBOX_INTROSPECTION_CLIENT_SECRET_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := flags()
			c.edit(&f)
			if _, err := f.Settings(); err == nil || !strings.Contains(err.Error(), c.want+": ") {
				t.Errorf("got %v, want a fault of %s", err, c.want)
			}
		})
	}
	f := flags()
	f.Listen, f.Expose, f.Issuer = "0.0.0.0:9090", "true", "http://127.0.0.1:9090"
	if _, err := f.Settings(); err != nil {
		t.Errorf("exposed on purpose: %v", err)
	}
}
