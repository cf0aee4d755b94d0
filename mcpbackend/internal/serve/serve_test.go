package serve

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/documents"
)

// TestEveryFaultIsReportedAtOnce: of the settings, and of what they choose.
func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("- no description"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := config.Settings{
		PublicURL: "http://127.0.0.1:1", NeonpanelAPIURL: "http://127.0.0.1:2", Listen: "unix:/does/not/exist/main",
		OpsListen: "127.0.0.1:0", ReadOnly: "false", MaxStreams: "1", MaxStreamsPerSubject: "1", LogLevel: "error",
	}
	for name, tc := range map[string]struct {
		change func(*config.Settings)
		says   []string
	}{
		"toolsets": {func(s *config.Settings) { s.Toolsets = "foo,import,bar" }, []string{"MCPBACKEND_TOOLSETS", "foo, bar", "choose from all, ", "inventory", "reads"}},
		"a listener and toolsets": {func(s *config.Settings) { s.Listen, s.Toolsets = "0.0.0.0:80", "foo,bar" },
			[]string{"MCPBACKEND_LISTEN", "MCPBACKEND_TOOLSETS", "foo, bar", "choose from"}},
		"URLs and toolsets": {func(s *config.Settings) { s.PublicURL, s.NeonpanelAPIURL, s.Toolsets = "", "x", "foo,B!" },
			[]string{"PUBLIC_URL", "NEONPANEL_API_URL", `"B!"`, "there is no toolset foo"}},
		"files": {func(s *config.Settings) { s.UpstreamCAFile, s.OpenAPIFile = text, text },
			[]string{"UPSTREAM_CA_FILE holds no certificate", "MCPBACKEND_OPENAPI_FILE gives no catalogue"}},
		"a directory": {func(s *config.Settings) { s.OpenAPIFile, s.Toolsets = "/", "foo" },
			[]string{"MCPBACKEND_OPENAPI_FILE is no regular file", "there is no toolset foo"}},
		"a URL and a file":           {func(s *config.Settings) { s.OpenAPIURL, s.OpenAPIFile = "https://x.com", text }, []string{"MCPBACKEND_OPENAPI_URL and MCPBACKEND_OPENAPI_FILE exclude each other"}},
		"a document from in between": {func(s *config.Settings) { s.OpenAPIURL, s.OpenAPIRefresh = "http://x.com", "often" }, []string{"MCPBACKEND_OPENAPI_URL must use https", "MCPBACKEND_OPENAPI_REFRESH"}},
		"a socket":                   {func(*config.Settings) {}, []string{"MCPBACKEND_LISTEN"}},
	} {
		settings := good
		tc.change(&settings)
		err := Run(t.Context(), settings, documents.Build{Version: "v1"}, io.Discard)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, want := range tc.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is missing from:\n%v", name, want, err)
			}
		}
	}
}
