package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/mtlstest"
	"github.com/neonpanel/mcp-gateway/authz/internal/scopes"
)

// least is the one setting that has no default.
func least() config.Settings { return config.Settings{PublicURL: "https://mcp.example.com"} }

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := least().Validate()
	if err != nil {
		t.Fatal(err)
	}
	for name, same := range map[string]bool{
		"issuer":     c.Issuer == "https://my.neonpanel.com",
		"listeners":  c.Listen.String() == "unix:/run/neonpanel/authz/authz.sock" && c.DiscoveryListen.String() == "unix:/run/neonpanel/authz/discovery.sock" && fmt.Sprint(c.OpsListen) == "[127.0.0.1:9101]" && c.TLS == nil,
		"mode":       c.TokenMode == "auto",
		"algorithms": slices.Equal(c.Algorithms, []string{"RS256"}),
		"audiences": slices.Equal(c.Audiences, []string{
			"https://mcp.example.com", "https://mcp.example.com/mcp", "https://mcp.example.com/sse", "https://mcp.example.com/sse/",
		}),
		"leeway":   c.Leeway == 30*time.Second,
		"scopes":   c.Scopes == nil && c.RequiredScopes == nil && c.ScopeMode == scopes.Enforce,
		"keys":     c.KeysRefresh == 5*time.Minute && c.KeysMaxStale == 24*time.Hour && c.KeysCooldown == 10*time.Second,
		"cache":    c.CacheMaxTTL == 5*time.Minute && c.CacheSize == 100_000,
		"stream":   c.StreamMax == time.Hour,
		"caution":  !c.AnyAudience && !c.ReportAudience && !c.AllowMissingIssuer && !c.AnonymousDiscovery,
		"warnings": len(c.Warnings()) == 0,
	} {
		if !same {
			t.Errorf("the default of %s is wrong: %+v", name, c)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := config.Settings{
		PublicURL:                     "https://mcp.example.com/mcp",
		NeonpanelIssuer:               "http://my.example.com",
		JWKSURL:                       "file:///keys",
		UpstreamProxy:                 "socks4://user:hunter2@proxy",
		UpstreamProxyFile:             filepath.Join(dir, "absent"),
		UpstreamCAFile:                filepath.Join(dir, "absent.pem"),
		Listen:                        "authz:9000",
		DiscoveryListen:               "unix:relative",
		OpsListen:                     "nowhere",
		TLSCert:                       filepath.Join(dir, "absent.crt"),
		TLSKey:                        filepath.Join(dir, "absent.key"),
		TLSClientCA:                   filepath.Join(dir, "absent.ca"),
		TLSClientSANs:                 "*.internal",
		TokenMode:                     "both",
		Algorithms:                    "RS256,none,HS256",
		Audiences:                     "https://api.example.com/#x",
		AudienceMode:                  "off",
		AllowMissingIssuer:            "maybe",
		Leeway:                        "1h",
		Scopes:                        `read:a,with"quote`,
		RequiredScopes:                "read:b",
		ScopeMode:                     "strict",
		IntrospectionURL:              "https://u:p@my.example.com/introspect",
		IntrospectionClientSecret:     "hunter2",
		IntrospectionClientSecretFile: filepath.Join(dir, "absent"),
		IntrospectionKeyFile:          filepath.Join(dir, "absent"),
		IntrospectionKeyAudience:      "a b",
		IntrospectJWT:                 "sometimes",
		IntrospectionUnknownPerSecond: "0",
		RedisURL:                      "http://user:hunter2@redis",
		RedisURLFile:                  filepath.Join(dir, "absent"),
		RedisCAFile:                   filepath.Join(dir, "absent.pem"),
		RedisSecret:                   "hunter2",
		RedisSecretFile:               filepath.Join(dir, "absent"),
		KeysRefresh:                   "0",
		KeysMaxStale:                  "soon",
		KeysCooldown:                  "-1s",
		CacheMaxTTL:                   "x",
		CacheSize:                     "0",
		StreamMax:                     "0s",
		DenyFile:                      filepath.Join(dir, "absent.json"),
		AnonymousDiscovery:            "perhaps",
		RefusedPerMinute:              "-1",
		RefusedBurst:                  "many",
		OTLPEndpoint:                  "http://user:hunter2@collector:4318",
		OTLPCertificate:               filepath.Join(dir, "absent.pem"),
		ServiceName:                   "a b",
		SamplerArg:                    "2",
		LogLevel:                      "loud",
		Drain:                         "1d",
	}
	_, err := s.Validate()
	var faults config.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("%v", err)
	}
	text := err.Error()
	for field := range reflect.TypeFor[config.Settings]().Fields() {
		setting := field.Tag.Get("env")
		switch setting {
		case "AUTHZ_CLIENT_IDS":
			continue // Any value is one.
		}
		if !strings.Contains(text, "\n  "+setting+": ") {
			t.Errorf("no fault names %s", setting)
		}
	}
	if strings.Contains(text, "hunter2") {
		t.Errorf("a secret is in the faults:\n%s", text)
	}
	for _, fault := range faults {
		if !strings.Contains(fault, "allowed: ") {
			t.Errorf("%q does not say what is allowed", fault)
		}
	}
}

