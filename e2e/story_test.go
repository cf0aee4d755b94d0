package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/clients"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

var eras = []struct {
	era  clients.Era
	path string
}{
	{clients.Modern, "/mcp"},
	{clients.Legacy, "/mcp"},
	{clients.SSE, "/sse"},
}

func python(t *testing.T) clients.Client {
	t.Helper()
	c, err := installer(t).Python(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func inspector(t *testing.T) clients.Client {
	t.Helper()
	c, err := installer(t).Inspector(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPythonClientKnowsOnlyTheURL(t *testing.T) {
	t.Parallel()
	story(t, python(t), sellerTwo)
}

func TestInspectorKnowsOnlyTheURL(t *testing.T) {
	t.Parallel()
	story(t, inspector(t), sellerOne)
}

// story is the main job: a client that knows a URL finds the OAuth server,
// registers itself, sends its user through login and consent, gets a token and
// then that user's data. What the client says is held against the API, and the
// path that it took against the sandbox's journal.
func story(t *testing.T, client clients.Client, account string) {
	g := ownGateway(t, stack.Options{})
	truth := g.token(t, account)
	companies := g.companies(t, truth)
	// A word that finds few items, so that a page holds them all.
	items := g.api(t, truth, "/api/v1/companies/"+companies[0].UUID+"/inventory-items?per_page=10")

	for _, e := range eras {
		t.Run(string(e.era), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			if err := g.Sandbox.ClearJournal(ctx); err != nil {
				t.Fatal(err)
			}
			session, err := client.Open(ctx, g.URL+e.path, e.era, user(account))
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			if p := session.Protocol(); e.era != clients.SSE && p != "" && p != string(e.era) {
				t.Errorf("protocol %s", p)
			}
			for _, name := range []string{"list_companies", "list_inventory_items", "list_warehouses"} {
				if !slices.Contains(session.Tools(), name) {
					t.Errorf("no tool %s among %v", name, session.Tools())
				}
			}

			result, err := session.Call(ctx, "list_companies", nil)
			if err != nil || result.IsError {
				t.Fatalf("list_companies: %+v %v", result, err)
			}
			if got := companiesIn(t, result.StructuredContent); !slices.Equal(got, companies) {
				t.Errorf("companies %v, the API says %v", got, companies)
			}
			result, err = session.Call(ctx, "list_inventory_items", map[string]any{"companyUuid": companies[0].UUID, "per_page": 10})
			if err != nil || result.IsError {
				t.Fatalf("list_inventory_items: %+v %v", result, err)
			}
			if got, want := itemsIn(t, result.StructuredContent), itemsIn(t, items); !slices.Equal(got, want) {
				t.Errorf("items %v, the API says %v", got, want)
			}

			journal, err := g.Sandbox.Journal(ctx)
			if err != nil {
				t.Fatal(err)
			}
			proveStory(t, journal, g.URL+e.path)
			proveEra(t, g, e.era)
		})
	}
}

func itemsIn(t *testing.T, page json.RawMessage) []string {
	t.Helper()
	var answer struct {
		Data []struct {
			ID  json.Number `json:"id"`
			SKU string      `json:"sku"`
		} `json:"data"`
	}
	if err := json.Unmarshal(page, &answer); err != nil || len(answer.Data) == 0 {
		t.Fatalf("not a page of items: %.300s (%v)", page, err)
	}
	var out []string
	for _, item := range answer.Data {
		out = append(out, item.ID.String()+" "+item.SKU)
	}
	return out
}

// proveStory checks that the journal tells register → authorize → token → API,
// each successful, for one client, one subject and one token.
func proveStory(t *testing.T, journal []stack.Entry, resource string) {
	t.Helper()
	first := func(event string, fits func(stack.Entry) bool) stack.Entry {
		for _, e := range journal {
			if e.Event == event && (fits == nil || fits(e)) {
				return e
			}
		}
		t.Fatalf("no %s in the journal: %s", event, summary(journal))
		return stack.Entry{}
	}
	register := first("register", func(e stack.Entry) bool { return e.Status == 201 })
	authorize := first("authorize", nil)
	token := first("token", func(e stack.Entry) bool { return e.Status == 200 })
	api := first("api", nil)
	if register.Seq >= authorize.Seq || authorize.Seq >= token.Seq || token.Seq >= api.Seq {
		t.Errorf("out of order: %s", summary(journal))
	}
	if token.GrantType != "authorization_code" {
		t.Errorf("grant %q", token.GrantType)
	}
	if register.ClientID == "" || authorize.ClientID != register.ClientID || token.ClientID != register.ClientID {
		t.Errorf("registered %q, authorized %q, token for %q", register.ClientID, authorize.ClientID, token.ClientID)
	}
	for _, e := range []stack.Entry{authorize, token} {
		// RFC 8707 §2: the resource is the URL that the client knows.
		if !slices.Equal(e.Resource, []string{resource}) {
			t.Errorf("%s with resource %v, not %s", e.Event, e.Resource, resource)
		}
	}
	calls := 0
	for _, e := range journal {
		if e.Event != "api" {
			continue
		}
		calls++
		if e.Status != 200 || e.Token == "" || e.Token != api.Token || e.Subject != api.Subject || e.Subject == "" {
			t.Errorf("API call %s: status %d, subject %q, token %q", e.Path, e.Status, e.Subject, e.Token)
		}
	}
	if calls != 2 {
		t.Errorf("%d API calls for two tool calls: %s", calls, summary(journal))
	}
}

// proveEra checks in Envoy's log that the client has spoken what it was asked to
// speak: what it says about itself is not enough.
func proveEra(t *testing.T, g *gateway, era clients.Era) {
	t.Helper()
	eventually(t, 60*time.Second, func() string { // the log is written in batches
		data, err := os.ReadFile(g.LogFile(stack.Envoy))
		if err != nil {
			return err.Error()
		}
		calls := 0
		for line := range strings.Lines(string(data)) {
			var entry struct {
				Method  string `json:"method"`
				Path    string `json:"path"`
				Code    int    `json:"code"`
				Version string `json:"mcp_version"`
			}
			if json.Unmarshal([]byte(line), &entry) != nil || entry.Method != "POST" || entry.Code/100 != 2 {
				continue
			}
			if era == clients.SSE && entry.Path == "/messages" || entry.Path == "/mcp" && entry.Version == string(era) {
				calls++
			}
		}
		// A list and two calls.
		if calls < 3 {
			return fmt.Sprintf("%d requests in Envoy's log are of %s", calls, era)
		}
		return ""
	})
}

func summary(journal []stack.Entry) string {
	var b strings.Builder
	for _, e := range journal {
		fmt.Fprintf(&b, "\n  %s %s %s %d %s", e.Event, e.Method, e.Path, e.Status, e.GrantType)
	}
	return b.String()
}

// Opaque tokens that live for seconds: authz has to ask the issuer about each
// (RFC 7662), and the client gets new ones by itself (RFC 6749 §6), without its
// user.
func TestClientRefreshesOpaqueTokens(t *testing.T) {
	t.Parallel()
	const life = 12 * time.Second
	g := ownGateway(t, stack.Options{Env: map[string][]string{
		stack.SandboxPart: {"SANDBOX_TOKEN_KIND=opaque", "SANDBOX_TOKEN_TTL=" + life.String()},
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	session, err := python(t).Open(ctx, g.URL+"/mcp", clients.Modern, user(sellerOne))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for i := range 3 {
		if i > 0 {
			// Past the expiry: just at it, this client would take a 401 for a
			// reason to ask its user again.
			time.Sleep(life + time.Second)
		}
		result, err := session.Call(ctx, "list_companies", nil)
		if err != nil || result.IsError {
			t.Fatalf("call %d: %+v %v", i+1, result, err)
		}
	}
	journal, err := g.Sandbox.Journal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range journal {
		if e.Event == "api" {
			seen[e.Token] = true
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d tokens for calls in three lifetimes%s", len(seen), summary(journal))
	}
	count := map[string]int{}
	for _, e := range journal {
		count[e.Event+" "+e.GrantType]++
	}
	// One more is made when a token ends before the first call.
	if count["token refresh_token"] < 2 || count["introspect "] == 0 {
		t.Errorf("no refresh or no introspection: %v", count)
	}
	if count["login "] != 2 || count["register "] != 1 {
		t.Errorf("the user was asked again: %v", count)
	}
}

func TestDenyEndsClearly(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	for _, client := range []clients.Client{python(t), inspector(t)} {
		t.Run(client.Name(), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			refuser := user(sellerOne)
			refuser.Deny = true
			session, err := client.Open(ctx, g.URL+"/mcp", clients.Modern, refuser)
			if err == nil {
				session.Close()
				t.Fatal("connected although its user pressed Deny")
			}
			// RFC 6749 §4.1.2.1: clients show the code, its description, or both.
			if ctx.Err() != nil || !strings.Contains(err.Error(), "access_denied") && !strings.Contains(err.Error(), "denied access") {
				t.Errorf("the client was not told that access was denied: %v", err)
			}
		})
	}
}

func TestWrongPasswordShowsTheLoginAgain(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	stranger := user(sellerOne)
	stranger.Password = "wrong"
	session, err := python(t).Open(ctx, g.URL+"/mcp", clients.Modern, stranger)
	if err == nil {
		session.Close()
		t.Fatal("connected with a wrong password")
	}
	if !strings.Contains(err.Error(), "did not get through") {
		t.Error(err)
	}
}

func TestBearerChecks(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	for _, c := range []struct {
		name string
		env  []string
		want string
	}{
		{"without a token", nil, "19 passed, 0 failed"},
		{"with a token", []string{"TOKEN=" + g.token(t, sellerOne)}, "29 passed, 0 failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, filepath.Join(root(t), "deploy", "test-bearer-auth.sh"))
			cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "SERVER_URL=" + g.URL, "STREAM_TIME=1"}, c.env...)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	t.Run("a token that is not valid fails them", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(root(t), "deploy", "test-bearer-auth.sh"))
		cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "SERVER_URL=" + g.URL, "STREAM_TIME=1", "TOKEN=none"}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "19 passed, 10 failed") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
