package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// tlsState is what the first contact showed.
type tlsState struct {
	version      uint16
	certificates []*x509.Certificate
	roots        *x509.CertPool
	// err is a handshake that failed.
	err error
}

// renewal is how long before its end a certificate should have been replaced.
const renewal = 14 * 24 * time.Hour

// reach makes the first contact. Nothing but a plain GET is sent, since the
// certificate is looked at only afterwards, each property of it apart. Without
// an answer there is nothing to examine.
func (e *examination) reach(ctx context.Context) error {
	if strings.HasPrefix(e.base, "http://") && !e.loopback {
		// Not a byte goes there: the first check fails, the others need it.
		return nil
	}
	transport, err := newTransport(e.Options)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	e.tls.roots = transport.TLSClientConfig.RootCAs
	transport.TLSClientConfig = &tls.Config{
		MinVersion: tls.VersionTLS10,
		// Judged below.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			e.tls.version, e.tls.certificates = s.Version, s.PeerCertificates
			return nil
		},
	}
	a := newClient(transport, e.Options).get(ctx, e.base+"/health")
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case e.tls.certificates == nil && (errors.As(a.err, &alert) || errors.As(a.err, &record) || isPlainAnswer(a.err)):
		e.tls.err = a.err
		return nil
	case a.err != nil && e.tls.certificates == nil:
		return fmt.Errorf("%s: %s", e.base, printable(a.String(), ""))
	}
	return nil
}

// isPlainAnswer reports what net/http makes of a server that answers a TLS
// handshake in HTTP; it has no type.
func isPlainAnswer(err error) bool {
	return err != nil && strings.Contains(err.Error(), http.ErrSchemeMismatch.Error())
}

func (e *examination) checkScheme(context.Context) Finding {
	switch {
	case strings.HasPrefix(e.base, "https://"):
		return ok("%s", e.base)
	case e.loopback:
		return ok("plain HTTP, as is fine on loopback")
	}
	return fail("give the https:// URL, and serve TLS: EDGE_TLS_CERT and EDGE_TLS_KEY, or the load balancer in front",
		"plain HTTP, which connectors refuse; nothing was sent")
}

// checkCertificate judges chain and name. Dates are a check of their own, so
// the time used here is one at which the certificate was valid.
func (e *examination) checkCertificate(context.Context) Finding {
	f, done := e.withoutTLS()
	if done {
		return f
	}
	leaf := e.tls.certificates[0]
	at := e.Now()
	switch {
	case at.After(leaf.NotAfter):
		at = leaf.NotAfter
	case at.Before(leaf.NotBefore):
		at = leaf.NotBefore
	}
	intermediates := x509.NewCertPool()
	for _, c := range e.tls.certificates[1:] {
		intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: e.tls.roots, Intermediates: intermediates, DNSName: e.hostname(), CurrentTime: at,
	})
	if err != nil {
		fix := "send the whole chain, leaf first, of a public certificate authority; --ca-file names a private one"
		var name x509.HostnameError
		if errors.As(err, &name) {
			fix = "get a certificate for " + e.hostname()
		}
		return fail(fix, "%v", err)
	}
	root := chains[0][len(chains[0])-1]
	return ok("for %s, from %s", e.hostname(), root.Subject.String())
}

func (e *examination) checkDates(context.Context) Finding {
	f, done := e.withoutTLS()
	if done {
		return f
	}
	leaf, now := e.tls.certificates[0], e.Now()
	left := leaf.NotAfter.Sub(now)
	const fix = "renew the certificate, and see why that did not happen by itself"
	switch {
	case now.Before(leaf.NotBefore):
		return fail("wait, or set the clock of what made the certificate, or of this machine", "valid only from %s", date(leaf.NotBefore))
	case left <= 0:
		return fail(fix, "expired on %s", date(leaf.NotAfter))
	case left < min(renewal, leaf.NotAfter.Sub(leaf.NotBefore)/3):
		return warn(fix, "expires on %s", date(leaf.NotAfter))
	}
	return ok("valid until %s", date(leaf.NotAfter))
}

// checkVersion holds to RFC 9325 §3.1.1: TLS 1.2 at least.
func (e *examination) checkVersion(context.Context) Finding {
	switch {
	case e.tls.err != nil:
		return fail("serve TLS 1.2 and 1.3 on this port", "no handshake: %v", e.tls.err)
	case strings.HasPrefix(e.base, "http://"):
		return skip("no TLS")
	case e.tls.version < tls.VersionTLS12:
		return fail("serve TLS 1.2 and 1.3", "%s is the most that it speaks", tls.VersionName(e.tls.version))
	}
	return ok("%s", tls.VersionName(e.tls.version))
}

// withoutTLS is the finding when there is no certificate to judge.
func (e *examination) withoutTLS() (Finding, bool) {
	switch {
	case e.tls.err != nil:
		return skip("no handshake"), true
	case strings.HasPrefix(e.base, "http://"):
		return skip("no TLS"), true
	}
	return Finding{}, false
}

func (e *examination) hostname() string {
	u, err := url.Parse(e.base)
	if err != nil {
		return ""
	}
	// A zone is no part of a certificate's name.
	host, _, _ := strings.Cut(u.Hostname(), "%")
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return host
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
