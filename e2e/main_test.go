// Package e2e proves the whole gateway: the real binaries, the real Envoy and a
// local NeonPanel.
package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/browser"
	"github.com/neonpanel/mcp-gateway/e2e/internal/clients"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

const (
	sellerOne = "seller-one@example.com"
	sellerTwo = "seller-two@example.com"
	password  = "demo"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.gateway != nil {
		if err := shared.gateway.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the shared gateway:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// root is the directory of the repository.
func root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func binaries(t testing.TB) string {
	if dir := os.Getenv("STACK_BIN"); dir != "" {
		return dir
	}
	return filepath.Join(root(t), "bin")
}

// A gateway is a running stack and what the tests do with it.
type gateway struct {
	*stack.Stack
	client *http.Client
}

func start(t testing.TB, opts stack.Options) (*gateway, error) {
	if opts.Bin == "" {
		opts.Bin = binaries(t)
	}
	// All tests are the same few users; what a test sets itself comes later, and wins.
	opts.Env = maps.Clone(opts.Env)
	if opts.Env == nil {
		opts.Env = map[string][]string{}
	}
	opts.Env["envoyconf"] = append([]string{"EDGE_SUBJECT_RATE=1000000", "EDGE_SUBJECT_BURST=1000000"}, opts.Env["envoyconf"]...)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &gateway{Stack: s, client: &http.Client{
		Timeout:       2 * time.Minute,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 16},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// ownGateway starts a gateway for one test, which may do to it what it wants.
func ownGateway(t *testing.T, opts stack.Options) *gateway {
	t.Helper()
	g, err := start(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.showLogs(t)
		g.client.CloseIdleConnections()
		if err := g.Stop(); err != nil {
			t.Error("stopping the gateway:", err)
		}
	})
	return g
}

var shared struct {
	once    sync.Once
	gateway *gateway
	err     error
}

// sharedGateway returns the one that tests use which change nothing for others.
func sharedGateway(t *testing.T) *gateway {
	t.Helper()
	shared.once.Do(func() {
		shared.gateway, shared.err = start(t, stack.Options{Env: map[string][]string{
			// The tests come from one address, and most of what they send is refused.
			stack.Authz: {"AUTHZ_REFUSED_BURST=100000"},
		}})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	t.Cleanup(func() { shared.gateway.showLogs(t) })
	return shared.gateway
}

// showLogs shows the end of every part's log when the test has failed.
func (g *gateway) showLogs(t *testing.T) {
	if !t.Failed() {
		return
	}
	for _, part := range []string{stack.SandboxPart, stack.Authz, stack.Backend, stack.Envoy} {
		data, err := os.ReadFile(g.LogFile(part))
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		t.Logf("%s:\n%s", part, strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

// token mints an access token of the account.
func (g *gateway) token(t testing.TB, account string) string {
	t.Helper()
	return g.mint(t, stack.TokenRequest{Account: account})
}

func (g *gateway) mint(t testing.TB, r stack.TokenRequest) string {
	t.Helper()
	token, err := g.Sandbox.Token(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// A reply is an HTTP response that has been read.
type reply struct {
	Status int
	Header http.Header
	Body   string
}

// send makes a request of the edge; headers are pairs of name and value. A
// header named Host sets the host.
func (g *gateway) send(t testing.TB, method, path, body string, headers ...string) reply {
	t.Helper()
	r, err := g.trySend(t.Context(), method, path, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func (g *gateway) trySend(ctx context.Context, method, path, body string, headers ...string) (reply, error) {
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, g.URL+path, in)
	if err != nil {
		return reply{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		} else {
			req.Header.Add(headers[i], headers[i+1])
		}
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	return reply{Status: resp.StatusCode, Header: resp.Header, Body: string(data)}, nil
}

// user is a person with the account.
func user(account string) browser.User {
	return browser.User{Email: account, Password: password}
}

func installer(t *testing.T) clients.Installer {
	return clients.Installer{
		Source:   filepath.Join(root(t), "e2e", "clients"),
		Cache:    filepath.Join(root(t), ".cache"),
		Progress: t.Logf,
	}
}
