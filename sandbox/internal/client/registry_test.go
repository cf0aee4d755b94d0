package client_test

import (
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/client"
)

func TestRegistryForgetsTheOldest(t *testing.T) {
	t.Parallel()
	r := client.NewRegistry(2, time.Now)
	r.AddPermanent(client.Client{ID: "fixed", Metadata: client.Metadata{AuthMethod: client.ClientSecretBase}}, "secret")
	var ids []string
	for range 3 {
		c, _ := r.Register(client.Metadata{AuthMethod: client.None})
		ids = append(ids, c.ID)
	}
	for i, want := range []bool{false, true, true} {
		if _, ok := r.Get(ids[i]); ok != want {
			t.Errorf("client %d: %v, want %v", i, ok, want)
		}
	}
	r.Delete(ids[1])
	fourth, _ := r.Register(client.Metadata{AuthMethod: client.None})
	if _, ok := r.Get(ids[2]); !ok {
		t.Error("a deleted client still takes up room")
	}
	if _, ok := r.Get(fourth.ID); !ok {
		t.Error("the newest client is missing")
	}
	r.Delete("fixed")
	if c, ok := r.Get("fixed"); !ok || c.Public() {
		t.Error("a permanent client can be deleted, or has lost its secret")
	}
}

func TestManageNeedsTheClientsOwnToken(t *testing.T) {
	t.Parallel()
	r := client.NewRegistry(9, time.Now)
	a, secrets := r.Register(client.Metadata{AuthMethod: client.ClientSecretPost})
	b, foreign := r.Register(client.Metadata{AuthMethod: client.None})
	if secrets.Secret == "" || foreign.Secret != "" {
		t.Errorf("secrets: %q for a secret client, %q for a public one", secrets.Secret, foreign.Secret)
	}
	r.AddPermanent(client.Client{ID: "fixed"}, "")
	for _, c := range []struct {
		id, token string
		want      bool
	}{
		{a.ID, secrets.RegistrationAccessToken, true},
		{b.ID, foreign.RegistrationAccessToken, true},
		{a.ID, foreign.RegistrationAccessToken, false},
		{a.ID, secrets.Secret, false},
		{a.ID, "", false},
		{"nobody", secrets.RegistrationAccessToken, false},
		{"nobody", "", false},
		{"fixed", "", false},
	} {
		if _, ok := r.Manage(c.id, c.token); ok != c.want {
			t.Errorf("%s: %v, want %v", c.id, ok, c.want)
		}
	}
}