func TestPasswordInAFaultyURLIsNotRepeated(t *testing.T) {
	t.Parallel()
	for given, shown := range map[string]string{
		"http://user:pa%zzss@x":          "http://xxxxx@x",
		"http://user:p@ss word@x:1":      "http://xxxxx@x:1",
		"user:pw77@proxy:3128":           "xxxxx@proxy:3128",
		"http:user:pw77@proxy:3128":      "xxxxx@proxy:3128",
		"//user:pw77@proxy:3128":         "xxxxx@proxy:3128",
		"user:a://b@proxy:3128":          "xxxxx@proxy:3128",
		"http://user:p#w@proxy:3128":     "http://xxxxx@proxy:3128",
		"ftp://user@proxy:3128":          "ftp://xxxxx@proxy:3128",
		"socks4://user:p\nw@proxy":       "socks4://xxxxx@proxy",
		"socks4://proxy.example.com:123": "socks4://proxy.example.com:123",
	} {
		_, err := config.Settings{PublicURL: "https://mcp.example.com", UpstreamProxy: given}.Validate()
		if err == nil || !strings.Contains(err.Error(), "UPSTREAM_PROXY: "+strconv.Quote(shown)+"; allowed: ") || shown != given && strings.Contains(err.Error(), given) {
			t.Errorf("%q: %v", given, err)
		}
	}
	for _, given := range []string{"https://user:pw%zz77@x", "user:pw77@x", "https://user:p pw77@x"} {
		_, err := config.Settings{PublicURL: given, NeonpanelIssuer: given, JWKSURL: given, OTLPEndpoint: given}.Validate()
		if err == nil || strings.Contains(err.Error(), "77") || !strings.Contains(err.Error(), "xxxxx@x") {
			t.Errorf("%q: %v", given, err)
		}
	}
}

func TestAudiencesAreProperURIs(t *testing.T) {
	t.Parallel()
	for given, ok := range map[string]bool{
		"https://api.example.com/x": true, "urn:example:api": true, "api://6731": true, "client-9": true, "any": true, "any,https://x": true, "": true,
		"https://x#y": false, "https://x#": false, "https://": false, "https:": false, "https://a b": false, "client,https://x:port": false, "https://%zz": false,
	} {
		_, err := config.Settings{PublicURL: "https://mcp.example.com", Audiences: given}.Validate()
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "AUTHZ_AUDIENCES: ") {
			t.Errorf("%q: %v", given, err)
		}
	}
}

