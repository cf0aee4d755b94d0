package deploy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/deploy/internal/local"
	"github.com/neonpanel/mcp-gateway/deploy/internal/observability"
)

const runbooks = "https://github.com/neonpanel/mcp-gateway/blob/main/docs/runbooks.md"

// gateway starts one, and ends it with the test.
func gateway(t *testing.T, o local.Options) *local.Gateway {
	t.Helper()
	dir, err := os.MkdirTemp("", "np-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	bin, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	g, err := local.Start(ctx, bin, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, part := range []string{local.Authz, local.Backend, local.Envoy} {
				text := g.Log(part)
				t.Logf("%s says:\n%s", part, text[max(0, len(text)-2000):])
			}
		}
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// A caller uses the gateway as one of its clients.
type caller struct {
	t *testing.T
	g *local.Gateway
}

func (c caller) control(method, path, body string) string {
	c.t.Helper()
	text, err := c.g.Control(c.t.Context(), method, path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

func (c caller) token(request string) string {
	c.t.Helper()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(c.control(http.MethodPost, "/token", request)), &answer); err != nil || answer.AccessToken == "" {
		c.t.Fatal(err, answer)
	}
	return answer.AccessToken
}

// do sends a request, and returns the answer's status and its text.
func (c caller) do(method, path, token, body string) (int, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.g.URL+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("MCP-Protocol-Version", "2025-11-25")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (c caller) call(token, tool, arguments string) (int, string) {
	c.t.Helper()
	return c.do(http.MethodPost, "/mcp/tools/call", token, fmt.Sprintf(`{"name":%q,"arguments":%s}`, tool, arguments))
}

// stream opens a stream of the older transport, and closes it.
func (c caller) stream(token string) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.g.URL+"/sse", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if lines := bufio.NewScanner(resp.Body); !lines.Scan() || lines.Text() != "event: endpoint" {
		c.t.Fatal("the stream starts with", lines.Text(), lines.Err())
	}
}

// events brings about what has a metric of its own only once it has happened.
func (c caller) events() {
	c.t.Helper()
	expect := func(want int, status int, text string) {
		c.t.Helper()
		if status != want {
			c.t.Errorf("status %d, not %d: %s", status, want, text)
		}
	}
	must := func(want int) func(int, string) {
		return func(status int, text string) { c.t.Helper(); expect(want, status, text) }
	}
	good := c.token(`{}`)
	for _, token := range []string{good, good, c.token(`{"kind":"opaque"}`), c.token(`{"scope":"openid"}`)} {
		must(http.StatusOK)(c.call(token, "list_companies", "{}"))
	}
	must(http.StatusUnauthorized)(c.do(http.MethodPost, "/mcp", "", "{}"))
	must(http.StatusUnauthorized)(c.do(http.MethodPost, "/mcp", "opaque", "{}"))
	must(http.StatusNotFound)(c.do(http.MethodGet, "/nowhere", "", ""))
	must(http.StatusOK)(c.do(http.MethodPost, "/mcp", good, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_companies","arguments":{}}}`))
	c.stream(good)
	// The API has failures of its own, for other operations than those above.
	for _, fault := range []string{
		`{"path":"/api/v1/companies","kind":"status","status":401,"times":1}`,
		`{"path":"/api/v1/companies","kind":"status","status":503,"times":3}`,
	} {
		c.control(http.MethodPost, "/faults", fault)
		c.call(good, "list_companies", "{}")
	}
	c.control(http.MethodDelete, "/faults", "")
	// An answer that never comes: mcpbackend gives up by itself.
	c.control(http.MethodPost, "/faults", `{"path":"/api/v1/companies","kind":"hang"}`)
	_, text := c.call(c.token(`{"account":"seller-two@example.com"}`), "list_companies", "{}")
	if !strings.Contains(text, "time") {
		c.t.Errorf("a call that hangs ends with %s", text)
	}
	c.control(http.MethodDelete, "/faults", "")
}

// scrape reads everything that exists, from the programs themselves. Envoy shows
// histograms only after it has flushed them.
func scrape(t *testing.T, g *local.Gateway, awaited ...string) *observability.Truth {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		truth := observability.NewTruth()
		for _, part := range []string{local.Authz, local.Backend, local.Envoy} {
			text, err := g.Metrics(t.Context(), part)
			if err != nil {
				t.Fatal(err)
			}
			if err := truth.Scraped(strings.NewReader(text)); err != nil {
				t.Fatalf("%s: %v", part, err)
			}
		}
		missing := slices.DeleteFunc(slices.Clone(awaited), truth.Has)
		if len(missing) == 0 {
			return truth
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are no metrics %v", missing)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// failures are the outcomes of a tool call, as mcpbackend's code declares them:
// not all can be brought about from outside, such as a panic.
func failures(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../mcpbackend/internal/toolcall/toolcall.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "FailureKind" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, value)
		}
		return true
	})
	if len(all) < 5 {
		t.Fatalf("only %v found", all)
	}
	return all
}

// existing is what the programs expose after everything has happened.
func existing(t *testing.T) *observability.Truth {
	t.Helper()
	g := gateway(t, local.Options{})
	caller{t, g}.events()
	found := scrape(t, g, "envoy_http_downstream_rq_time", "mcpbackend_sse_streams_ended_total")
	for _, outcome := range failures(t) {
		if err := found.Value("mcpbackend_tool_calls_total", "outcome", outcome); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func dashboards(t *testing.T) map[string]*observability.Dashboard {
	t.Helper()
	paths, err := filepath.Glob("observability/dashboards/*.json")
	if err != nil || len(paths) < 2 {
		t.Fatal(paths, err)
	}
	all := map[string]*observability.Dashboard{}
	for _, path := range paths {
		if all[path], err = observability.ReadDashboard(path); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return all
}

// Nothing that a person looks at may be empty because its name is wrong.
func TestDashboardsAndAlertsNameWhatExists(t *testing.T) {
	t.Parallel()
	found := existing(t)
	rules, err := observability.Rules("observability/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	read, err := found.Record(rules)
	if err != nil {
		t.Errorf("rules.yaml: %v", err)
	}
	if err := found.Tested(rules, "observability/rules_test.yaml", "observability/rules_slow_test.yaml"); err != nil {
		t.Error(err)
	}
	for path, d := range dashboards(t) {
		names, err := found.Dashboard(d)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		read = append(read, names...)
	}
	shown := map[string]bool{}
	for _, name := range read {
		shown[found.Family(name)] = true
	}
	for _, name := range found.Own() {
		if !shown[name] {
			t.Logf("%s is exposed, and nobody looks at it", name)
		}
	}
}

func TestDashboardsAreWhatGrafanaShows(t *testing.T) {
	t.Parallel()
	uids := map[string]bool{}
	for path, d := range dashboards(t) {
		if err := d.Check(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if uids[d.UID] {
			t.Errorf("%s has the uid of another one", path)
		}
		uids[d.UID] = true
	}
}

// headings are those of a page, as links name them.
func headings(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, found := range regexp.MustCompile(`(?m)^##+ (.+)$`).FindAllStringSubmatch(string(text), -1) {
		anchor := strings.ToLower(strings.ReplaceAll(found[1], " ", "-"))
		all = append(all, regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(anchor, ""))
	}
	return all
}

// What Kubernetes gets are the same rules.
func TestKubernetesGetsTheSameRules(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("observability/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	object := "# deploy/observability/rules.yaml as an object; go test -run SameRules -update writes it.\n" +
		"apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: neonpanel-mcp\n  labels:\n" +
		"    app.kubernetes.io/name: neonpanel-mcp\n    app.kubernetes.io/instance: neonpanel-mcp\nspec:\n"
	for line := range strings.Lines(string(rules)) {
		if strings.TrimSpace(line) != "" {
			object += "  "
		}
		object += line
	}
	for path, want := range map[string]string{
		"kubernetes/chart/files/rules.yaml": string(rules), "kubernetes/components/monitoring/prometheusrule.yaml": object,
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s is not deploy/observability/rules.yaml: run go test -run SameRules -update (%v)", path, err)
		}
	}
}

// So are the files of the Envoy that serves statistics.
func TestTheChartHasTheSameFiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"stats.yaml", "stats-cert.yaml", "stats-ca.yaml"} {
		a, err := os.ReadFile("kubernetes/components/monitoring/" + name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile("kubernetes/chart/files/" + name)
		if err != nil || string(a) != string(b) {
			t.Errorf("chart/files/%s differs: %v", name, err)
		}
	}
}

func TestEveryAlertSaysWhatToDo(t *testing.T) {
	t.Parallel()
	rules, err := observability.Rules("observability/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := observability.Conventions(rules, runbooks, headings(t, "../docs/runbooks.md")); err != nil {
		t.Error(err)
	}
}
