package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/neonpanel/mcp-gateway/authz/internal/check"
	"github.com/neonpanel/mcp-gateway/authz/internal/listen"
	"github.com/neonpanel/mcp-gateway/authz/internal/mtls"
	"github.com/neonpanel/mcp-gateway/authz/internal/mtlstest"
)

func at(t *testing.T, address string) listen.Address {
	t.Helper()
	a, err := listen.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWhichListenersNeedACertificate(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]struct{ data, operations bool }{
		"unix:/run/x.sock": {false, false},
		"127.0.0.1:1":      {true, false},
		"[::1]:1":          {true, false},
		"0.0.0.0:1":        {true, true},
		"192.0.2.1:1":      {true, true},
	} {
		o := Options{TLS: &mtls.Authority{}}
		if got := o.protected(at(t, address), false); got != want.data {
			t.Errorf("%s: %v", address, got)
		}
		if got := o.protected(at(t, address), true); got != want.operations {
			t.Errorf("operations at %s: %v", address, got)
		}
		if (Options{}).protected(at(t, address), false) {
			t.Errorf("%s: protected by nothing", address)
		}
	}
}

func TestListenersOnTCPLetInOnlyPeersWithACertificate(t *testing.T) {
	t.Parallel()
	const name = "authz.internal"
	ca, other, dir := mtlstest.New(t), mtlstest.New(t), t.TempDir()
	files := mtlstest.Write(t, dir, ca.Issue(t, []string{name}), ca.PEM)
	log := slog.New(slog.DiscardHandler)
	authority, err := mtls.New(mtls.Options{Cert: files.Cert, Key: files.Key, ClientCA: files.ClientCA}, time.Now, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := New(ctx, Options{
		Check:     check.New(nil, nil, log),
		Discovery: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "documents") }),
		Ops:       http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "operations") }),
		Listen:    at(t, "127.0.0.1:0"), DiscoveryListen: at(t, "127.0.0.1:0"),
		OpsListen: []listen.Address{at(t, "127.0.0.1:0"), at(t, "unix:"+filepath.Join(dir, "ops.sock"))},
		TLS:       authority, Ready: func() error { return errors.New("never") }, OnReady: func() {}, Drain: time.Second, Log: log,
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	questions, documents, operations := s.Addresses()

	ask := func(how credentials.TransportCredentials) error {
		conn, err := grpc.NewClient(questions.String(), grpc.WithTransportCredentials(how))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
		return err
	}
	get := func(url string, how *tls.Config) (string, error) {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: how, ForceAttemptHTTP2: true}}
		response, err := client.Get(url)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if response.StatusCode != http.StatusOK {
			err = errors.New(response.Status)
		}
		return string(body), err
	}
	for who, c := range map[string]struct {
		config *tls.Config
		ok     bool
	}{
		"a peer of the authority":    {ca.Client(t, name, ca.Issue(t, nil)), true},
		"a peer without certificate": {ca.Client(t, name), false},
		"a peer of another":          {ca.Client(t, name, other.Issue(t, nil)), false},
	} {
		if err := ask(credentials.NewTLS(c.config)); (err == nil) != c.ok {
			t.Errorf("%s asks: %v", who, err)
		}
		if text, err := get("https://"+documents.String(), c.config); (err == nil) != c.ok || (text == "documents") != c.ok {
			t.Errorf("%s reads %q, %v", who, text, err)
		}
	}
	if err := ask(insecure.NewCredentials()); err == nil {
		t.Error("a question without TLS was answered")
	}
	if text, err := get("http://"+documents.String(), nil); err == nil {
		t.Errorf("without TLS: %q", text)
	}
	if text, err := get("http://"+operations[0].String(), nil); err != nil || text != "operations" {
		t.Errorf("a probe on loopback: %q, %v", text, err)
	}
}
