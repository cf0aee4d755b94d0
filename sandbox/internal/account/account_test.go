package account_test

import (
	"testing"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/account"
)

func TestAccountsHaveStableDistinctSubjects(t *testing.T) {
	t.Parallel()
	want := map[string]string{"seller-one@example.com": "46", "seller-two@example.com": "47"}
	all := account.All()
	if len(all) != len(want) {
		t.Fatalf("got %d accounts, want %d", len(all), len(want))
	}
	for _, a := range all {
		if want[a.Email] != a.Subject {
			t.Errorf("%s has subject %q, want %q", a.Email, a.Subject, want[a.Email])
		}
		if got, ok := account.BySubject(a.Subject); !ok || got != a {
			t.Errorf("BySubject(%q) = %v, %v", a.Subject, got, ok)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		email, password string
		subject         string
	}{
		"right password":          {"seller-one@example.com", "demo", "46"},
		"address in another case": {" Seller-Two@Example.com ", "demo", "47"},
		"wrong password":          {"seller-one@example.com", "Demo", ""},
		"empty password":          {"seller-one@example.com", "", ""},
		"unknown address":         {"nobody@example.com", "demo", ""},
		"nothing at all":          {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, ok := account.Authenticate(c.email, c.password)
			if a.Subject != c.subject || ok != (c.subject != "") {
				t.Errorf("got subject %q, ok %v; want %q", a.Subject, ok, c.subject)
			}
		})
	}
}
