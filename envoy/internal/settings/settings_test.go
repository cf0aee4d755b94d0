package settings_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
)

// parse reads the environment as the command does.
func parse(t *testing.T, env map[string]string) (settings.Edge, error) {
	t.Helper()
	var s settings.Settings
	for name, value := range env {
		t.Setenv(name, value)
	}
	parser, err := kong.New(&s, kong.Exit(func(int) { t.Fatal("kong exits") }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(nil); err != nil {
		t.Fatalf("kong stops at the first fault: %v", err)
	}
	return s.Parse()
}

func TestDefaults(t *testing.T) {
	got, err := parse(t, map[string]string{"PUBLIC_URL": "https://mcp.neonpanel.com/"})
	if err != nil {
		t.Fatal(err)
	}
	want := settings.Edge{
		PublicURL:      "https://mcp.neonpanel.com",
		Hosts:          []string{"mcp.neonpanel.com"},
		Listen:         settings.Address{IP: netip.MustParseAddr("0.0.0.0"), Port: 8080},
		AnyOrigin:      true,
		MaxBody:        4 << 20,
		MaxConnections: 10000,
		MaxHeap:        1 << 30,
		Subject:        settings.Limit{PerSecond: 20, Burst: 100},
		Authz:          settings.Address{Path: "/run/neonpanel/authz/authz.sock"},
		Discovery:      settings.Address{Path: "/run/neonpanel/authz/discovery.sock"},
		Backend:        settings.Address{Path: "/run/neonpanel/mcpbackend/mcpbackend.sock"},
		NodeID:         "neonpanel-mcp-edge",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		env   map[string]string
		check func(settings.Edge) any
		want  any
	}{
		"loopback names count as one": {
			map[string]string{"PUBLIC_URL": "http://127.0.0.1:8080"},
			func(e settings.Edge) any { return e.Hosts }, []string{"127.0.0.1", "localhost", "[::1]"},
		},
		"a loopback name among the further hosts brings the others": {
			map[string]string{"EDGE_HOSTS": "localhost"},
			func(e settings.Edge) any { return e.Hosts }, []string{"mcp.example.com", "localhost", "127.0.0.1", "[::1]"},
		},
		"hosts are canonical and unique": {
			map[string]string{"EDGE_HOSTS": " A.Example.Com , a.example.com,mcp.example.com, ::2, b_c.example."},
			func(e settings.Edge) any { return e.Hosts }, []string{"mcp.example.com", "a.example.com", "[::2]", "b_c.example"},
		},
		"an IPv6 public URL": {
			map[string]string{"PUBLIC_URL": "http://[::1]:8080"},
			func(e settings.Edge) any { return e.PublicURL }, "http://[::1]:8080",
		},
		"a default port is left out, as browsers do": {
			map[string]string{"PUBLIC_URL": "https://MCP.example.com:443"},
			func(e settings.Edge) any { return e.PublicURL }, "https://mcp.example.com",
		},
		"a list of origins includes the gateway's own": {
			map[string]string{"EDGE_CORS_ORIGINS": "https://chatgpt.com, http://localhost:6274,https://chatgpt.com"},
			func(e settings.Edge) any { return e.Origins },
			[]string{"https://mcp.example.com", "https://chatgpt.com", "http://localhost:6274"},
		},
		"listening on IPv6": {
			map[string]string{"EDGE_LISTEN": "[::]:8443"},
			func(e settings.Edge) any { return e.Listen }, settings.Address{IP: netip.MustParseAddr("::"), Port: 8443},
		},
		"an upstream on TCP loopback": {
			map[string]string{"EDGE_BACKEND": "localhost:9001"},
			func(e settings.Edge) any { return e.Backend }, settings.Address{IP: netip.MustParseAddr("127.0.0.1"), Port: 9001},
		},
		"TLS to upstreams elsewhere": {
			upstreamTLS("EDGE_AUTHZ", "10.0.0.1:9000", "EDGE_DISCOVERY", "[2001:db8::1]:9001", "EDGE_BACKEND", "MCPbackend.internal.:9002", "EDGE_AUTHZ_SAN", "spiffe://example.org/authz"),
			func(e settings.Edge) any { return []any{*e.UpstreamTLS, e.Authz, e.Discovery, e.Backend} },
			[]any{
				settings.UpstreamTLS{Cert: "/c.pem", Key: "/k.pem", CA: "/ca.pem", SDS: "/run/neonpanel/envoy", Authz: "spiffe://example.org/authz", Backend: "mcpbackend.internal"},
				settings.Address{IP: netip.MustParseAddr("10.0.0.1"), Port: 9000}, settings.Address{IP: netip.MustParseAddr("2001:db8::1"), Port: 9001},
				settings.Address{Name: "mcpbackend.internal", Port: 9002},
			},
		},
		"TLS to an upstream on loopback": {
			upstreamTLS("EDGE_BACKEND", "127.0.0.1:9002", "EDGE_BACKEND_SAN", "192.0.2.1"),
			func(e settings.Edge) any { return []any{e.UpstreamTLS.Backend, e.UpstreamTLS.Authz} }, []any{"192.0.2.1", ""},
		},
		"the name of the documents' host is authz's": {
			upstreamTLS("EDGE_DISCOVERY", "authz.internal:9001"),
			func(e settings.Edge) any { return e.UpstreamTLS.Authz }, "authz.internal",
		},
		"a limit service": {
			map[string]string{"EDGE_RATELIMIT": "unix:/run/neonpanel/ratelimit/ratelimit.sock", "EDGE_SUBJECT_RATE": "5", "EDGE_SUBJECT_BURST": "5"},
			func(e settings.Edge) any { return []any{*e.RateLimit, e.Subject} },
			[]any{settings.Address{Path: "/run/neonpanel/ratelimit/ratelimit.sock"}, settings.Limit{PerSecond: 5, Burst: 5}},
		},
		"a limit service elsewhere": {
			upstreamTLS("EDGE_RATELIMIT", "ratelimit.internal:8081"),
			func(e settings.Edge) any { return []any{*e.RateLimit, e.UpstreamTLS.RateLimit} },
			[]any{settings.Address{Name: "ratelimit.internal", Port: 8081}, "ratelimit.internal"},
		},
		"traces": {
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://[2001:db8::1]/otlp/", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem", "OTEL_SERVICE_NAME": "edge-1", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
			func(e settings.Edge) any { return *e.Tracing },
			settings.Tracing{
				URL: "https://[2001:db8::1]/otlp/v1/traces", Collector: settings.Address{IP: netip.MustParseAddr("2001:db8::1"), Port: 443},
				CA: "/ca.pem", Service: "edge-1", Percent: 25,
			},
		},
		"traces by their defaults": {
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
			func(e settings.Edge) any { return *e.Tracing },
			settings.Tracing{URL: "http://collector:4318/v1/traces", Collector: settings.Address{Name: "collector", Port: 4318}, Service: "neonpanel-mcp-edge", Percent: 100},
		},
		"sizes": {
			map[string]string{"EDGE_MAX_BODY": "512KiB"},
			func(e settings.Edge) any { return e.MaxBody }, uint64(512 << 10),
		},
		"sizes in bytes": {
			map[string]string{"EDGE_MAX_BODY": "65536"},
			func(e settings.Edge) any { return e.MaxBody }, uint64(65536),
		},
		"TLS": {
			map[string]string{"EDGE_TLS_CERT": "/c.pem", "EDGE_TLS_KEY": "/k.pem"},
			func(e settings.Edge) any { return *e.TLS }, settings.TLS{Cert: "/c.pem", Key: "/k.pem", SDS: "/run/neonpanel/envoy/tls.yaml"},
		},
		"HTTP/3 at the usual port": {
			map[string]string{"EDGE_TLS_CERT": "/c.pem", "EDGE_TLS_KEY": "/k.pem", "EDGE_HTTP3": "true"},
			func(e settings.Edge) any { return *e.HTTP3 }, settings.HTTP3{Port: 443},
		},
		"HTTP/3 where clients see it": {
			map[string]string{"EDGE_TLS_CERT": "/c.pem", "EDGE_TLS_KEY": "/k.pem", "EDGE_HTTP3": "1", "PUBLIC_URL": "https://mcp.example.com:8443", "EDGE_LISTEN": "0.0.0.0:9443"},
			func(e settings.Edge) any { return *e.HTTP3 }, settings.HTTP3{Port: 8443},
		},
		"admin": {
			map[string]string{"EDGE_ADMIN": "127.0.0.1:9901"},
			func(e settings.Edge) any { return *e.Admin }, settings.Address{IP: netip.MustParseAddr("127.0.0.1"), Port: 9901},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, ok := c.env["PUBLIC_URL"]; !ok {
				c.env["PUBLIC_URL"] = "https://mcp.example.com"
			}
			edge, err := parse(t, c.env)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.check(edge); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for setting, values := range map[string][]string{
		"PUBLIC_URL": {
			"", "mcp.example.com", "ftp://mcp.example.com", "https://", "https://mcp.example.com/mcp", "https://u:p@mcp.example.com", "https://mcp.example.com?",
			"https://mcp.example.com#x", "http://mcp.example.com", "https://mcp.example.com:", "https://mcp.example.com:0", "https://mcp.example.com:70000",
			"https://mcp example.com", "https://*.example.com", "https://-", "://",
		},
		"EDGE_LISTEN":          {"", "8080", ":8080", "example.com:8080", "0.0.0.0", "0.0.0.0:70000", "unix:/x"},
		"EDGE_HOSTS":           {"https://a.example", "a.example:80", "*.example.com", "a b"},
		"EDGE_CORS_ORIGINS":    {"", ",", "*,https://a.example", "https://*.example.com", "https://a.example/x", "null", "chatgpt.com"},
		"EDGE_TRUSTED_HOPS":    {"", "-1", "x", "17", "1.5"},
		"EDGE_HTTP3":           {"", "yes", "on", "true", "443"},
		"EDGE_MAX_BODY":        {"", "4MB", "-1", "1023", "2GiB", "MiB", "99999999999GiB"},
		"EDGE_MAX_CONNECTIONS": {"0", "1000001", "many"},
		"EDGE_MAX_HEAP":        {"1MiB", "lots"},
		"EDGE_SUBJECT_RATE":    {"", "0", "-1", "0.5", "1000001", "off"},
		"EDGE_SUBJECT_BURST":   {"", "0", "19", "1000001"},
		"EDGE_RATELIMIT":       {"ratelimit", "10.0.0.1:8081", "ratelimit:8081", "unix:x", "127.0.0.1:0"},
		"EDGE_RATELIMIT_SAN":   {"ratelimit.internal"},
		"EDGE_AUTHZ":           {"", "unix:", "unix:run/x.sock", "unix:/a/../b", "10.0.0.1:80", "authz:9001", "127.0.0.1:0", "unix:/" + strings.Repeat("x", 107)},
		"EDGE_DISCOVERY":       {"0.0.0.0:80"},
		"EDGE_BACKEND":         {"[::]:80"},
		"EDGE_ADMIN":           {"0.0.0.0:9901"},
		"EDGE_NODE_ID":         {"", "a b", "x\n"},
	} {
		for _, value := range values {
			t.Run(setting+"="+value, func(t *testing.T) {
				env := map[string]string{"PUBLIC_URL": "https://mcp.example.com"}
				env[setting] = value
				_, err := parse(t, env)
				switch {
				case err == nil:
					t.Error("accepted")
				case !strings.HasPrefix(err.Error(), setting+": "):
					t.Errorf("the fault does not name the setting first: %v", err)
				}
			})
		}
	}
}

func TestHTTP3BehindAProxyIsRefused(t *testing.T) {
	_, err := parse(t, map[string]string{
		"PUBLIC_URL": "https://mcp.example.com", "EDGE_TLS_CERT": "/c.pem", "EDGE_TLS_KEY": "/k.pem", "EDGE_HTTP3": "true", "EDGE_TRUSTED_HOPS": "1",
	})
	if err == nil || !strings.HasPrefix(err.Error(), "EDGE_HTTP3: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}

func TestTLSNeedsBothFiles(t *testing.T) {
	for _, env := range []map[string]string{
		{"EDGE_TLS_CERT": "/c.pem"}, {"EDGE_TLS_KEY": "/k.pem"}, {"EDGE_TLS_CERT": "c.pem", "EDGE_TLS_KEY": "/k.pem"},
		{"EDGE_TLS_CERT": "/c.pem", "EDGE_TLS_KEY": "/k.pem", "EDGE_TLS_SDS": "tls.yaml"},
	} {
		t.Run("", func(t *testing.T) {
			env["PUBLIC_URL"] = "https://mcp.example.com"
			if _, err := parse(t, env); err == nil || !strings.HasPrefix(err.Error(), "EDGE_TLS_") {
				t.Errorf("%v: %v", env, err)
			}
		})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := parse(t, map[string]string{
		"PUBLIC_URL": "x", "EDGE_LISTEN": "x", "EDGE_HOSTS": "/", "EDGE_CORS_ORIGINS": "x", "EDGE_TRUSTED_HOPS": "x", "EDGE_TLS_CERT": "x",
		"EDGE_MAX_BODY": "x", "EDGE_MAX_CONNECTIONS": "x", "EDGE_MAX_HEAP": "x", "EDGE_AUTHZ": "x", "EDGE_DISCOVERY": "x", "EDGE_BACKEND": "x",
		"EDGE_ADMIN": "x", "EDGE_NODE_ID": "-", "EDGE_HTTP3": "x", "EDGE_SUBJECT_RATE": "x", "EDGE_SUBJECT_BURST": "x", "EDGE_RATELIMIT": "x",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, setting := range []string{
		"PUBLIC_URL", "EDGE_LISTEN", "EDGE_HOSTS", "EDGE_CORS_ORIGINS", "EDGE_TRUSTED_HOPS", "EDGE_TLS_CERT", "EDGE_TLS_KEY", "EDGE_MAX_BODY",
		"EDGE_MAX_CONNECTIONS", "EDGE_MAX_HEAP", "EDGE_AUTHZ", "EDGE_DISCOVERY", "EDGE_BACKEND", "EDGE_ADMIN", "EDGE_NODE_ID",
		"EDGE_SUBJECT_RATE", "EDGE_SUBJECT_BURST", "EDGE_RATELIMIT", "EDGE_HTTP3",
	} {
		if !strings.Contains("\n"+err.Error(), "\n"+setting+": ") {
			t.Errorf("%s is not among the faults:\n%v", setting, err)
		}
	}
}

// upstreamTLS is an environment with TLS to the upstreams, and more.
func upstreamTLS(more ...string) map[string]string {
	env := map[string]string{"EDGE_UPSTREAM_TLS_CERT": "/c.pem", "EDGE_UPSTREAM_TLS_KEY": "/k.pem", "EDGE_UPSTREAM_TLS_CA": "/ca.pem"}
	for i := 0; i < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return env
}

func TestUpstreamTLSIsWholeOrRefused(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		says []string
	}{
		"a certificate alone": {map[string]string{"EDGE_UPSTREAM_TLS_CERT": "/c.pem"}, []string{"EDGE_UPSTREAM_TLS_KEY", "EDGE_UPSTREAM_TLS_CA"}},
		"authorities alone":   {map[string]string{"EDGE_UPSTREAM_TLS_CA": "/ca.pem"}, []string{"EDGE_UPSTREAM_TLS_CERT", "EDGE_UPSTREAM_TLS_KEY"}},
		"relative paths":      {upstreamTLS("EDGE_UPSTREAM_TLS_CA", "ca.pem", "EDGE_UPSTREAM_TLS_SDS", "sds"), []string{"EDGE_UPSTREAM_TLS_CA", "EDGE_UPSTREAM_TLS_SDS"}},
		"no names":            {upstreamTLS("EDGE_DISCOVERY", "127.0.0.1:1", "EDGE_BACKEND", "10.0.0.1:1", "EDGE_RATELIMIT", "10.0.0.1:2"), []string{"EDGE_AUTHZ_SAN", "EDGE_BACKEND_SAN", "EDGE_RATELIMIT_SAN"}},
		"names that are none": {upstreamTLS("EDGE_AUTHZ_SAN", "*.internal", "EDGE_BACKEND_SAN", "a b"), []string{"EDGE_AUTHZ_SAN", "EDGE_BACKEND_SAN"}},
		"names without TLS":   {map[string]string{"EDGE_AUTHZ_SAN": "authz", "EDGE_BACKEND_SAN": "mcpbackend"}, []string{"EDGE_AUTHZ_SAN", "EDGE_BACKEND_SAN"}},
		"elsewhere without TLS": {map[string]string{"EDGE_AUTHZ": "10.0.0.1:1", "EDGE_DISCOVERY": "authz.internal:1", "EDGE_BACKEND": "[::]:1"},
			[]string{"EDGE_AUTHZ", "EDGE_DISCOVERY", "EDGE_BACKEND"}},
		"addresses that are none": {upstreamTLS("EDGE_AUTHZ", "1.2.3:1", "EDGE_DISCOVERY", "a b:1", "EDGE_BACKEND", "mcpbackend.internal:0"),
			[]string{"EDGE_AUTHZ", "EDGE_DISCOVERY", "EDGE_BACKEND"}},
		"an admin elsewhere": {upstreamTLS("EDGE_ADMIN", "admin.internal:9901"), []string{"EDGE_ADMIN"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.env["PUBLIC_URL"] = "https://mcp.example.com"
			_, err := parse(t, c.env)
			if err == nil {
				t.Fatal("accepted")
			}
			var named []string
			for line := range strings.SplitSeq(err.Error(), "\n") {
				setting, _, _ := strings.Cut(line, ": ")
				named = append(named, setting)
			}
			if !reflect.DeepEqual(named, c.says) {
				t.Errorf("faults of %q, want %q:\n%v", named, c.says, err)
			}
		})
	}
}

func TestTracingFaultsNameTheirSetting(t *testing.T) {
	const endpoint, ca, name, share = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER_ARG"
	for setting, environments := range map[string][]map[string]string{
		endpoint: {{endpoint: "collector:4318"}, {endpoint: "http://"}, {endpoint: "http://u:hunter2@c:1"}, {endpoint: "http://c:1/?x=hunter2"}, {endpoint: "grpc://c:1"}, {endpoint: "http://c:0"}, {endpoint: "http://c:99999"}, {endpoint: "http://1.2.3:1"}, {endpoint: "http://*.c:1"}},
		ca:       {{endpoint: "https://c"}, {endpoint: "https://c", ca: "ca.pem"}, {endpoint: "http://c", ca: "/ca.pem"}},
		name:     {{endpoint: "http://c", name: "a b"}},
		share:    {{endpoint: "http://c", share: "2"}, {endpoint: "http://c", share: "-0.1"}, {endpoint: "http://c", share: "NaN"}, {endpoint: "http://c", share: "half"}},
	} {
		for _, env := range environments {
			t.Run("", func(t *testing.T) {
				env["PUBLIC_URL"] = "https://mcp.example.com"
				_, err := parse(t, env)
				if err == nil || !strings.HasPrefix(err.Error(), setting+": ") || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%v: %v", env, err)
				}
			})
		}
	}
}

// FuzzParse: no value panics, and what is accepted cannot break out of the YAML or name a remote upstream.
func FuzzParse(f *testing.F) {
	f.Add("https://mcp.example.com", "0.0.0.0:8080", "a.example", "*", "4MiB", "unix:/run/x.sock")
	f.Add("http://[::1]:80", "[::]:1", "::1,[::2]", "https://a.example,http://b:1", "1024", "127.0.0.1:1")
	f.Fuzz(func(t *testing.T, publicURL, listen, hosts, origins, size, upstream string) {
		s := settings.Settings{
			PublicURL: publicURL, Listen: listen, Hosts: hosts, CORSOrigins: origins, TrustedHops: "0", HTTP3: "false", MaxBody: size,
			MaxConnections: "100", MaxHeap: "1GiB", SubjectRate: "20", SubjectBurst: "100", Authz: upstream, Discovery: upstream, Backend: upstream, NodeID: "x",
		}
		edge, err := s.Parse()
		if err != nil {
			return
		}
		if !edge.Backend.Local() || edge.Backend.Path == "" && !edge.Backend.IP.IsLoopback() {
			t.Errorf("remote upstream %v", edge.Backend)
		}
		s.UpstreamTLSCert, s.UpstreamTLSKey, s.UpstreamTLSCA, s.UpstreamTLSSDS, s.AuthzSAN, s.BackendSAN = "/c", "/k", "/ca", "/sds", hosts, hosts
		if edge, err = s.Parse(); err == nil && strings.ContainsAny(edge.UpstreamTLS.Backend+edge.Backend.Name, " \t\r\n\"'*") {
			t.Errorf("%q, %q were accepted", edge.UpstreamTLS.Backend, edge.Backend.Name)
		}
		for _, text := range append(append([]string{edge.PublicURL}, edge.Hosts...), edge.Origins...) {
			if strings.ContainsAny(text, " \t\r\n\"'%*") || text == "" {
				t.Errorf("%q was accepted", text)
			}
		}
	})
}
