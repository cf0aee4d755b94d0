package policy

import (
	"slices"
	"strings"
	"sync"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/neonpanel/mcp-gateway/deploy/internal/manifest"
	"github.com/neonpanel/mcp-gateway/deploy/internal/render"
)

const name = "neonpanel-mcp"

var production = sync.OnceValues(func() ([][]byte, error) {
	return render.Kustomize("../../kubernetes/overlays/production")
})

// good is the production overlay, read anew for each test to spoil.
func good(t *testing.T) manifest.Set {
	t.Helper()
	documents, err := production()
	if err != nil {
		t.Fatal(err)
	}
	set, err := manifest.Read(documents)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func one[T manifest.Object](t *testing.T, s manifest.Set, name string) T {
	t.Helper()
	o, err := manifest.One[T](s, name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func without[T manifest.Object](s manifest.Set) manifest.Set {
	return slices.DeleteFunc(s, func(o manifest.Object) bool { _, found := o.(T); return found })
}

func TestEveryRuleCatchesItsBreach(t *testing.T) {
	t.Parallel()
	yes, no, root, one32 := true, false, int64(0), int32(1)
	type container = *corev1.Container
	// A breach in the Deployment: what it does to the pod, and to its containers.
	pod := func(spoil func(p *corev1.PodSpec, c func(string) container)) func(*testing.T, manifest.Set) manifest.Set {
		return func(t *testing.T, s manifest.Set) manifest.Set {
			p := &one[*appsv1.Deployment](t, s, name).Spec.Template.Spec
			spoil(p, func(wanted string) container {
				for _, list := range [][]corev1.Container{p.InitContainers, p.Containers} {
					for i := range list {
						if list[i].Name == wanted {
							return &list[i]
						}
					}
				}
				t.Fatalf("no container %s", wanted)
				return nil
			})
			return s
		}
	}
	type breach struct {
		rule, what string
		spoil      func(*testing.T, manifest.Set) manifest.Set
	}
	breaches := []breach{
		{"non-root", "root", pod(func(_ *corev1.PodSpec, c func(string) container) { c("authz").SecurityContext.RunAsUser = &root })},
		{"non-root", "the image's user", pod(func(_ *corev1.PodSpec, c func(string) container) { c("envoy").SecurityContext.RunAsUser = nil })},
		{"non-root", "not enforced", pod(func(p *corev1.PodSpec, _ func(string) container) { p.SecurityContext.RunAsNonRoot = nil })},
		{"non-root", "root's group", pod(func(p *corev1.PodSpec, _ func(string) container) { p.SecurityContext.RunAsGroup = nil })},
		{"one-user-each", "mcpbackend as authz", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("mcpbackend").SecurityContext.RunAsUser = c("authz").SecurityContext.RunAsUser
		})},
		{"read-only-root", "writable", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("mcpbackend").SecurityContext.ReadOnlyRootFilesystem = &no
		})},
		{"read-only-root", "no context", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("envoyconf").SecurityContext.ReadOnlyRootFilesystem = nil
		})},
		{"no-escalation", "unset", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("envoy").SecurityContext.AllowPrivilegeEscalation = nil
		})},
		{"no-escalation", "privileged", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("envoy").SecurityContext.Privileged = &yes
		})},
		{"no-capabilities", "none dropped", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("envoy").SecurityContext.Capabilities = nil
		})},
		{"no-capabilities", "one added", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("envoy").SecurityContext.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"}}
		})},
		{"seccomp", "none", pod(func(p *corev1.PodSpec, _ func(string) container) { p.SecurityContext.SeccompProfile = nil })},
		{"seccomp", "one container unconfined", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("envoy").SecurityContext.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		})},
		{"no-host", "the node's network", pod(func(p *corev1.PodSpec, _ func(string) container) { p.HostNetwork = true })},
		{"no-host", "a directory of the node", pod(func(p *corev1.PodSpec, _ func(string) container) {
			p.Volumes[0].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
		})},
		{"no-host", "a port of the node", pod(func(_ *corev1.PodSpec, c func(string) container) { c("envoy").Ports[0].HostPort = 80 })},
		{"no-token", "mounted", pod(func(p *corev1.PodSpec, _ func(string) container) { p.AutomountServiceAccountToken = nil })},
		{"no-token", "the default account", pod(func(p *corev1.PodSpec, _ func(string) container) { p.ServiceAccountName = "" })},
		{"resources", "no request", pod(func(_ *corev1.PodSpec, c func(string) container) { c("authz").Resources.Requests = nil })},
		{"resources", "no limit", pod(func(_ *corev1.PodSpec, c func(string) container) { c("mcpbackend").Resources.Limits = nil })},
		{"resources", "a heap above the limit", func(t *testing.T, s manifest.Set) manifest.Set {
			for _, m := range manifest.All[*corev1.ConfigMap](s) {
				if m.Data["EDGE_MAX_HEAP"] != "" {
					m.Data["EDGE_MAX_HEAP"] = "1024MiB"
				}
			}
			return s
		}},
		{"pinned-image", "latest", pod(func(_ *corev1.PodSpec, c func(string) container) { c("envoy").Image = "envoyproxy/envoy:latest" })},
		{"pinned-image", "no tag", pod(func(_ *corev1.PodSpec, c func(string) container) { c("authz").Image = "host:5000/authz" })},
		{"no-secret-in-env", "by value", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("authz").Env = append(c("authz").Env, corev1.EnvVar{Name: "AUTHZ_INTROSPECTION_CLIENT_SECRET", Value: "x"})
		})},
		{"no-secret-in-env", "from a Secret", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("authz").EnvFrom = append(c("authz").EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{}})
		})},
		{"no-secret-in-env", "a key in a ConfigMap", func(t *testing.T, s manifest.Set) manifest.Set {
			manifest.All[*corev1.ConfigMap](s)[0].Data["X"] = "-----BEGIN PRIVATE KEY-----"
			return s
		}},
		{"no-secret-in-env", "a password in a URL", func(t *testing.T, s manifest.Set) manifest.Set {
			manifest.All[*corev1.ConfigMap](s)[0].Data["UPSTREAM_PROXY"] = "http://user:pass@proxy.example.com:3128"
			return s
		}},
		{"probes", "none", pod(func(_ *corev1.PodSpec, c func(string) container) { c("mcpbackend").ReadinessProbe = nil })},
		{"probes", "killed for missing keys", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("authz").LivenessProbe.Exec.Command = []string{"/usr/local/bin/authz", "healthcheck"}
		})},
		{"probes", "by the kubelet", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("authz").ReadinessProbe.ProbeHandler = corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(9101)}}
		})},
		{"probes", "too hasty", pod(func(_ *corev1.PodSpec, c func(string) container) { c("envoy").LivenessProbe.FailureThreshold = 1 })},
		{"sidecar", "an ordinary init container", pod(func(_ *corev1.PodSpec, c func(string) container) { c("authz").RestartPolicy = nil })},
		{"sidecar", "a main container", pod(func(p *corev1.PodSpec, c func(string) container) {
			authz := *c("authz")
			p.InitContainers = slices.DeleteFunc(p.InitContainers, func(c corev1.Container) bool { return c.Name == "authz" })
			p.Containers = append(p.Containers, authz)
		})},
		{"sockets", "writable for Envoy", pod(func(_ *corev1.PodSpec, c func(string) container) {
			for i := range c("envoy").VolumeMounts {
				c("envoy").VolumeMounts[i].ReadOnly = false
			}
		})},
		{"sockets", "on disk", pod(func(p *corev1.PodSpec, _ func(string) container) {
			for i := range p.Volumes {
				if p.Volumes[i].EmptyDir != nil {
					p.Volumes[i].EmptyDir.Medium = ""
				}
			}
		})},
		{"sockets", "no common group", pod(func(p *corev1.PodSpec, _ func(string) container) { p.SecurityContext.FSGroup = nil })},
		{"only-envoy-listens", "mcpbackend on TCP", func(t *testing.T, s manifest.Set) manifest.Set {
			for _, m := range manifest.All[*corev1.ConfigMap](s) {
				if m.Data["PUBLIC_URL"] != "" {
					m.Data["MCPBACKEND_LISTEN"] = "0.0.0.0:8081"
				}
			}
			return s
		}},
		{"only-envoy-listens", "a port of mcpbackend", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("mcpbackend").Ports = append(c("mcpbackend").Ports, corev1.ContainerPort{Name: "debug", ContainerPort: 6060})
		})},
		{"only-envoy-listens", "metrics without certificates", func(t *testing.T, s manifest.Set) manifest.Set {
			for _, m := range manifest.All[*corev1.ConfigMap](s) {
				delete(m.Data, "AUTHZ_TLS_CLIENT_CA")
			}
			return s
		}},
		{"only-envoy-listens", "Envoy's statistics without certificates", func(t *testing.T, s manifest.Set) manifest.Set {
			for _, m := range manifest.All[*corev1.ConfigMap](s) {
				if text, ok := m.Data["stats.yaml"]; ok {
					m.Data["stats.yaml"] = strings.ReplaceAll(text, "require_client_certificate: true", "require_client_certificate: false")
				}
			}
			return s
		}},
		{"only-envoy-listens", "a public service for metrics", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*corev1.Service](t, s, name).Spec.Ports[0].TargetPort = intstr.FromString("authz-ops")
			return s
		}},
		{"references", "no such volume", pod(func(p *corev1.PodSpec, _ func(string) container) { p.Volumes = p.Volumes[1:] })},
		{"references", "no such settings", func(_ *testing.T, s manifest.Set) manifest.Set { return without[*corev1.ConfigMap](s) }},
		{"references", "a service of nobody", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*corev1.Service](t, s, name).Spec.Selector = map[string]string{"app": "other"}
			return s
		}},
		{"references", "another namespace", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*corev1.Service](t, s, name).Namespace = "other"
			return s
		}},
		{"drain", "no preStop", pod(func(_ *corev1.PodSpec, c func(string) container) { c("envoy").Lifecycle = nil })},
		{"drain", "less than a call takes", pod(func(_ *corev1.PodSpec, c func(string) container) {
			c("mcpbackend").Lifecycle.PreStop.Sleep.Seconds = 5
		})},
		{"drain", "killed in the middle", pod(func(p *corev1.PodSpec, _ func(string) container) { p.TerminationGracePeriodSeconds = nil })},
		{"rollout", "capacity goes away", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*appsv1.Deployment](t, s, name).Spec.Strategy.RollingUpdate.MaxUnavailable = &intstr.IntOrString{IntVal: 1}
			return s
		}},
		{"rollout", "all on one node", pod(func(p *corev1.PodSpec, _ func(string) container) { p.TopologySpreadConstraints = nil })},
		{"disruption-budget", "none", func(_ *testing.T, s manifest.Set) manifest.Set {
			return without[*policyv1.PodDisruptionBudget](s)
		}},
		{"disruption-budget", "of everything in the namespace", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*policyv1.PodDisruptionBudget](t, s, name).Spec.Selector.MatchLabels = nil
			return s
		}},
		{"disruption-budget", "nodes cannot be drained", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*policyv1.PodDisruptionBudget](t, s, name).Spec.MaxUnavailable = &intstr.IntOrString{IntVal: 0}
			return s
		}},
		{"autoscaler", "none", func(_ *testing.T, s manifest.Set) manifest.Set {
			return without[*autoscalingv2.HorizontalPodAutoscaler](s)
		}},
		{"autoscaler", "replicas fixed too", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*appsv1.Deployment](t, s, name).Spec.Replicas = &one32
			return s
		}},
		{"network-policy", "none", func(_ *testing.T, s manifest.Set) manifest.Set {
			return without[*networkingv1.NetworkPolicy](s)
		}},
		{"network-policy", "every port", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*networkingv1.NetworkPolicy](t, s, name).Spec.Ingress[0].Ports = nil
			return s
		}},
		{"network-policy", "metrics for everybody", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*networkingv1.NetworkPolicy](t, s, name).Spec.Ingress[1].From = nil
			return s
		}},
		{"network-policy", "the cloud's metadata service", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*networkingv1.NetworkPolicy](t, s, name).Spec.Egress[1].To[0].IPBlock.Except = nil
			return s
		}},
		{"network-policy", "another port", func(t *testing.T, s manifest.Set) manifest.Set {
			port := intstr.FromInt32(25)
			one[*networkingv1.NetworkPolicy](t, s, name).Spec.Egress[1].Ports[0].Port = &port
			return s
		}},
		{"network-policy", "any Redis", func(t *testing.T, s manifest.Set) manifest.Set {
			port := intstr.FromInt32(6379)
			one[*networkingv1.NetworkPolicy](t, s, name).Spec.Egress[1].Ports[0].Port = &port
			return s
		}},
		{"stream-timeouts", "cut after a minute", func(t *testing.T, s manifest.Set) manifest.Set {
			minute := gatewayv1.Duration("60s")
			one[*gatewayv1.HTTPRoute](t, s, name).Spec.Rules[0].Timeouts.Request = &minute
			return s
		}},
		{"stream-timeouts", "the gateway's own", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*gatewayv1.HTTPRoute](t, s, name).Spec.Rules[0].Timeouts = nil
			return s
		}},
		{"scrape-with-certificates", "in the clear", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*monitoringv1.ServiceMonitor](t, s, name).Spec.Endpoints[0].Scheme = nil
			return s
		}},
		{"scrape-with-certificates", "unverified", func(t *testing.T, s manifest.Set) manifest.Set {
			one[*monitoringv1.ServiceMonitor](t, s, name).Spec.Endpoints[0].TLSConfig.InsecureSkipVerify = &yes
			return s
		}},
	}
	for _, rule := range Rules() {
		if !slices.ContainsFunc(breaches, func(b breach) bool { return b.rule == rule.Name }) {
			t.Errorf("no breach of %s is tried", rule.Name)
		}
	}
	for _, breach := range breaches {
		t.Run(breach.rule+"/"+breach.what, func(t *testing.T) {
			t.Parallel()
			findings := Check(breach.spoil(t, good(t)))
			if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == breach.rule }) {
				t.Errorf("not caught; found: %v", findings)
			}
		})
	}
}

func TestNoFindingsInWhatIsGood(t *testing.T) {
	t.Parallel()
	for _, finding := range Check(good(t)) {
		t.Error(finding)
	}
	for _, rule := range Rules() {
		if rule.Reason == "" {
			t.Errorf("%s has no reason", rule.Name)
		}
	}
}
