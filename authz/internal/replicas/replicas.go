// Package replicas shares what the issuer said about tokens between the replicas
// of this service, through a Redis. Neither a token nor anything that could be
// one goes there: answers are found by a keyed hash of the token and sealed for
// it, so that who can read that Redis learns nothing, and who can write to it can
// make no identity up.
package replicas

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/sony/gobreaker/v2"
)

const (
	// connectTimeout bounds connecting, for which no request waits.
	connectTimeout = time.Second
	// Budget is what looking up one token may take; beyond it the issuer is asked.
	Budget = 10 * time.Millisecond
	// kept is how many connections are kept, connecting how many are made at a time.
	kept, connecting = 32, 4
	// After maxFailures in a row Redis is left alone for a pause.
	maxFailures = 5
	pause       = time.Second
	// telling is how many answers may be on their way to Redis.
	telling = 64
	// skew is how far the clocks of two replicas may differ.
	skew = time.Minute
)

// Options say which Redis it is.
type Options struct {
	// Address is host:port.
	Address            string
	Username, Password string
	Database           int
	// TLS is for rediss; CAFile then names authorities besides the system's.
	TLS    bool
	CAFile string
	// Secret is shared by the replicas.
	Secret string
	// ActiveTTL and InactiveTTL are how old an answer may get.
	ActiveTTL, InactiveTTL time.Duration
	// Budget replaces [Budget] when it is not zero.
	Budget time.Duration
	Log    *slog.Logger
	Now    func() time.Time
	// Observe is told how each question to Redis ended.
	Observe func(Outcome)
}

// Outcome is how a question to Redis ended.
type Outcome string

// The outcomes.
const (
	// Found and Absent: Redis answered.
	Found  Outcome = "found"
	Absent Outcome = "absent"
	// Stored: Redis was told.
	Stored Outcome = "stored"
	// Failed: it did not answer in time, or cannot be reached.
	Failed Outcome = "failed"
	// Refused: what it answered is not what a replica stored for this token.
	Refused Outcome = "refused"
)

// Outcomes lists the closed set.
func Outcomes() []Outcome { return []Outcome{Found, Absent, Stored, Failed, Refused} }

// Answers are the issuer's answers about tokens.
type Answers struct {
	o          Options
	tls        *tls.Config
	names      []byte
	idle       chan redis.Conn
	connecting chan struct{}
	telling    chan struct{}
	background sync.WaitGroup
	breaker    *gobreaker.CircuitBreaker[[]byte]
	down       atomic.Bool
	context    context.Context
	stop       context.CancelFunc
}

// New connects in the background. Close must be called in the end.
func New(o Options) (*Answers, error) {
	if o.Budget == 0 {
		o.Budget = Budget
	}
	a := &Answers{
		o: o, idle: make(chan redis.Conn, kept), connecting: make(chan struct{}, connecting), telling: make(chan struct{}, telling),
		breaker: gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
			MaxRequests: 1, Timeout: pause,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= maxFailures },
		}),
	}
	var err error
	if a.names, err = a.key("name"); err != nil {
		return nil, err
	}
	if o.TLS {
		host, _, err := net.SplitHostPort(o.Address)
		if err != nil {
			return nil, err
		}
		a.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
		if o.CAFile != "" {
			if a.tls.RootCAs, err = x509.SystemCertPool(); err != nil {
				a.tls.RootCAs = x509.NewCertPool()
			}
			pem, err := os.ReadFile(o.CAFile)
			if err != nil {
				return nil, err
			}
			if !a.tls.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s holds no certificate", o.CAFile)
			}
		}
	}
	a.context, a.stop = context.WithCancel(context.Background())
	a.connect()
	return a, nil
}

// Close ends all connections.
func (a *Answers) Close() {
	a.stop()
	a.background.Wait()
	for {
		select {
		case c := <-a.idle:
			_ = c.Close()
		default:
			return
		}
	}
}

func (a *Answers) key(purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(a.o.Secret), nil, "neonpanel authz "+purpose, 32)
}

