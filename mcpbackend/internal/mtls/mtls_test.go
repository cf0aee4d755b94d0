package mtls_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mtls"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mtlstest"
)

const serverName = "server.internal"

// site is a server with its files, and what its peers need.
type site struct {
	ca        *mtlstest.Authority
	dir       string
	files     mtlstest.Files
	authority *mtls.Authority
	log       *bytes.Buffer
}

func newSite(t *testing.T, sans ...string) *site {
	t.Helper()
	s := &site{ca: mtlstest.New(t), dir: t.TempDir(), log: &bytes.Buffer{}}
	s.files = mtlstest.Write(t, s.dir, s.ca.Issue(t, []string{serverName}), s.ca.PEM)
	var err error
	s.authority, err = mtls.New(mtls.Options{Cert: s.files.Cert, Key: s.files.Key, ClientCA: s.files.ClientCA, ClientSANs: sans},
		time.Now, slog.New(slog.NewTextHandler(s.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// connect shakes hands and says what the server thinks of it, and
// whom the client met.
func (s *site) connect(t *testing.T, client *tls.Config) (peer *x509.Certificate, served error) {
	t.Helper()
	return s.connectTo(t, mtls.Named, client)
}

func (s *site) connectTo(t *testing.T, who mtls.Peers, client *tls.Config) (peer *x509.Certificate, served error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	from, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	deadline := time.Now().Add(time.Minute)
	from.SetDeadline(deadline)
	done := make(chan error, 1)
	go func() {
		at, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		at.SetDeadline(deadline)
		server := tls.Server(at, s.authority.Config(who, "http/1.1"))
		if err = server.Handshake(); err == nil {
			_, err = server.Write([]byte("x"))
		}
		at.Close()
		done <- err
	}()
	c := tls.Client(from, client)
	// In TLS 1.3 a client learns of its refusal with the first byte that it reads.
	_, err = io.ReadFull(c, make([]byte, 1))
	if served = <-done; (served == nil) != (err == nil) {
		t.Fatalf("the server says %v, the client %v", served, err)
	}
	if certs := c.ConnectionState().PeerCertificates; len(certs) > 0 {
		peer = certs[0]
	}
	return peer, served
}

func TestOnlyPeersWithAGoodCertificateAreLetIn(t *testing.T) {
	t.Parallel()
	plain := newSite(t)
	named := newSite(t, "envoy.internal", "spiffe://example.org/envoy", "192.0.2.7")
	other := mtlstest.New(t)
	expired := func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Now().Add(-time.Minute) }
	early := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	}
	forServers := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }

	for name, c := range map[string]struct {
		site   *site
		config *tls.Config
		ok     bool
	}{
		"any certificate of the authority":       {plain, plain.ca.Client(t, serverName, plain.ca.Issue(t, nil)), true},
		"none":                                   {plain, plain.ca.Client(t, serverName), false},
		"of another authority":                   {plain, plain.ca.Client(t, serverName, other.Issue(t, nil)), false},
		"expired":                                {plain, plain.ca.Client(t, serverName, plain.ca.Issue(t, nil, expired)), false},
		"not yet valid":                          {plain, plain.ca.Client(t, serverName, plain.ca.Issue(t, nil, early)), false},
		"for servers only":                       {plain, plain.ca.Client(t, serverName, plain.ca.Issue(t, nil, forServers)), false},
		"named by DNS, whatever its case":        {named, named.ca.Client(t, serverName, named.ca.Issue(t, []string{"other", "Envoy.Internal"})), true},
		"named by URI":                           {named, named.ca.Client(t, serverName, named.ca.Issue(t, []string{"spiffe://example.org/envoy"})), true},
		"named by IP address":                    {named, named.ca.Client(t, serverName, named.ca.Issue(t, []string{"192.0.2.7"})), true},
		"of another name":                        {named, named.ca.Client(t, serverName, named.ca.Issue(t, []string{"envoy.internal.example"})), false},
		"with a wildcard":                        {named, named.ca.Client(t, serverName, named.ca.Issue(t, []string{"*.internal"})), false},
		"without names":                          {named, named.ca.Client(t, serverName, named.ca.Issue(t, nil)), false},
		"of the right name, by another's hand":   {named, named.ca.Client(t, serverName, other.Issue(t, []string{"envoy.internal"})), false},
		"the right name as its common name only": {named, named.ca.Client(t, serverName, named.ca.Issue(t, nil, func(c *x509.Certificate) { c.Subject.CommonName = "envoy.internal" })), false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			config := c.config.Clone()
			config.MinVersion, config.MaxVersion = version, version
			if _, err := c.site.connect(t, config); (err == nil) != c.ok {
				t.Errorf("%s, %s: %v", name, tls.VersionName(version), err)
			}
		}
	}
	scraper := named.ca.Client(t, serverName, named.ca.Issue(t, []string{"prometheus.internal"}))
	if _, err := named.connectTo(t, mtls.Certified, scraper); err != nil {
		t.Errorf("a peer of another name, where names do not matter: %v", err)
	}
	if _, err := named.connectTo(t, mtls.Certified, named.ca.Client(t, serverName, other.Issue(t, []string{"envoy.internal"}))); err == nil {
		t.Error("where names do not matter, another authority does not either")
	}
	old := plain.ca.Client(t, serverName, plain.ca.Issue(t, nil))
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := plain.connect(t, old); err == nil {
		t.Error("TLS 1.1 was taken")
	}
}

func TestNewFilesTakeEffectWithoutARestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.ca.Client(t, serverName, s.ca.Issue(t, nil))
	if _, err := s.connect(t, first); err != nil {
		t.Fatal(err)
	}
	// All three at once: afterwards the old authority's peers are strangers.
	next := mtlstest.New(t)
	certificate := next.Issue(t, []string{serverName}, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now(), time.Now().Add(90*time.Minute) })
	mtlstest.Write(t, s.dir, certificate, next.PEM)
	if _, err := s.connect(t, next.Client(t, serverName, next.Issue(t, nil))); err != nil {
		t.Errorf("the new authority's peer: %v", err)
	}
	trusting := s.ca.Client(t, serverName, s.ca.Issue(t, nil))
	trusting.RootCAs = next.Pool()
	if _, err := s.connect(t, trusting); err == nil {
		t.Error("the old authority's peer was let in")
	}
	if until := time.Until(s.authority.Expires()); until > 91*time.Minute || until < 88*time.Minute {
		t.Errorf("it is said to expire in %v", until)
	}
	if !strings.Contains(s.log.String(), "new TLS files are in force") {
		t.Errorf("the log says nothing: %s", s.log)
	}
}