func TestPublicURL(t *testing.T) {
	t.Parallel()
	for given, ok := range map[string]bool{
		"https://mcp.neonpanel.com": true, "https://mcp.neonpanel.com:8443": true, "http://127.0.0.1:8080": true,
		"http://localhost:8080": true, "http://[::1]:8080": true,
		"": false, "https://mcp.neonpanel.com/": false, "https://mcp.neonpanel.com/mcp": false, "https://MCP.neonpanel.com": false,
		"https://mcp.neonpanel.com:443": false, "http://mcp.neonpanel.com": false, "mcp.neonpanel.com": false, "https://": false,
		"https://mcp.neonpanel.com?x": false, "https://mcp.neonpanel.com#x": false, "https://user@mcp.neonpanel.com": false,
		`https://mcp.neonpanel.com"`: false, "https://mcp neonpanel.com": false, "ftp://mcp.neonpanel.com": false, "http://127.0.0.1.example.com": false,
	} {
		c, err := config.Settings{PublicURL: given}.Validate()
		if (err == nil) != ok || (ok && c.PublicURL != given) {
			t.Errorf("%q: %v, want ok %v", given, err, ok)
		}
	}
}

func TestNormalFormIsProposed(t *testing.T) {
	t.Parallel()
	for given, normal := range map[string]string{
		"https://MCP.neonpanel.com/": "https://mcp.neonpanel.com", "https://mcp.neonpanel.com:443": "https://mcp.neonpanel.com",
		"http://[::1]:80": "http://[::1]",
	} {
		_, err := config.Settings{PublicURL: given}.Validate()
		if err == nil || !strings.HasSuffix(err.Error(), "write it as "+normal) {
			t.Errorf("%q: %v, want %s proposed", given, err, normal)
		}
	}
}

func TestIssuerIsTakenAsItIsWritten(t *testing.T) {
	t.Parallel()
	for given, ok := range map[string]bool{
		"https://my.neonpanel.com": true, "https://my.neonpanel.com/": true, "https://my.neonpanel.com/tenant": true, "http://127.0.0.1:9090": true,
		"http://my.neonpanel.com": false, "https://my.neonpanel.com?x=y": false, "https://my.neonpanel.com#x": false, "https://u@my.neonpanel.com": false,
	} {
		s := least()
		s.NeonpanelIssuer = given
		c, err := s.Validate()
		if (err == nil) != ok || (ok && c.Issuer != given) {
			t.Errorf("%q: %v, want ok %v", given, err, ok)
		}
	}
}

func TestAnyAudienceKeepsTheURLs(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]int{"any": 4, "any,https://other.example": 1} {
		s := least()
		s.Audiences = given
		c, err := s.Validate()
		if err != nil || !c.AnyAudience || len(c.Audiences) != want || slices.Contains(c.Audiences, "any") {
			t.Errorf("%q: %+v, %v", given, c.Audiences, err)
		}
		if len(c.Warnings()) != 1 || !strings.Contains(c.Warnings()[0], "AUTHZ_AUDIENCES=any") {
			t.Errorf("%q: warnings %q", given, c.Warnings())
		}
	}
}

func TestEverySettingThatGivesUpSafetyIsWarnedAbout(t *testing.T) {
	t.Parallel()
	s := least()
	s.Audiences, s.AudienceMode, s.AllowMissingIssuer, s.ScopeMode = "any", "report", "true", "off"
	c, err := s.Validate()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(c.Warnings(), "\n")
	for _, setting := range []string{"AUTHZ_AUDIENCES", "AUTHZ_AUDIENCE_MODE", "AUTHZ_ALLOW_MISSING_ISSUER", "AUTHZ_SCOPE_MODE"} {
		if !strings.Contains(text, setting) {
			t.Errorf("no warning names %s", setting)
		}
	}
}

