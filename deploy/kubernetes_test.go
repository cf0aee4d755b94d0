package deploy

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/neonpanel/mcp-gateway/deploy/internal/manifest"
	"github.com/neonpanel/mcp-gateway/deploy/internal/policy"
	"github.com/neonpanel/mcp-gateway/deploy/internal/render"
)

// variants are the overlays; the chart has values of the same names.
var variants = map[string]string{
	"staging": "neonpanel-mcp-staging", "production": "neonpanel-mcp", "tls": "neonpanel-mcp", "replicas": "neonpanel-mcp",
}

func kustomize(t *testing.T, dir string) manifest.Set {
	t.Helper()
	documents, err := render.Kustomize(dir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := manifest.Read(documents)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func helm(t *testing.T, r render.Release) manifest.Set {
	t.Helper()
	documents, err := render.Helm("kubernetes/chart", r)
	if err != nil {
		t.Fatal(err)
	}
	set, err := manifest.Read(documents)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func release(variant, namespace string) render.Release {
	return render.Release{Name: "neonpanel-mcp", Namespace: namespace, Values: []string{filepath.Join("kubernetes/chart/values", variant+".yaml")}}
}

// hashed is a name that Kustomize completed with a hash of the content; Helm
// writes that hash into an annotation of the pods.
var hashed = regexp.MustCompile(`(neonpanel-mcp-(?:settings|edge|stats))-[0-9a-z]{10}`)

func plain(t *testing.T, set manifest.Set) map[string]string {
	t.Helper()
	objects := map[string]string{}
	for _, o := range set {
		if d, ok := o.(*appsv1.Deployment); ok {
			for name := range d.Spec.Template.Annotations {
				if strings.HasPrefix(name, "checksum/") {
					delete(d.Spec.Template.Annotations, name)
				}
			}
		}
		text, err := json.MarshalIndent(o, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		objects[hashed.ReplaceAllString(manifest.Name(o), "$1")] = hashed.ReplaceAllString(string(text), "$1")
	}
	return objects
}

func TestBothRenderingsAreTheSameObjects(t *testing.T) {
	t.Parallel()
	for variant, namespace := range variants {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			k, h := plain(t, kustomize(t, "kubernetes/overlays/"+variant)), plain(t, helm(t, release(variant, namespace)))
			if len(k) < 9 {
				t.Errorf("only %d objects", len(k))
			}
			for name, want := range k {
				if got, ok := h[name]; !ok {
					t.Errorf("the chart renders no %s", name)
				} else if got != want {
					t.Errorf("%s differs: %s", name, difference(want, got))
				}
			}
			for name := range h {
				if _, ok := k[name]; !ok {
					t.Errorf("only the chart renders %s", name)
				}
			}
		})
	}
}

var update = flag.Bool("update", false, "write kubernetes/rendered anew")

// What the overlays make is kept as files, for readers, for "kubectl apply", and
// for the schemas of Kubernetes, which "make test" compares them with.
func TestTheRenderedFilesAreWhatTheOverlaysMake(t *testing.T) {
	t.Parallel()
	for variant := range variants {
		documents, err := render.Kustomize("kubernetes/overlays/" + variant)
		if err != nil {
			t.Fatal(err)
		}
		want := append([]byte("# Made of overlays/"+variant+": change that, not this.\n"), bytes.Join(documents, []byte("---\n"))...)
		file := filepath.Join("kubernetes/rendered", variant+".yaml")
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is stale (%v): cd deploy && go test -run TheRenderedFiles -update .", file, err)
		}
	}
	files, err := filepath.Glob("kubernetes/rendered/*")
	if err != nil || len(files) != len(variants) {
		t.Errorf("%v, but there are %d overlays: %v", files, len(variants), err)
	}
}

// difference shows the first lines that two texts do not share.
func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d\nkustomize: %s\nhelm:      %s", i, strings.Join(x[i:min(i+3, len(x))], "\n"), strings.Join(y[i:min(i+3, len(y))], "\n"))
		}
	}
	return fmt.Sprintf("%d and %d lines", len(x), len(y))
}

func TestEveryRuleHolds(t *testing.T) {
	t.Parallel()
	for variant, namespace := range variants {
		for how, set := range map[string]manifest.Set{
			"kustomize": kustomize(t, "kubernetes/overlays/"+variant), "helm": helm(t, release(variant, namespace)),
		} {
			for _, finding := range policy.Check(set) {
				t.Errorf("%s %s: %s", how, variant, finding)
			}
		}
	}
}

