// Package replicas is what the replicas of this service have in common: a
// Redis, and a secret that Redis does not know. Whatever goes there is sealed
// with the secret, and named by keyed hashes, so that who can read or write that
// Redis learns nothing from it and can make nothing up. Access tokens do not go
// there at all.
package replicas

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	// defaultTimeout bounds one command, with connecting.
	defaultTimeout = time.Second
	// beat is how often the connection for messages is tried out.
	beat = 5 * time.Second
	// connections is how many there are at most, and idle how many are kept.
	connections, idle = 64, 8
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
	// Timeout bounds one command, with connecting; 1 s.
	Timeout time.Duration
	Log     *slog.Logger
	// Observe is told how every command ended.
	Observe func(ok bool)
}

// Redis is a single Redis, or whatever stands before several as one; a Redis
// Cluster is not. It is safe for concurrent use.
type Redis struct {
	o    Options
	pool *redis.Pool
	tls  *tls.Config
	down atomic.Bool
}

// NewRedis connects to nothing yet: the service starts without its Redis too.
func NewRedis(o Options) (*Redis, error) {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	r := &Redis{o: o}
	if o.TLS {
		host, _, err := net.SplitHostPort(o.Address)
		if err != nil {
			return nil, err
		}
		r.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
		if o.CAFile != "" {
			if r.tls.RootCAs, err = x509.SystemCertPool(); err != nil {
				r.tls.RootCAs = x509.NewCertPool()
			}
			pem, err := os.ReadFile(o.CAFile)
			if err != nil {
				return nil, err
			}
			if !r.tls.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s holds no certificate", o.CAFile)
			}
		}
	}
	r.pool = &redis.Pool{
		MaxIdle: idle, MaxActive: connections, Wait: true, IdleTimeout: time.Minute,
		DialContext: func(ctx context.Context) (redis.Conn, error) { return r.dial(ctx, o.Timeout) },
	}
	return r, nil
}

// dial connects; read bounds the wait for each reply.
func (r *Redis) dial(ctx context.Context, read time.Duration) (redis.Conn, error) {
	options := []redis.DialOption{
		redis.DialConnectTimeout(r.o.Timeout), redis.DialReadTimeout(read), redis.DialWriteTimeout(r.o.Timeout),
		redis.DialDatabase(r.o.Database), redis.DialClientName("neonpanel-mcpbackend"),
	}
	if r.o.Password != "" {
		options = append(options, redis.DialUsername(r.o.Username), redis.DialPassword(r.o.Password))
	}
	if r.tls != nil {
		options = append(options, redis.DialUseTLS(true), redis.DialTLSConfig(r.tls), redis.DialTLSHandshakeTimeout(r.o.Timeout))
	}
	return redis.DialContext(ctx, "tcp", r.o.Address, options...)
}

// Close ends the connections.
func (r *Redis) Close() error { return r.pool.Close() }

// Do sends one command.
func (r *Redis) Do(ctx context.Context, command string, arguments ...any) (any, error) {
	return r.with(ctx, func(ctx context.Context, c redis.Conn) (any, error) {
		return redis.DoContext(c, ctx, command, arguments...)
	})
}

// Script is a Lua script, which Redis runs as a whole or not at all.
type Script struct{ script *redis.Script }

// NewScript is a script whose first arguments are that many keys.
func NewScript(keys int, source string) Script { return Script{redis.NewScript(keys, source)} }

// Run runs a script.
func (r *Redis) Run(ctx context.Context, s Script, arguments ...any) (any, error) {
	return r.with(ctx, func(ctx context.Context, c redis.Conn) (any, error) {
		return s.script.DoContext(ctx, c, arguments...)
	})
}

func (r *Redis) with(ctx context.Context, do func(context.Context, redis.Conn) (any, error)) (reply any, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	defer func() { r.saw(ctx, err) }()
	c, err := r.pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }() // back to the pool
	return do(ctx, c)
}

// saw counts, and says once that Redis went away and once that it came back.
func (r *Redis) saw(ctx context.Context, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return // the caller has gone, which says nothing
	}
	var refused redis.Error
	ok := err == nil || errors.As(err, &refused) && !loading(refused)
	if r.o.Observe != nil {
		r.o.Observe(ok)
	}
	if was := r.down.Swap(!ok); was == ok {
		if ok {
			r.o.Log.Info("Redis answers again")
		} else {
			r.o.Log.Error("Redis cannot be used", "error", err.Error())
		}
	}
}

// loading is true of what a Redis that is starting, or that cannot be written
// to, answers to everything.
func loading(err redis.Error) bool {
	for _, prefix := range []string{"LOADING", "READONLY", "MASTERDOWN", "NOAUTH", "WRONGPASS", "NOPERM"} {
		if len(err) >= len(prefix) && string(err)[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}

// Publish sends a message to who subscribes to the channel, and says to how
// many. Nothing is kept for those who do not.
func (r *Redis) Publish(ctx context.Context, channel string, message []byte) (int, error) {
	return redis.Int(r.Do(ctx, "PUBLISH", channel, message))
}

// Subscribe gives every message of the channel to deliver, until the connection
// fails or the context ends. It calls ready once messages come.
func (r *Redis) Subscribe(ctx context.Context, channel string, ready func(), deliver func([]byte)) (err error) {
	c, err := r.dial(ctx, 3*beat)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // ends the Receive below
	defer func() {
		cancel()
		if stop() {
			_ = c.Close()
		}
	}()
	subscription := redis.PubSubConn{Conn: c}
	if err := subscription.Subscribe(channel); err != nil {
		return err
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(beat):
				if subscription.Ping("") != nil {
					cancel()
				}
			}
		}
	}()
	for {
		switch m := subscription.Receive().(type) {
		case error:
			return m
		case redis.Subscription:
			ready()
		case redis.Message:
			deliver(m.Data)
		}
	}
}
