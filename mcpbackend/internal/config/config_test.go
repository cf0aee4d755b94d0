package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// parse reads settings from flags as the program does.
func parse(t *testing.T, args ...string) (Config, error) {
	t.Helper()
	var s Settings
	k, err := kong.New(&s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Parse(args); err != nil {
		t.Fatal(err)
	}
	return s.Parse()
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := parse(t, "--public-url=https://mcp.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	if c.PublicURL.String() != "https://mcp.example.com" || c.APIURL.String() != "https://my.neonpanel.com" ||
		c.Listen != (Address{"unix", "/run/neonpanel/mcpbackend/mcpbackend.sock"}) || c.OpsListen != (Address{"tcp", "127.0.0.1:9102"}) ||
		c.ReadOnly || c.Toolsets != nil || c.MaxStreams != 4000 {
		t.Errorf("%+v", c)
	}
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := parse(t,
		"--neonpanel-api-url=http://my.neonpanel.com", "--upstream-proxy=socks:x", "--upstream-ca-file=/does/not/exist",
		"--mcpbackend-listen=0.0.0.0:80", "--mcpbackend-ops-listen=unix:relative", "--mcpbackend-openapi-file=/",
		"--mcpbackend-openapi-url=https://x.com/openapi.json", "--mcpbackend-toolsets=a,B!", "--mcpbackend-read-only=perhaps", "--mcpbackend-apps-challenge=two words",
		"--mcpbackend-max-streams=0", "--mcpbackend-max-streams-per-subject=x", "--mcpbackend-log-level=loud",
	)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{
		"PUBLIC_URL is required", "NEONPANEL_API_URL", "UPSTREAM_PROXY", "UPSTREAM_CA_FILE", "MCPBACKEND_LISTEN", "MCPBACKEND_OPS_LISTEN",
		"MCPBACKEND_OPENAPI_FILE is", "MCPBACKEND_OPENAPI_URL is not supported", "name that in MCPBACKEND_OPENAPI_FILE", "MCPBACKEND_TOOLSETS", "MCPBACKEND_READ_ONLY", "MCPBACKEND_APPS_CHALLENGE",
		"MCPBACKEND_MAX_STREAMS ", "MCPBACKEND_MAX_STREAMS_PER_SUBJECT", "MCPBACKEND_LOG_LEVEL",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the fault of %s is missing from:\n%v", name, err)
		}
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"https://mcp.example.com": true, "http://127.0.0.1:8080": true, "http://localhost:8080": true, "http://[::1]:1": true,
		"http://mcp.example.com": false, "https://a:b@mcp.example.com": false, "https://mcp.example.com/?x": false,
		"https://mcp.example.com/#x": false, "mcp.example.com": false, "https://": false, "ftp://mcp.example.com": false,
		"https://mcp.example.com/path": false, "http://127.0.0.1.example.com": false,
	} {
		if _, err := parse(t, "--public-url="+url); (err == nil) != ok {
			t.Errorf("%s: %v, want accepted %v", url, err, ok)
		}
	}
	if c, err := parse(t, "--public-url=HTTPS://MCP.Example.com:443/"); err != nil || c.PublicURL.String() != "https://mcp.example.com" {
		t.Errorf("%v, %v", c.PublicURL, err)
	}
	if c, err := parse(t, "--public-url=https://x.com", "--neonpanel-api-url=https://y.com/base/"); err != nil || c.APIURL.String() != "https://y.com/base" {
		t.Errorf("%v, %v", c.APIURL, err)
	}
}

func TestValuesAreTaken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "doc.yaml")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parse(t, "--public-url=https://x.com", "--mcpbackend-toolsets= reads, import ,", "--mcpbackend-read-only=true",
		"--mcpbackend-openapi-file="+file, "--mcpbackend-listen=127.0.0.1:0", "--mcpbackend-apps-challenge= token ")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Toolsets) != 2 || c.Toolsets[1] != "import" || !c.ReadOnly || c.OpenAPIFile != file || c.AppsChallenge != "token" {
		t.Errorf("%+v", c)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"unix:/run/x.sock", "127.0.0.1:80", "[::1]:0", "localhost:1", ":80", "0.0.0.0:80", "unix:", "unix:x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		switch {
		case a.Network == "unix" && strings.HasPrefix(a.Address, "/"):
		case a.Network == "tcp" && (strings.HasPrefix(a.Address, "127.") || strings.HasPrefix(a.Address, "localhost:") || strings.HasPrefix(a.Address, "[")):
		case a.Network == "tcp":
			t.Fatalf("%q listens on %v", s, a)
		default:
			t.Fatalf("%q gives %v", s, a)
		}
	})
}