// place is where the answer about a token is kept.
func (a *Answers) place(token string) string {
	mac := hmac.New(sha256.New, a.names)
	mac.Write([]byte(token))
	return "neonpanel:authz:token:" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// seal is a cipher for one place: what is sealed for one token opens for no other.
func (a *Answers) seal(place string) (cipher.AEAD, error) {
	key, err := a.key("seal " + place)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Recall gives the issuer's answer about a token that a replica got at a time,
// as long as that is not too long ago. It never takes longer than its budget.
func (a *Answers) Recall(token string) (answer []byte, asked time.Time, found bool) {
	place := a.place(token)
	sealed, err := a.ask(a.o.Budget, "GET", place)
	switch {
	case err != nil:
		a.o.Observe(Failed)
		return nil, time.Time{}, false
	case sealed == nil:
		a.o.Observe(Absent)
		return nil, time.Time{}, false
	}
	answer, asked, err = a.open(place, sealed)
	if err != nil {
		a.o.Observe(Refused)
		a.o.Log.Error("Redis holds what no replica with this secret has stored", "error", err.Error())
		return nil, time.Time{}, false
	}
	a.o.Observe(Found)
	return answer, asked, true
}

// A sealed answer is the time of asking, whether the token was active, and the
// answer.
const head = 9

func (a *Answers) open(place string, sealed []byte) ([]byte, time.Time, error) {
	aead, err := a.seal(place)
	if err != nil {
		return nil, time.Time{}, err
	}
	text, err := aead.Open(nil, nil, sealed, nil)
	if err != nil || len(text) < head {
		return nil, time.Time{}, errors.New("it is not sealed for this token")
	}
	asked, ttl := time.UnixMilli(int64(binary.BigEndian.Uint64(text))), a.ttl(text[head-1] == 1)
	if age := a.o.Now().Sub(asked); age >= ttl || age < -skew {
		// Redis forgets in time by itself: somebody put it back, or a clock is wrong.
		return nil, time.Time{}, errors.New("it is too old, or a clock is wrong")
	}
	return text[head:], asked, nil
}

func (a *Answers) ttl(active bool) time.Duration {
	if active {
		return a.o.ActiveTTL
	}
	return a.o.InactiveTTL
}

// Tell tells the other replicas the issuer's answer about a token. It does not
// wait for Redis, and gives up when much is on its way there.
func (a *Answers) Tell(token string, answer []byte, active bool) {
	if a.context.Err() != nil {
		return
	}
	select {
	case a.telling <- struct{}{}:
	default:
		return
	}
	asked := a.o.Now()
	a.background.Go(func() {
		defer func() { <-a.telling }()
		place := a.place(token)
		aead, err := a.seal(place)
		if err != nil {
			return
		}
		text := binary.BigEndian.AppendUint64(make([]byte, 0, head+len(answer)), uint64(asked.UnixMilli()))
		flag := byte(0)
		if active {
			flag = 1
		}
		text = append(append(text, flag), answer...)
		if _, err := a.ask(connectTimeout, "SET", place, aead.Seal(nil, nil, text, nil), "PX", a.ttl(active).Milliseconds()); err != nil {
			a.o.Observe(Failed)
			return
		}
		a.o.Observe(Stored)
	})
}

var errNone = errors.New("no connection to Redis yet")

// ask sends a command on a connection that is there; where there is none, one
// is made for those who come later.
func (a *Answers) ask(within time.Duration, command string, arguments ...any) ([]byte, error) {
	reply, err := a.breaker.Execute(func() ([]byte, error) {
		var c redis.Conn
		select {
		case c = <-a.idle:
		default:
			a.connect()
			return nil, errNone
		}
		reply, err := redis.DoWithTimeout(c, within, command, arguments...)
		if c.Err() != nil {
			_ = c.Close()
			a.connect()
		} else {
			a.put(c)
		}
		if err != nil || reply == nil {
			return nil, err
		}
		if text, ok := reply.([]byte); ok {
			return text, nil
		}
		return nil, nil // SET says OK
	})
	a.saw(err)
	return reply, err
}

func (a *Answers) put(c redis.Conn) {
	select {
	case a.idle <- c:
	default:
		_ = c.Close()
	}
}

// connect makes a connection in the background.
func (a *Answers) connect() {
	select {
	case a.connecting <- struct{}{}:
	default:
		return
	}
	a.background.Go(func() {
		defer func() { <-a.connecting }()
		options := []redis.DialOption{
			redis.DialConnectTimeout(connectTimeout), redis.DialReadTimeout(connectTimeout), redis.DialWriteTimeout(connectTimeout),
			redis.DialDatabase(a.o.Database), redis.DialClientName("neonpanel-authz"),
		}
		if a.o.Password != "" {
			options = append(options, redis.DialUsername(a.o.Username), redis.DialPassword(a.o.Password))
		}
		if a.tls != nil {
			options = append(options, redis.DialUseTLS(true), redis.DialTLSConfig(a.tls), redis.DialTLSHandshakeTimeout(connectTimeout))
		}
		ctx, cancel := context.WithTimeout(a.context, connectTimeout)
		defer cancel()
		c, err := redis.DialContext(ctx, "tcp", a.o.Address, options...)
		if err != nil {
			a.saw(err)
			return
		}
		a.put(c)
	})
}

// saw says once that Redis went away and once that it came back.
func (a *Answers) saw(err error) {
	switch {
	case errors.Is(err, errNone), errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests), errors.Is(err, context.Canceled):
	case err == nil:
		if a.down.Swap(false) {
			a.o.Log.Info("Redis answers again")
		}
	case !a.down.Swap(true):
		a.o.Log.Warn("Redis cannot be used; the issuer is asked instead", "error", err.Error())
	}
}
