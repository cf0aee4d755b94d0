package verifier_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/jwt"
	"github.com/neonpanel/mcp-gateway/authz/internal/keys"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/verdict"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

// loaded is a Verifier that is ready, on real time.
func loaded(b testing.TB, server *issuertest.Server, change func(*verifier.Options)) *verifier.Verifier {
	news := make(chan struct{}, 100)
	v := start(b, server, func(o *verifier.Options) {
		o.Observer = readyObserver{news}
		if change != nil {
			change(o)
		}
	})
	deadline := time.After(10 * time.Second)
	for v.Ready() != nil {
		select {
		case <-news:
		case <-deadline:
			b.Fatal(v.Ready())
		}
	}
	return v
}

func BenchmarkCached(b *testing.B) {
	server := issuertest.Start(b)
	server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
	v := loaded(b, server, nil)
	raw := signer.Sign(claims(server.Issuer, nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(context.Background(), raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUncached compares what a token costs that was never seen before.
func BenchmarkUncached(b *testing.B) {
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		signer := issuertest.NewSigner(algorithm, "one", 1)
		server := issuertest.Start(b)
		raw := signer.Sign(claims(server.Issuer, nil))
		set := newSet(b, algorithm, issuertest.JWKS(signer))
		judge, err := jwt.New(set, jwt.Rules{Issuer: server.Issuer, Audiences: []string{audience}}, []string{algorithm})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(algorithm+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := judge.Verify(context.Background(), raw, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		bare := oidc.NewVerifier(server.Issuer, oidc.NewRemoteKeySet(context.Background(), server.Issuer+issuertest.PathJWKS),
			&oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{algorithm}})
		server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
		b.Run(algorithm+"/go-oidc", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				id, err := bare.Verify(context.Background(), raw)
				if err != nil {
					b.Fatal(err)
				}
				var c struct {
					Scope string `json:"scope"`
				}
				if err := id.Claims(&c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// newSet is a key set that has loaded a document.
func newSet(t testing.TB, algorithm, document string) *keys.Set {
	fetched := make(chan error, 100)
	set := keys.New(keys.Config{
		Fetch:      func(context.Context) ([]byte, error) { return []byte(document), nil },
		Algorithms: []string{algorithm},
		Refresh:    time.Hour, MaxStale: time.Hour, Cooldown: time.Hour, Wait: time.Second, Waiting: 1, Timeout: time.Second,
		Fetched: func(_ time.Duration, _ []error, err error) { fetched <- err },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = set.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	if err := <-fetched; err != nil {
		t.Fatal(err)
	}
	return set
}

// BenchmarkMemory prints what a cached token costs.
func BenchmarkMemory(b *testing.B) {
	const tokens = 100_000
	for b.Loop() {
		var before, after runtime.MemStats
		cache, err := verdict.New(verdict.Config{MaxTTL: time.Hour, RefusedTTL: time.Second, Size: tokens})
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&before)
		now := time.Now()
		for i := range tokens {
			cache.Accept(cache.Hash(fmt.Sprint("token", i)), verdict.Verdict{ByKey: true, Identity: token.Identity{
				Subject: fmt.Sprint(i), ClientID: fmt.Sprintf("%040d", i%50), ID: fmt.Sprintf("%080d", i),
				Scopes: []string{"read:analytics", "read:inventory"}, IssuedAt: now, Expires: now.Add(time.Hour),
			}})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		held, _ := cache.Sizes()
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		b.ReportMetric(float64(held), "entries")
		cache.Close()
	}
}