func TestSecretFileIsReadAnew(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	s := least()
	s.IntrospectionClientID, s.IntrospectionClientSecretFile = "gateway", file
	c, err := s.Validate()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second"} {
		write(want + "\n")
		if got, err := c.Introspection.ClientSecret(); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	// In the middle of being replaced, or gone: the last good one stays.
	write("\n")
	if got, err := c.Introspection.ClientSecret(); got != "second" || err != nil {
		t.Errorf("an empty file gave %q, %v", got, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Introspection.ClientSecret(); got != "second" || err != nil {
		t.Errorf("a missing file gave %q, %v", got, err)
	}
	write("third!")
	if got, err := c.Introspection.ClientSecret(); got != "third!" || err != nil {
		t.Errorf("the file back again gave %q, %v", got, err)
	}
	// Of the same length and, on a coarse clock, of the same time.
	write("fourth")
	if got, err := c.Introspection.ClientSecret(); got != "fourth" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A proxy's URL may hold a password, so it has a file form as well.
func TestProxyFileIsReadAnew(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "proxy")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := least()
	if c, err := s.Validate(); err != nil || c.Proxy != nil {
		t.Errorf("without one: %v", err)
	}
	s.UpstreamProxy = "http://proxy.internal:3128"
	if c, err := s.Validate(); err != nil {
		t.Error(err)
	} else if u, err := c.Proxy(); err != nil || u.String() != s.UpstreamProxy {
		t.Errorf("%v, %v", u, err)
	}
	write("http://user:hunter2@first:3128\n")
	s.UpstreamProxyFile = file
	if _, err := s.Validate(); err == nil || !strings.Contains(err.Error(), "UPSTREAM_PROXY: both it and UPSTREAM_PROXY_FILE are set") {
		t.Error(err)
	}
	s.UpstreamProxy = ""
	c, err := s.Validate()
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ file, host string }{
		{"http://user:hunter2@first:3128", "first:3128"}, {"http://user:hunter3@second:3128\n", "second:3128"},
		// What is no URL of a proxy leaves the last good one in force.
		{"", "second:3128"}, {"second", "second:3128"}, {" https://third ", "third"},
	} {
		write(step.file)
		if u, err := c.Proxy(); err != nil || u.Host != step.host {
			t.Errorf("%q: %v, %v", step.file, u, err)
		}
	}
	write("socks4://user:hunter2@proxy")
	if _, err := s.Validate(); err == nil || !strings.Contains(err.Error(), "UPSTREAM_PROXY_FILE: ") || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

func TestSecretFileThatIsNoneIsAFault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": " \n", "long": strings.Repeat("x", 64<<10+1), "text": "hunter2"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s := least()
		s.IntrospectionClientID, s.IntrospectionKeyFile = "gateway", file
		if _, err := s.Validate(); err == nil || !strings.Contains(err.Error(), "AUTHZ_INTROSPECTION_KEY_FILE: ") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s as a key: %v", name, err)
		}
		s.IntrospectionKeyFile, s.IntrospectionClientSecretFile = "", file
		if _, err := s.Validate(); (err == nil) != (name == "text") {
			t.Errorf("%s as a secret: %v", name, err)
		}
	}
}

// Where the name of a file should be, the secret itself may stand by mistake.
func TestASecretInThePlaceOfItsFileIsNotShown(t *testing.T) {
	t.Parallel()
	fields := map[string]func(*config.Settings) *string{
		"UPSTREAM_PROXY_FILE":                    func(s *config.Settings) *string { return &s.UpstreamProxyFile },
		"AUTHZ_INTROSPECTION_CLIENT_SECRET_FILE": func(s *config.Settings) *string { return &s.IntrospectionClientSecretFile },
		"AUTHZ_INTROSPECTION_KEY_FILE":           func(s *config.Settings) *string { return &s.IntrospectionKeyFile },
		"AUTHZ_REDIS_URL_FILE":                   func(s *config.Settings) *string { return &s.RedisURLFile },
		"AUTHZ_REDIS_SECRET_FILE":                func(s *config.Settings) *string { return &s.RedisSecretFile },
		"AUTHZ_TLS_KEY":                          func(s *config.Settings) *string { return &s.TLSKey },
	}
	for setting, field := range fields {
		for _, given := range []string{
			"hunter2", "http://user:hunter2@proxy:3128", "/hunter2/hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
			"hunter2\x00", strings.Repeat("hunter2", 1000),
		} {
			// Alone, and beside the other form of the secret.
			for _, both := range []bool{false, true} {
				s := least()
				s.IntrospectionClientID = "gateway"
				if both {
					s.UpstreamProxy, s.IntrospectionClientSecret, s.RedisURL, s.RedisSecret = "http://proxy:3128", "x", "redis://127.0.0.1", strings.Repeat("x", 32)
				}
				*field(&s) = given
				_, err := s.Validate()
				if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), setting+": names no file") ||
					!strings.Contains(err.Error(), "give the path of the file") {
					t.Errorf("%s=%.60q: %.600v", setting, given, err)
				}
			}
		}
	}
}