// A change of a setting has to reach the pods that run.
func TestAChangedSettingRollsOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("kubernetes")); err != nil {
		t.Fatal(err)
	}
	template := func(set manifest.Set) string {
		t.Helper()
		d, err := manifest.One[*appsv1.Deployment](set, "neonpanel-mcp")
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(d.Spec.Template)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	edit := func(path, from, to string) {
		t.Helper()
		path = filepath.Join(dir, path)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte(from)) {
			t.Fatalf("%s has no %q", path, from)
		}
		if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(from), []byte(to)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := template(kustomize(t, filepath.Join(dir, "overlays/production")))
	edit("overlays/production/kustomization.yaml", "https://mcp.example.com", "https://other.example.com")
	if template(kustomize(t, filepath.Join(dir, "overlays/production"))) == before {
		t.Error("kustomize: the pods stay as they are")
	}
	r := release("production", "neonpanel-mcp")
	before = template(helm(t, r))
	more := filepath.Join(dir, "more.yaml")
	if err := os.WriteFile(more, []byte("settings: {AUTHZ_LEEWAY: 10s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Values = append(r.Values, more)
	if template(helm(t, r)) == before {
		t.Error("helm: the pods stay as they are")
	}
}

func TestTheChartRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]string{
		"no URL":             "settings: {}",
		"a misspelt value":   "publicURL: https://mcp.example.com\ngatway: {enabled: true}",
		"a path in the URL":  "publicURL: https://mcp.example.com/mcp",
		"a number":           "publicURL: https://mcp.example.com\nsettings: {EDGE_TRUSTED_HOPS: 1}",
		"a Redis's password": "publicURL: https://mcp.example.com\nsettings: {MCPBACKEND_REDIS_URL: x}",
		"every network":      "publicURL: https://mcp.example.com\nredis: {networks: [0.0.0.0/0]}",
		"a secret":           "publicURL: https://mcp.example.com\nsettings: {AUTHZ_INTROSPECTION_CLIENT_SECRET: x}",
		"a foreign setting":  "publicURL: https://mcp.example.com\nsettings: {PATH: /tmp}",
		"the latest image":   "publicURL: https://mcp.example.com\nimage: {tag: latest}",
		"a route for nobody": "publicURL: https://mcp.example.com\ngateway: {enabled: true}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := render.Helm("kubernetes/chart", render.Release{Name: "x", Namespace: "x", Values: []string{file}}); err == nil {
				t.Error("it was rendered")
			}
		})
	}
}

// Names follow the release: two releases in one namespace do not meet.
// A Redis outside the cluster is named by its networks.
func TestTheChartLetsOutToARedisElsewhere(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte("redis: {port: 6380, networks: [10.1.2.0/24, 10.1.3.0/24]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := release("replicas", "neonpanel-mcp")
	r.Values = append(r.Values, file)
	n, err := manifest.One[*networkingv1.NetworkPolicy](helm(t, r), "neonpanel-mcp")
	if err != nil {
		t.Fatal(err)
	}
	last := n.Spec.Egress[len(n.Spec.Egress)-1]
	if len(last.Ports) != 1 || last.Ports[0].Port.String() != "6380" || len(last.To) != 2 ||
		last.To[0].IPBlock == nil || last.To[0].IPBlock.CIDR != "10.1.2.0/24" || last.To[1].IPBlock == nil || last.To[1].IPBlock.CIDR != "10.1.3.0/24" {
		t.Errorf("%+v", last)
	}
}

func TestReleasesDoNotMeet(t *testing.T) {
	t.Parallel()
	r := release("production", "neonpanel-mcp")
	first := map[string]bool{}
	for _, o := range helm(t, r) {
		first[manifest.Name(o)] = true
	}
	r.Name = "second"
	set := helm(t, r)
	for _, o := range set {
		if first[manifest.Name(o)] {
			t.Errorf("both releases have %s", manifest.Name(o))
		}
	}
	for _, finding := range policy.Check(set) {
		t.Error(finding)
	}
}

func TestUnknownFieldsAreErrors(t *testing.T) {
	t.Parallel()
	const good = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  type: ClusterIP\n"
	if _, err := manifest.Read([][]byte{[]byte(good)}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"unknown":  good + "  tpye: ClusterIP\n",
		"repeated": good + "  type: NodePort\n",
		"case":     strings.Replace(good, "type:", "Type:", 1),
		"kind":     strings.Replace(good, "Service", "Pod", 1),
		"type":     strings.Replace(good, "ClusterIP", "[1]", 1),
	} {
		if _, err := manifest.Read([][]byte{[]byte(text)}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The settings in the ConfigMap are the same as those that the guides name, and
// the deny list is one that authz can parse.
func TestTheDenyListIsEmpty(t *testing.T) {
	t.Parallel()
	m, err := manifest.One[*corev1.ConfigMap](kustomize(t, "kubernetes/overlays/production"), "neonpanel-mcp-deny")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Data["deny.yaml"]; got != "clients: []\njtis: []\nsubjects: []\n" {
		t.Errorf("it starts with %q", got)
	}
}
