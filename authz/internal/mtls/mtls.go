// Package mtls makes the TLS configuration of listeners that let in only peers
// with a certificate. Its files are read again when they change.
package mtls

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options name the files, all in PEM.
type Options struct {
	// Cert is the chain that is shown to peers, the leaf first; Key is its key.
	Cert, Key string
	// ClientCA are the authorities that a peer's certificate must come from.
	ClientCA string
	// ClientSANs are names, of which the certificate of a [Named] peer must hold
	// one: DNS names, IP addresses or URIs. Without any, every certificate will do.
	ClientSANs []string
}

// Faults are what is wrong with the files, by file; nil where nothing is.
type Faults struct{ Cert, Key, ClientCA error }

func (f Faults) err() error { return errors.Join(f.Cert, f.Key, f.ClientCA) }

// maxFile bounds a file; a bundle of authorities may be large.
const maxFile = 1 << 20

// Check says what is wrong with the files now.
func Check(o Options, now time.Time) Faults {
	_, faults := o.read().parse(now)
	return faults
}

// contents are what the files held.
type contents struct {
	cert, key, clientCA []byte
	faults              Faults
}

func (o Options) read() contents {
	var c contents
	c.cert, c.faults.Cert = readFile(o.Cert)
	c.key, c.faults.Key = readFile(o.Key)
	c.clientCA, c.faults.ClientCA = readFile(o.ClientCA)
	return c
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxFile)
	}
	return data, err
}

// digest tells contents apart without keeping the key in memory twice.
func (c contents) digest() [sha256.Size]byte {
	h := sha256.New()
	for _, part := range [][]byte{c.cert, c.key, c.clientCA} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	fmt.Fprint(h, c.faults.err())
	return [sha256.Size]byte(h.Sum(nil))
}

// parse judges the files together; none of its errors quotes what they hold.
func (c contents) parse(now time.Time) (*tls.Config, Faults) {
	faults := c.faults
	authorities := x509.NewCertPool()
	if faults.ClientCA == nil && !authorities.AppendCertsFromPEM(c.clientCA) {
		faults.ClientCA = errors.New("it holds no certificate in PEM")
	}
	if faults.Cert == nil {
		faults.Cert = judge(c.cert, now)
	}
	var pair tls.Certificate
	if faults.Cert == nil && faults.Key == nil {
		pair, faults.Key = tls.X509KeyPair(c.cert, c.key)
	}
	if faults.err() != nil {
		return nil, faults
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authorities,
		MinVersion:   tls.VersionTLS12,
		// A resumed session would outlive a change of the authorities. Peers keep
		// their connections, so that there is nothing to gain either.
		SessionTicketsDisabled: true,
	}, Faults{}
}

// judge says why a server cannot show the first certificate of a chain.
func judge(chain []byte, now time.Time) error {
	block, _ := pem.Decode(chain)
	if block == nil || block.Type != "CERTIFICATE" {
		return errors.New("it does not begin with a certificate in PEM")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return err
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case !servesTLS(leaf):
		return errors.New("the certificate's extended key usage is not for TLS servers")
	}
	return nil
}

// servesTLS follows RFC 5280 §4.2.1.12: without the extension any use is fine.
func servesTLS(leaf *x509.Certificate) bool {
	return len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// Authority knows who may connect, and shows who we are.
type Authority struct {
	options Options
	now     func() time.Time
	log     *slog.Logger

	mu     sync.Mutex
	seen   [sha256.Size]byte // what was judged last, good or not
	config *tls.Config       // the last good one
}

// New reads the files, which must be good.
func New(o Options, now func() time.Time, log *slog.Logger) (*Authority, error) {
	a := &Authority{options: o, now: now, log: log}
	read := o.read()
	config, faults := read.parse(now())
	if err := faults.err(); err != nil {
		return nil, fmt.Errorf("the TLS files: %w", err)
	}
	a.config, a.seen = config, read.digest()
	return a, nil
}

// Peers are whom a listener lets in.
type Peers bool

const (
	// Named are the peers with a certificate that holds one of the names.
	Named Peers = false
	// Certified are all with a certificate of the authorities: for a listener
	// that does not believe what its peers say.
	Certified Peers = true
)

// Config is for a listener that speaks the application protocols (ALPN, RFC
// 7301).
func (a *Authority) Config(who Peers, protocols ...string) *tls.Config {
	return &tls.Config{
		NextProtos: protocols,
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			config := a.current().Clone()
			config.NextProtos = protocols
			if who == Named {
				config.VerifyConnection = a.verifyName
			}
			return config, nil
		},
	}
}

// Expires is when the certificate that is shown ends.
func (a *Authority) Expires() time.Time { return a.current().Certificates[0].Leaf.NotAfter }

// current reads the files anew. It does so at each handshake, which costs many
// times more, so that a new certificate needs no signal and no clock. Files that
// are not good, as in the middle of their being replaced, change nothing.
func (a *Authority) current() *tls.Config {
	read := a.options.read()
	digest := read.digest()
	a.mu.Lock()
	defer a.mu.Unlock()
	if digest == a.seen {
		return a.config
	}
	a.seen = digest
	config, faults := read.parse(a.now())
	if err := faults.err(); err != nil {
		a.log.Error("the new TLS files are not good: the old ones stay in force", "error", err.Error())
		return a.config
	}
	a.config = config
	a.log.Info("new TLS files are in force", "certificate_expires", config.Certificates[0].Leaf.NotAfter.UTC().Format(time.RFC3339))
	return config
}

// verifyName runs after the chain was verified.
func (a *Authority) verifyName(state tls.ConnectionState) error {
	if len(a.options.ClientSANs) == 0 || slices.ContainsFunc(a.options.ClientSANs, func(name string) bool { return holds(state.PeerCertificates[0], name) }) {
		return nil
	}
	return errors.New("the peer's certificate holds none of the names that may connect")
}

// holds compares whole names; a wildcard in a certificate is no name of a peer.
func holds(leaf *x509.Certificate, name string) bool {
	for _, n := range leaf.DNSNames {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	for _, u := range leaf.URIs {
		if u.String() == name {
			return true
		}
	}
	for _, ip := range leaf.IPAddresses {
		if ip.String() == name {
			return true
		}
	}
	return false
}