func TestABlankSecretIsAFault(t *testing.T) {
	t.Parallel()
	s := least()
	s.IntrospectionClientID, s.IntrospectionClientSecret = "gateway", "  "
	if _, err := s.Validate(); err == nil || !strings.Contains(err.Error(), "AUTHZ_INTROSPECTION_CLIENT_SECRET: is blank") {
		t.Error(err)
	}
}

func TestAQueryInAFaultyURLIsNotRepeated(t *testing.T) {
	t.Parallel()
	s := least()
	s.JWKSURL, s.IntrospectionURL = "http://keys.example/jwks?api_key=hunter2", "http://x.example/?a@b=hunter2"
	if _, err := s.Validate(); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "http://keys.example/jwks?xxxxx") {
		t.Error(err)
	}
}

// A kill switch with a fault is found with all other faults, and nothing starts
// without it.
func TestBrokenDenyFileIsAFaultAmongOthers(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "deny.yaml")
	for text, good := range map[string]bool{`subjects: ["46"]`: true, "": true, `subject: ["46"]`: false, `subjects: [`: false, `issued_before: soon`: false} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := least()
		s.DenyFile, s.Leeway = file, "long"
		_, err := s.Validate()
		if err == nil || !strings.Contains(err.Error(), "\n  AUTHZ_LEEWAY: ") {
			t.Fatalf("%q: %v", text, err)
		}
		if found := strings.Contains(err.Error(), "\n  AUTHZ_DENY_FILE: "); found == good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSettingsThatNeedEachOther(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*config.Settings)
		fault  string
	}{
		"a secret without its client": {func(s *config.Settings) { s.IntrospectionClientSecret = "x" }, "AUTHZ_INTROSPECTION_CLIENT_ID: "},
		"a client without its secret": {func(s *config.Settings) { s.IntrospectionClientID = "x" }, "AUTHZ_INTROSPECTION_CLIENT_SECRET: "},
		"an endpoint without client":  {func(s *config.Settings) { s.IntrospectionURL = "https://my.example.com/i" }, "AUTHZ_INTROSPECTION_CLIENT_ID: "},
		"a key without its client":    {func(s *config.Settings) { s.IntrospectionKeyFile = "/dev/null" }, "AUTHZ_INTROSPECTION_CLIENT_ID: "},
		"a key and a secret": {func(s *config.Settings) {
			s.IntrospectionClientID, s.IntrospectionClientSecret, s.IntrospectionKeyFile = "x", "y", "/dev/null"
		}, "AUTHZ_INTROSPECTION_KEY_FILE: "},
		"an audience without its key": {func(s *config.Settings) { s.IntrospectionKeyAudience = "x" }, "AUTHZ_INTROSPECTION_KEY_AUDIENCE: "},
		"JWTs introspected by nobody": {func(s *config.Settings) { s.IntrospectJWT = "true" }, "AUTHZ_INTROSPECTION_CLIENT_ID: "},
		"opaque without client":       {func(s *config.Settings) { s.TokenMode = "opaque" }, "AUTHZ_INTROSPECTION_CLIENT_ID: "},
		"two listeners, one address": {func(s *config.Settings) {
			s.DiscoveryListen = s.OpsListen
			s.OpsListen = "127.0.0.1:9000"
			s.Listen = "localhost:9000"
		}, "AUTHZ_OPS_LISTEN: "},
		"a listener for others without TLS": {func(s *config.Settings) { s.Listen = "0.0.0.0:9000" }, "AUTHZ_LISTEN: "},
		"documents for others without TLS":  {func(s *config.Settings) { s.DiscoveryListen = "192.0.2.1:9000" }, "AUTHZ_DISCOVERY_LISTEN: "},
		"operations for others without TLS": {func(s *config.Settings) { s.OpsListen = "unix:/run/ops.sock,[::]:9101" }, "AUTHZ_OPS_LISTEN: "},
		"one address twice for operations":  {func(s *config.Settings) { s.OpsListen = "127.0.0.1:1,localhost:1" }, "AUTHZ_OPS_LISTEN: "},
		"no address for operations":         {func(s *config.Settings) { s.OpsListen = "," }, "AUTHZ_OPS_LISTEN: "},
		"a certificate without authorities": {func(s *config.Settings) { s.TLSCert, s.TLSKey = "/dev/null", "/dev/null" }, "AUTHZ_TLS_CLIENT_CA: "},
		"authorities without a certificate": {func(s *config.Settings) { s.TLSClientCA = "/dev/null" }, "AUTHZ_TLS_CERT: "},
		"names of peers without TLS":        {func(s *config.Settings) { s.TLSClientSANs = "envoy" }, "AUTHZ_TLS_KEY: "},
		"stale before the refresh":          {func(s *config.Settings) { s.KeysMaxStale = "1m" }, "AUTHZ_KEYS_MAX_STALE: "},
		"a scope nobody can obtain":         {func(s *config.Settings) { s.Scopes, s.RequiredScopes = "a,b", "c" }, "AUTHZ_REQUIRED_SCOPES: "},
	} {
		s := least()
		c.change(&s)
		_, err := s.Validate()
		if err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v, want a fault of %s", name, err, c.fault)
		}
	}
}

