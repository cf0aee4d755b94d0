package config

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mtlstest"
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
		c.Listen != (Address{"unix", "/run/neonpanel/mcpbackend/mcpbackend.sock"}) || len(c.OpsListen) != 1 || c.OpsListen[0] != (Address{"tcp", "127.0.0.1:9102"}) || c.TLS != nil ||
		c.ReadOnly || c.List != "full" || c.Toolsets != nil || c.MaxStreams != 4000 {
		t.Errorf("%+v", c)
	}
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := parse(t,
		"--neonpanel-api-url=http://my.neonpanel.com", "--upstream-proxy=socks:x", "--upstream-ca-file=/does/not/exist",
		"--mcpbackend-listen=mcpbackend:80", "--mcpbackend-tls-cert=/does/not/exist", "--mcpbackend-tls-key=/", "--mcpbackend-tls-client-ca=/dev/null", "--mcpbackend-tls-client-sans=*.internal", "--mcpbackend-ops-listen=unix:relative", "--mcpbackend-openapi-file=/",
		"--mcpbackend-openapi-url=http://x.com/openapi.json", "--mcpbackend-openapi-refresh=1ms", "--mcpbackend-toolsets=a,B!", "--mcpbackend-read-only=perhaps", "--mcpbackend-list=short", "--mcpbackend-apps-challenge=two words",
		"--mcpbackend-max-streams=0", "--mcpbackend-max-streams-per-subject=x", "--mcpbackend-log-level=loud",
		"--mcpbackend-redis-url=http://user:hidden-password@redis:6379", "--mcpbackend-redis-ca-file=/does/not/exist", "--mcpbackend-redis-secret=hidden-short",
		"--otel-exporter-otlp-endpoint=collector:4318", "--otel-exporter-otlp-certificate=/does/not/exist", "--otel-service-name=a b", "--otel-traces-sampler-arg=NaN", "--mcpbackend-api-traceparent=perhaps",
	)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{
		"PUBLIC_URL is required", "NEONPANEL_API_URL", "UPSTREAM_PROXY", "UPSTREAM_CA_FILE", "MCPBACKEND_LISTEN", "MCPBACKEND_OPS_LISTEN",
		"MCPBACKEND_TLS_CERT must", "MCPBACKEND_TLS_KEY must", "MCPBACKEND_TLS_CLIENT_CA must", "MCPBACKEND_TLS_CLIENT_SANS must",
		"MCPBACKEND_OPENAPI_FILE is", "MCPBACKEND_OPENAPI_URL must use https", "MCPBACKEND_OPENAPI_URL and MCPBACKEND_OPENAPI_FILE", "MCPBACKEND_OPENAPI_REFRESH", "MCPBACKEND_TOOLSETS", "MCPBACKEND_READ_ONLY", "MCPBACKEND_LIST must", "MCPBACKEND_APPS_CHALLENGE",
		"MCPBACKEND_MAX_STREAMS ", "MCPBACKEND_MAX_STREAMS_PER_SUBJECT", "MCPBACKEND_LOG_LEVEL",
		"MCPBACKEND_REDIS_URL must", "MCPBACKEND_REDIS_CA_FILE cannot", "MCPBACKEND_REDIS_SECRET must",
		"OTEL_EXPORTER_OTLP_ENDPOINT must", "OTEL_EXPORTER_OTLP_CERTIFICATE cannot", "OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER_ARG", "MCPBACKEND_API_TRACEPARENT",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the fault of %s is missing from:\n%v", name, err)
		}
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("s", 32)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	urlFile, secretFile, empty := file("url", "rediss://gateway:p%40ss@redis.example/3\n"), file("secret", secret+"\n"), file("empty", "\n")
	for name, test := range map[string]struct {
		args []string
		want *Redis
		says string // of the fault
	}{
		"none":                  {nil, nil, ""},
		"in clear, on loopback": {[]string{"--mcpbackend-redis-url=redis://127.0.0.1:1234", "--mcpbackend-redis-secret=" + secret}, &Redis{Address: "127.0.0.1:1234", Secret: []byte(secret)}, ""},
		"from files": {
			[]string{"--mcpbackend-redis-url-file=" + urlFile, "--mcpbackend-redis-secret-file=" + secretFile},
			&Redis{Address: "redis.example:6379", Username: "gateway", Password: "p@ss", Database: 3, TLS: true, Secret: []byte(secret)}, "",
		},
		"no secret":               {[]string{"--mcpbackend-redis-url=redis://127.0.0.1"}, nil, "MCPBACKEND_REDIS_SECRET is missing"},
		"a secret alone":          {[]string{"--mcpbackend-redis-secret=" + secret}, nil, "MCPBACKEND_REDIS_URL is missing"},
		"both forms":              {[]string{"--mcpbackend-redis-url=redis://127.0.0.1", "--mcpbackend-redis-url-file=" + urlFile, "--mcpbackend-redis-secret=" + secret}, nil, "MCPBACKEND_REDIS_URL and MCPBACKEND_REDIS_URL_FILE"},
		"an empty file":           {[]string{"--mcpbackend-redis-url=redis://127.0.0.1", "--mcpbackend-redis-secret-file=" + empty}, nil, "MCPBACKEND_REDIS_SECRET_FILE is empty"},
		"no file":                 {[]string{"--mcpbackend-redis-url-file=/does/not/exist", "--mcpbackend-redis-secret=" + secret}, nil, "MCPBACKEND_REDIS_URL_FILE cannot be read"},
		"a query":                 {[]string{"--mcpbackend-redis-url=redis://127.0.0.1?db=1", "--mcpbackend-redis-secret=" + secret}, nil, "neither query"},
		"a user alone":            {[]string{"--mcpbackend-redis-url=redis://hidden-user@127.0.0.1", "--mcpbackend-redis-secret=" + secret}, nil, "without a password"},
		"no number of a database": {[]string{"--mcpbackend-redis-url=redis://127.0.0.1/x", "--mcpbackend-redis-secret=" + secret}, nil, "number of a database"},
		"an idle authority":       {[]string{"--mcpbackend-redis-url=redis://127.0.0.1", "--mcpbackend-redis-ca-file=" + secretFile, "--mcpbackend-redis-secret=" + secret}, nil, "is of no use"},
	} {
		c, err := parse(t, append([]string{"--public-url=https://mcp.example.com"}, test.args...)...)
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("%s: %v, want %q", name, err, test.says)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(c.Redis, test.want) {
			t.Errorf("%s: %+v %v, want %+v", name, c.Redis, err, test.want)
		}
	}
	if !(&Redis{Address: "redis.example:6379"}).Plain() || (&Redis{Address: "127.0.0.1:6379"}).Plain() || (&Redis{Address: "redis.example:6379", TLS: true}).Plain() {
		t.Error("what is sent in clear is not told apart")
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

func TestDocumentURLs(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{
		"https://my.example.com/api/v1/openapi": "", "http://127.0.0.1:9090/api/v1/openapi": "", "http://localhost/x?y=z": "",
		"http://my.example.com/openapi": "https", "file:///etc/passwd": "must be", "/openapi.json": "must be", "https:openapi": "must be",
		"https://user:secret@example.com/": "no user", "https://example.com/#x": "no fragment", "ftp://example.com/x": "https", "https://exa mple.com": "must be",
	} {
		c, err := parse(t, "--public-url=https://x.com", "--mcpbackend-openapi-url="+at, "--mcpbackend-openapi-refresh=90s")
		switch {
		case want == "" && (err != nil || c.OpenAPIURL.String() != at || c.OpenAPIRefresh != 90*time.Second):
			t.Errorf("%s: %v", at, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%s: %v, want it to say %q", at, err, want)
		}
	}
}

func TestPasswordOfAFaultyProxyIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, given := range []string{"http://user:pw%zz77@x", "http://user:p@ss pw77@x:1", "user:pw77@proxy:3128", "http:user:pw77@x", "ftp://user:pw77@x"} {
		if _, err := parse(t, "--public-url=https://x.com", "--upstream-proxy="+given); err == nil || !strings.Contains(err.Error(), "UPSTREAM_PROXY") || strings.Contains(err.Error(), "77") {
			t.Errorf("%q: %v", given, err)
		}
	}
}

func TestTheProxyCanBeInAFile(t *testing.T) {
	t.Parallel()
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "proxy")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	c, err := parse(t, "--public-url=https://x.com", "--upstream-proxy-file="+write("http://user:pw77@proxy:3128\n"))
	if err != nil || c.Proxy != "http://user:pw77@proxy:3128" {
		t.Errorf("%q %v", c.Proxy, err)
	}
	for name, arguments := range map[string][]string{
		"both":    {"--upstream-proxy=http://proxy:3128", "--upstream-proxy-file=" + write("http://proxy:3128")},
		"no URL":  {"--upstream-proxy-file=" + write("user:pw77@proxy:3128")},
		"nothing": {"--upstream-proxy-file=" + write(" ")},
		"no file": {"--upstream-proxy-file=/there/is/none"},
	} {
		_, err := parse(t, append(arguments, "--public-url=https://x.com")...)
		if err == nil || !strings.Contains(err.Error(), "UPSTREAM_PROXY") || strings.Contains(err.Error(), "77") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where the name of a file should be, the secret itself may stand by mistake.
func TestASecretInThePlaceOfItsFileIsNotShown(t *testing.T) {
	t.Parallel()
	for flag, beside := range map[string][]string{
		"upstream-proxy-file":          nil,
		"mcpbackend-redis-url-file":    {"--mcpbackend-redis-secret=" + strings.Repeat("s", 32)},
		"mcpbackend-redis-secret-file": {"--mcpbackend-redis-url=redis://127.0.0.1"},
		"mcpbackend-tls-key":           nil,
	} {
		for _, given := range []string{
			"hunter2", "http://user:hunter2@proxy:3128", "/hunter2/hunter2", "hunter2\x00", strings.Repeat("hunter2", 1000),
			"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
		} {
			_, err := parse(t, append([]string{"--public-url=https://x.com", "--" + flag + "=" + given}, beside...)...)
			if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))) ||
				!strings.Contains(err.Error(), "give the path of the file") {
				t.Errorf("%s %.60q: %.600v", flag, given, err)
			}
		}
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

func TestOnlyTLSOpensListenersToOthers(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--mcpbackend-listen=0.0.0.0:80"}, {"--mcpbackend-listen=[::]:80"}, {"--mcpbackend-listen=[::ffff:192.0.2.1]:80"},
		{"--mcpbackend-ops-listen=127.0.0.1:1,192.0.2.1:80"},
	} {
		setting := strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(strings.SplitN(args[0], "=", 2)[0], "--"), "-", "_"))
		_, err := parse(t, append(args, "--public-url=https://x.com")...)
		if err == nil || !strings.HasPrefix(err.Error(), setting+" must be") || !strings.Contains(err.Error(), "MCPBACKEND_TLS_CERT") {
			t.Errorf("%s: %v", args, err)
		}
	}
	for _, args := range [][]string{
		{"--mcpbackend-ops-listen=127.0.0.1:1, 127.0.0.1:1"}, {"--mcpbackend-ops-listen=127.0.0.1:1,"}, {"--mcpbackend-tls-client-ca=/dev/null"},
		{"--mcpbackend-tls-client-sans=envoy"}, {"--mcpbackend-listen=127.0.0.1:1", "--mcpbackend-ops-listen=unix:/a,127.0.0.1:1"},
	} {
		if _, err := parse(t, append(args, "--public-url=https://x.com")...); err == nil {
			t.Errorf("%s: accepted", args)
		}
	}

	ca := mtlstest.New(t)
	files := mtlstest.Write(t, t.TempDir(), ca.Issue(t, nil), ca.PEM)
	c, err := parse(t, "--public-url=https://x.com", "--mcpbackend-listen=0.0.0.0:80", "--mcpbackend-ops-listen=unix:/run/ops.sock,[::]:81",
		"--mcpbackend-tls-cert="+files.Cert, "--mcpbackend-tls-key="+files.Key, "--mcpbackend-tls-client-ca="+files.ClientCA,
		"--mcpbackend-tls-client-sans=envoy.internal, spiffe://example.org/envoy")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen.Local() || !c.OpsListen[0].Local() || c.OpsListen[1].Local() || c.TLS == nil || len(c.TLS.ClientSANs) != 2 {
		t.Errorf("%+v %+v", c, c.TLS)
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
		case a.TCP() && a.Local() != (strings.HasPrefix(a.Address, "127.") || strings.HasPrefix(a.Address, "localhost:") || strings.Contains(a.Address, "]") && net.ParseIP(a.Address[1:strings.Index(a.Address, "]")]).IsLoopback()):
			t.Fatalf("%q is %v, local %v", s, a, a.Local())
		case a.TCP():
		default:
			t.Fatalf("%q gives %v", s, a)
		}
	})
}