func TestASessionIsNotResumedPastANewAuthority(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	client := s.ca.Client(t, serverName, s.ca.Issue(t, nil))
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	client.MaxVersion = tls.VersionTLS12 // where a resumed handshake needs no certificate at all
	if _, err := s.connect(t, client); err != nil {
		t.Fatal(err)
	}
	mtlstest.Write(t, s.dir, s.ca.Issue(t, []string{serverName}), mtlstest.New(t).PEM)
	if _, err := s.connect(t, client); err == nil {
		t.Error("the session outlived its authority")
	}
}

func TestBrokenNewFilesChangeNothingAndAreLoggedOnce(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*testing.T, *site){
		"a certificate without its key": func(t *testing.T, s *site) { write(t, s.files.Cert, s.ca.Issue(t, []string{serverName}).Chain) },
		"half a certificate":            func(t *testing.T, s *site) { write(t, s.files.Cert, s.ca.PEM[:100]) },
		"an empty key":                  func(t *testing.T, s *site) { write(t, s.files.Key, nil) },
		"no authorities":                func(t *testing.T, s *site) { write(t, s.files.ClientCA, []byte("none")) },
		"an expired certificate": func(t *testing.T, s *site) {
			mtlstest.Write(t, s.dir, s.ca.Issue(t, []string{serverName}, func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Now().Add(-time.Second)
			}), s.ca.PEM)
		},
		"files that are gone": func(t *testing.T, s *site) {
			if err := errors.Join(os.Remove(s.files.Cert), os.Remove(s.files.Key), os.Remove(s.files.ClientCA)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			client := s.ca.Client(t, serverName, s.ca.Issue(t, nil))
			before, _ := s.connect(t, client)
			spoil(t, s)
			for range 3 {
				peer, err := s.connect(t, client)
				if err != nil || !peer.Equal(before) {
					t.Fatalf("the good files are not in force any more: %v", err)
				}
			}
			if n := strings.Count(s.log.String(), "level=ERROR"); n != 1 {
				t.Errorf("%d errors in the log, want 1: %s", n, s.log)
			}
			if strings.Contains(s.log.String(), "BEGIN") {
				t.Errorf("the log quotes a file: %s", s.log)
			}
			mtlstest.Write(t, s.dir, s.ca.Issue(t, []string{serverName}), s.ca.PEM)
			if peer, err := s.connect(t, client); err != nil || peer.Equal(before) {
				t.Errorf("good files afterwards are not taken: %v", err)
			}
		})
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCheckSaysWhatIsWrongWithWhichFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := t.TempDir()
	at := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		write(t, path, data)
		return path
	}
	clientsOnly := s.ca.Issue(t, nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	good := mtls.Options{Cert: s.files.Cert, Key: s.files.Key, ClientCA: s.files.ClientCA}
	for name, c := range map[string]struct {
		change func(*mtls.Options)
		want   string // of the files, in the order cert, key, authorities
	}{
		"good":             {func(*mtls.Options) {}, "false false false"},
		"no cert":          {func(o *mtls.Options) { o.Cert = filepath.Join(dir, "absent") }, "true false false"},
		"a key for a cert": {func(o *mtls.Options) { o.Cert = o.Key }, "true false false"},
		"rubbish in a PEM": {func(o *mtls.Options) {
			o.Cert = at("rubbish", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		}, "true false false"},
		"a client's cert":       {func(o *mtls.Options) { o.Cert, o.Key = at("c", clientsOnly.Chain), at("ck", clientsOnly.Key) }, "true false false"},
		"a cert for a key":      {func(o *mtls.Options) { o.Key = o.Cert }, "false true false"},
		"another's key":         {func(o *mtls.Options) { o.Key = at("k", s.ca.Issue(t, nil).Key) }, "false true false"},
		"too long":              {func(o *mtls.Options) { o.Key = at("long", make([]byte, 1<<20+1)) }, "false true false"},
		"no authority":          {func(o *mtls.Options) { o.ClientCA = o.Key }, "false false true"},
		"a directory":           {func(o *mtls.Options) { o.ClientCA = dir }, "false false true"},
		"everything at once":    {func(o *mtls.Options) { *o = mtls.Options{Cert: dir, Key: dir, ClientCA: dir} }, "true true true"},
		"nothing":               {func(o *mtls.Options) { *o = mtls.Options{} }, "true true true"},
		"a cert and a dead key": {func(o *mtls.Options) { o.Cert, o.ClientCA = at("e", nil), at("e", nil) }, "true false true"},
	} {
		o := good
		c.change(&o)
		got := mtls.Check(o, time.Now())
		if text := fmt.Sprint(got.Cert != nil, got.Key != nil, got.ClientCA != nil); text != c.want {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
		if _, err := mtls.New(o, time.Now, slog.Default()); (err == nil) != (c.want == "false false false") {
			t.Errorf("%s: New says %v", name, err)
		}
	}
	if got := mtls.Check(good, time.Now().Add(48*time.Hour)); got.Cert == nil || !strings.Contains(got.Cert.Error(), "expired") {
		t.Errorf("two days later: %+v", got)
	}
}