func TestTLSOpensListenersToOthers(t *testing.T) {
	t.Parallel()
	ca, dir := mtlstest.New(t), t.TempDir()
	files := mtlstest.Write(t, dir, ca.Issue(t, []string{"authz.internal"}), ca.PEM)
	s := least()
	s.Listen, s.DiscoveryListen, s.OpsListen = "0.0.0.0:9000", "[::]:9001", "127.0.0.1:9101, 192.0.2.1:9101"
	s.TLSCert, s.TLSKey, s.TLSClientCA = files.Cert, files.Key, files.ClientCA
	c, err := s.Validate()
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen.Local() || c.DiscoveryListen.Local() || len(c.OpsListen) != 2 || c.TLS == nil || c.TLS.Cert != files.Cert {
		t.Errorf("%+v", c)
	}
	if text := strings.Join(c.Warnings(), "\n"); !strings.Contains(text, "AUTHZ_TLS_CLIENT_SANS") {
		t.Errorf("that any certificate will do is not warned about: %q", text)
	}

	names := "envoy.internal,spiffe://example.org/ns/neonpanel/sa/envoy,192.0.2.1,2001:db8::1,envoy"
	s.TLSClientSANs = names
	if c, err = s.Validate(); err != nil || strings.Join(c.TLS.ClientSANs, ",") != names || len(c.Warnings()) != 0 {
		t.Errorf("%+v, %v, %q", c.TLS, err, c.Warnings())
	}
	for _, name := range []string{"*", "*.internal", "a b", "envoy.internal.", "https://", "/etc/passwd", "2001:DB8::1", "CN=envoy", "-x"} {
		s.TLSClientSANs = name
		if _, err := s.Validate(); err == nil || !strings.Contains(err.Error(), "AUTHZ_TLS_CLIENT_SANS: ") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestFlagsAndVariablesShareTheirNames keeps --authz-listen ⇔ AUTHZ_LISTEN.
func TestFlagsAndVariablesShareTheirNames(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&struct{ config.Settings }{})
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range parser.Model.Flags {
		if flag.Name == "help" {
			continue
		}
		want := strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		if !slices.Equal(flag.Envs, []string{want}) || flag.Help == "" {
			t.Errorf("--%s: variables %v, want %s; help %q", flag.Name, flag.Envs, want, flag.Help)
		}
	}
}
