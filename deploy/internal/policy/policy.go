// Package policy holds the rules that every deployment of the gateway follows,
// each with its reason.
package policy

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/neonpanel/mcp-gateway/deploy/internal/manifest"
)

// Finding is one breach of a rule.
type Finding struct{ Rule, Where, What string }

func (f Finding) String() string { return f.Rule + ": " + f.Where + ": " + f.What }

// Rule is one thing that must hold.
type Rule struct {
	Name, Reason string
	check        func(*deployment)
}

// Rules are all of them.
func Rules() []Rule {
	return []Rule{
		{"non-root", "a process that breaks out is nobody", nonRoot},
		{"one-user-each", "a part cannot write what another owns", oneUserEach},
		{"read-only-root", "nothing can be planted", readOnlyRoot},
		{"no-escalation", "no setuid program gives rights back", noEscalation},
		{"no-capabilities", "none is needed", noCapabilities},
		{"seccomp", "system calls that no program here needs are closed", seccomp},
		{"no-host", "the node's network, processes and files are not the gateway's", noHost},
		{"no-token", "nothing here talks to the Kubernetes API", noToken},
		{"resources", "a pod without requests is evicted first; without a memory limit it takes the node along", resources},
		{"pinned-image", "what runs is what was tested", pinnedImage},
		{"no-secret-in-env", "environments end up in dumps and descriptions", noSecretInEnv},
		{"probes", "a part that hangs is noticed, and none is killed because NeonPanel is down", probes},
		{"sidecar", "authz starts before Envoy and ends after it", sidecar},
		{"sockets", "each directory of sockets is writable for its owner alone, and in memory", sockets},
		{"only-envoy-listens", "nothing can be reached past Envoy", onlyEnvoyListens},
		{"references", "volumes, settings and ports that are named exist", references},
		{"drain", "open calls finish before the pod ends", drain},
		{"rollout", "a rollout takes no capacity away", rollout},
		{"disruption-budget", "a drain of nodes leaves pods standing", disruptionBudget},
		{"autoscaler", "there are as many pods as needed", autoscaler},
		{"network-policy", "in comes only what Envoy and Prometheus ask; out goes only names and HTTPS", networkPolicy},
		{"stream-timeouts", "a gateway in front must not cut streams", streamTimeouts},
		{"scrape-with-certificates", "metrics leave the pod over mutual TLS alone", scrapeWithCertificates},
	}
}

// Check returns every breach.
func Check(set manifest.Set) []Finding {
	d := &deployment{set: set}
	apps := manifest.All[*appsv1.Deployment](set)
	if len(apps) != 1 {
		return []Finding{{"references", "Deployment", fmt.Sprintf("there are %d, not one", len(apps))}}
	}
	d.Deployment = apps[0]
	d.pod = &d.Spec.Template.Spec
	d.containers = append(slices.Clone(d.pod.InitContainers), d.pod.Containers...)
	for _, rule := range Rules() {
		d.rule = rule.Name
		rule.check(d)
	}
	return d.findings
}

type deployment struct {
	*appsv1.Deployment
	set        manifest.Set
	pod        *corev1.PodSpec
	containers []corev1.Container
	rule       string
	findings   []Finding
}

func (d *deployment) report(where, format string, args ...any) {
	d.findings = append(d.findings, Finding{d.rule, where, fmt.Sprintf(format, args...)})
}

// each judges every container; one without a security context gets an empty one.
func (d *deployment) each(judge func(c corev1.Container, sc corev1.SecurityContext)) {
	for _, c := range d.containers {
		var sc corev1.SecurityContext
		if c.SecurityContext != nil {
			sc = *c.SecurityContext
		}
		judge(c, sc)
	}
}

func (d *deployment) context() corev1.PodSecurityContext {
	if d.pod.SecurityContext == nil {
		return corev1.PodSecurityContext{}
	}
	return *d.pod.SecurityContext
}

func (d *deployment) container(name string) *corev1.Container {
	for i := range d.containers {
		if d.containers[i].Name == name {
			return &d.containers[i]
		}
	}
	d.report(name, "there is no such container")
	return nil
}

func is(b *bool, want bool) bool { return b != nil && *b == want }

func nonRoot(d *deployment) {
	pod := d.context()
	d.each(func(c corev1.Container, sc corev1.SecurityContext) {
		user := sc.RunAsUser
		if user == nil {
			user = pod.RunAsUser
		}
		switch {
		case user == nil:
			d.report(c.Name, "set runAsUser: the image's own user may change")
		case *user == 0:
			d.report(c.Name, "runs as root")
		case sc.RunAsNonRoot != nil && !*sc.RunAsNonRoot, sc.RunAsNonRoot == nil && !is(pod.RunAsNonRoot, true):
			d.report(c.Name, "set runAsNonRoot")
		}
		if sc.RunAsGroup != nil && *sc.RunAsGroup == 0 || sc.RunAsGroup == nil && (pod.RunAsGroup == nil || *pod.RunAsGroup == 0) {
			d.report(c.Name, "its group is root's")
		}
	})
}

func oneUserEach(d *deployment) {
	owners := map[int64]string{}
	for _, name := range []string{"envoy", "authz", "mcpbackend"} {
		c := d.container(name)
		if c == nil || c.SecurityContext == nil || c.SecurityContext.RunAsUser == nil {
			continue // non-root tells
		}
		user := *c.SecurityContext.RunAsUser
		if other := owners[user]; other != "" {
			d.report(name, "is the same user as %s", other)
		}
		owners[user] = name
	}
}

func readOnlyRoot(d *deployment) {
	d.each(func(c corev1.Container, sc corev1.SecurityContext) {
		if !is(sc.ReadOnlyRootFilesystem, true) {
			d.report(c.Name, "set readOnlyRootFilesystem")
		}
	})
}

func noEscalation(d *deployment) {
	d.each(func(c corev1.Container, sc corev1.SecurityContext) {
		if !is(sc.AllowPrivilegeEscalation, false) {
			d.report(c.Name, "set allowPrivilegeEscalation to false")
		}
		if is(sc.Privileged, true) {
			d.report(c.Name, "is privileged")
		}
	})
}

func noCapabilities(d *deployment) {
	d.each(func(c corev1.Container, sc corev1.SecurityContext) {
		if sc.Capabilities == nil || !slices.Contains(sc.Capabilities.Drop, "ALL") || len(sc.Capabilities.Add) > 0 {
			d.report(c.Name, "drop ALL, add none")
		}
	})
}

func seccomp(d *deployment) {
	good := func(p *corev1.SeccompProfile) bool {
		return p != nil && p.Type != corev1.SeccompProfileTypeUnconfined
	}
	if !good(d.context().SeccompProfile) {
		d.report("pod", "set seccompProfile to RuntimeDefault")
	}
	d.each(func(c corev1.Container, sc corev1.SecurityContext) {
		if sc.SeccompProfile != nil && !good(sc.SeccompProfile) {
			d.report(c.Name, "is unconfined")
		}
	})
}

func noHost(d *deployment) {
	if d.pod.HostNetwork || d.pod.HostPID || d.pod.HostIPC || is(d.pod.ShareProcessNamespace, true) {
		d.report("pod", "shares a namespace")
	}
	for _, v := range d.pod.Volumes {
		if v.HostPath != nil {
			d.report(v.Name, "is a directory of the node")
		}
	}
	for _, c := range d.containers {
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				d.report(c.Name, "takes a port of the node")
			}
		}
	}
}

func noToken(d *deployment) {
	if !is(d.pod.AutomountServiceAccountToken, false) {
		d.report("pod", "set automountServiceAccountToken to false")
	}
	if d.pod.ServiceAccountName == "" || d.pod.ServiceAccountName == "default" {
		d.report("pod", "needs a service account of its own, or it has the rights of others'")
		return
	}
	account, err := manifest.One[*corev1.ServiceAccount](d.set, d.pod.ServiceAccountName)
	if err != nil {
		d.report("pod", "%v", err)
	} else if !is(account.AutomountServiceAccountToken, false) {
		d.report(manifest.Name(account), "set automountServiceAccountToken to false")
	}
}

func resources(d *deployment) {
	for _, c := range d.containers {
		cpu, memory, limit := c.Resources.Requests.Cpu(), c.Resources.Requests.Memory(), c.Resources.Limits.Memory()
		switch {
		case cpu.IsZero() || memory.IsZero():
			d.report(c.Name, "request cpu and memory")
		case limit.IsZero() || limit.Cmp(*memory) < 0:
			d.report(c.Name, "limit memory, to no less than is requested")
		}
	}
	// Envoy must refuse requests before the kernel kills it.
	if heap, c := d.setting("EDGE_MAX_HEAP"), d.container("envoy"); c != nil {
		var mebibytes int64
		if _, err := fmt.Sscanf(heap, "%dMiB", &mebibytes); err != nil || mebibytes<<20 > c.Resources.Limits.Memory().Value()*4/5 {
			d.report("envoy", "EDGE_MAX_HEAP is %q: write it in MiB, at most four fifths of the memory limit", heap)
		}
	}
}

var tagged = regexp.MustCompile(`(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9_.-]*)$`)

func pinnedImage(d *deployment) {
	for _, c := range d.containers {
		if !tagged.MatchString(c.Image) || strings.HasSuffix(c.Image, ":latest") {
			d.report(c.Name, "%s is not a version", c.Image)
		}
	}
}

var (
	secretName  = regexp.MustCompile(`(?i)(secret|password|private|credential|token)`)
	harmless    = regexp.MustCompile(`(_FILE|_TOKEN_MODE)$`)
	secretValue = regexp.MustCompile(`-----BEGIN|^eyJ[A-Za-z0-9_-]+\.|://[^/@]*:[^/@]*@`)
)

func noSecretInEnv(d *deployment) {
	judge := func(where, name, value string) {
		if secretName.MatchString(name) && !harmless.MatchString(name) {
			d.report(where, "%s is to be a file (…_FILE)", name)
		} else if secretValue.MatchString(value) {
			d.report(where, "the value of %s looks like a secret", name)
		}
	}
	for _, c := range d.containers {
		for _, e := range c.Env {
			judge(c.Name, e.Name, e.Value)
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				d.report(c.Name, "%s comes from a Secret: mount it", e.Name)
			}
		}
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				d.report(c.Name, "a whole Secret becomes its environment: mount it")
			}
		}
	}
	for _, m := range manifest.All[*corev1.ConfigMap](d.set) {
		for name, value := range m.Data {
			judge(manifest.Name(m), name, value)
		}
	}
}

func probes(d *deployment) {
	for _, name := range []string{"authz", "envoy", "mcpbackend"} {
		c := d.container(name)
		if c == nil {
			continue
		}
		for kind, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			switch {
			case p == nil:
				d.report(name, "has no %s probe", kind)
			case p.Exec == nil:
				d.report(name, "its %s probe has to be a command: nothing listens that the kubelet can reach", kind)
			case p.TimeoutSeconds < 2:
				d.report(name, "its %s probe has less than the 2 s that a healthcheck takes to give up", kind)
			case name == "authz" && kind != "readiness" && !slices.Contains(p.Exec.Command, "--live"):
				d.report(name, "its %s probe asks for keys, which NeonPanel may be late with: add --live", kind)
			}
		}
		if p := c.LivenessProbe; p != nil && p.PeriodSeconds*p.FailureThreshold < 30 {
			d.report(name, "is killed after less than half a minute")
		}
	}
}

func sidecar(d *deployment) {
	for _, c := range d.pod.InitContainers {
		if c.Name == "authz" {
			if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
				d.report("authz", "an init container without restartPolicy: Always has to end before Envoy starts")
			}
			return
		}
	}
	d.report("authz", "is no init container: it may start after Envoy and end before it")
}

// socketOwner says who owns the directories of sockets and of the bootstrap.
var socketOwner = map[string]string{
	"/run/neonpanel/authz": "authz", "/run/neonpanel/mcpbackend": "mcpbackend", "/etc/envoy": "envoyconf",
}

func sockets(d *deployment) {
	volumes := map[string]corev1.Volume{}
	for _, v := range d.pod.Volumes {
		volumes[v.Name] = v
	}
	mounted := map[string]string{}
	for _, c := range d.containers {
		for _, m := range c.VolumeMounts {
			owner, ok := socketOwner[m.MountPath]
			if !ok {
				continue
			}
			mounted[m.MountPath] = m.Name
			if m.ReadOnly == (c.Name == owner) {
				d.report(c.Name, "%s is writable for %s, and for nobody else", m.MountPath, owner)
			}
			if v := volumes[m.Name]; v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumMemory || v.EmptyDir.SizeLimit == nil {
				d.report(m.Name, "has to be in memory, with a limit of size")
			}
		}
	}
	if len(mounted) != len(socketOwner) || mounted["/run/neonpanel/authz"] == mounted["/run/neonpanel/mcpbackend"] {
		d.report("pod", "each owner needs a volume of its own: %v", mounted)
	}
	if d.context().FSGroup == nil {
		d.report("pod", "without fsGroup Envoy cannot open the sockets")
	}
}

// opsPort is a port on which metrics are served over mutual TLS.
var opsPort = map[string]string{"authz-ops": "AUTHZ", "backend-ops": "MCPBACKEND", "envoy-ops": ""}

// certified says that whoever asks an operations port has to show a certificate.
func (d *deployment) certified(port string) bool {
	if prefix := opsPort[port]; prefix != "" {
		return d.setting(prefix+"_TLS_CERT") != "" && d.setting(prefix+"_TLS_CLIENT_CA") != ""
	}
	// That of Envoy's statistics is served by an Envoy with a bootstrap of its own.
	for _, m := range manifest.All[*corev1.ConfigMap](d.set) {
		if text, ok := m.Data["stats.yaml"]; ok {
			return strings.Count(text, "socket_address: {address: 0.0.0.0") == 1 && strings.Contains(text, "require_client_certificate: true")
		}
	}
	return false
}

func onlyEnvoyListens(d *deployment) {
	for _, c := range d.containers {
		for _, p := range c.Ports {
			if _, ok := opsPort[p.Name]; ok {
				if !d.certified(p.Name) {
					d.report(c.Name, "port %s has no certificates", p.Name)
				}
			} else if c.Name != "envoy" || p.Name != "edge" {
				d.report(c.Name, "opens port %d", p.ContainerPort)
			}
		}
	}
	for _, name := range []string{"AUTHZ_LISTEN", "AUTHZ_DISCOVERY_LISTEN", "MCPBACKEND_LISTEN"} {
		if v := d.setting(name); v != "" && !strings.HasPrefix(v, "unix:") {
			d.report(name, "%s is no unix socket", v)
		}
	}
	for _, s := range manifest.All[*corev1.Service](d.set) {
		for _, p := range s.Spec.Ports {
			target := p.TargetPort.String()
			if _, ops := opsPort[target]; target != "edge" && (!ops || s.Spec.ClusterIP != corev1.ClusterIPNone) {
				d.report(manifest.Name(s), "leads to port %s", target)
			}
		}
	}
}

// setting is what the settings say, or an override in a container.
func (d *deployment) setting(name string) string {
	for _, c := range d.containers {
		for _, e := range c.Env {
			if e.Name == name {
				return e.Value
			}
		}
		for _, from := range c.EnvFrom {
			if from.ConfigMapRef == nil {
				continue
			}
			if m, err := manifest.One[*corev1.ConfigMap](d.set, from.ConfigMapRef.Name); err == nil && m.Data[name] != "" {
				return m.Data[name]
			}
		}
	}
	return ""
}

func references(d *deployment) {
	volumes, used := map[string]bool{}, map[string]bool{}
	for _, v := range d.pod.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil {
			if _, err := manifest.One[*corev1.ConfigMap](d.set, v.ConfigMap.Name); err != nil {
				d.report(v.Name, "%v", err)
			}
		}
	}
	ports := map[string]bool{}
	for _, c := range d.containers {
		for _, m := range c.VolumeMounts {
			used[m.Name] = true
			if !volumes[m.Name] {
				d.report(c.Name, "there is no volume %s", m.Name)
			}
		}
		for _, from := range c.EnvFrom {
			if from.ConfigMapRef != nil {
				if _, err := manifest.One[*corev1.ConfigMap](d.set, from.ConfigMapRef.Name); err != nil {
					d.report(c.Name, "%v", err)
				}
			}
		}
		for _, p := range c.Ports {
			ports[p.Name] = true
		}
	}
	for name := range volumes {
		if !used[name] {
			d.report(name, "is a volume that nobody mounts")
		}
	}
	pod := labels.Set(d.Spec.Template.Labels)
	if !selects(d.Spec.Selector, pod) {
		d.report("Deployment", "does not select its own pods")
	}
	for _, s := range manifest.All[*corev1.Service](d.set) {
		if len(s.Spec.Selector) == 0 || !labels.SelectorFromSet(s.Spec.Selector).Matches(pod) {
			d.report(manifest.Name(s), "selects no pod")
		}
		for _, p := range s.Spec.Ports {
			if !ports[p.TargetPort.String()] {
				d.report(manifest.Name(s), "no container has the port %s", p.TargetPort.String())
			}
		}
	}
	for _, o := range d.set {
		if o.GetNamespace() != d.Namespace {
			d.report(manifest.Name(o), "is in another namespace")
		}
	}
}

// selects is true for a selector that takes in these labels, and not everything.
func selects(s *metav1.LabelSelector, set labels.Set) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && !selector.Empty() && selector.Matches(set)
}

// What a call takes at most in mcpbackend, and what mcpbackend gives calls after
// SIGTERM, in seconds.
const (
	longestCall  = 28
	backendDrain = 9
)

func drain(d *deployment) {
	envoy, backend := d.container("envoy"), d.container("mcpbackend")
	if envoy == nil || backend == nil {
		return
	}
	if envoy.Lifecycle == nil || envoy.Lifecycle.PreStop == nil || envoy.Lifecycle.PreStop.Exec == nil {
		d.report("envoy", "has no preStop, and SIGTERM cuts what is open")
	}
	if backend.Lifecycle == nil || backend.Lifecycle.PreStop == nil || backend.Lifecycle.PreStop.Sleep == nil {
		d.report("mcpbackend", "has to wait before SIGTERM, until no new calls come")
		return
	}
	wait := backend.Lifecycle.PreStop.Sleep.Seconds
	if wait+backendDrain < longestCall {
		d.report("mcpbackend", "gives open calls %d s, but one may take %d s", wait+backendDrain, longestCall)
	}
	grace := d.pod.TerminationGracePeriodSeconds
	if grace == nil || *grace < wait+backendDrain+30 {
		d.report("pod", "terminationGracePeriodSeconds is too short for what has to happen in it")
	}
}

func rollout(d *deployment) {
	r := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || r == nil || r.MaxUnavailable == nil || r.MaxUnavailable.String() != "0" {
		d.report("Deployment", "set maxUnavailable to 0")
	}
	if len(d.pod.TopologySpreadConstraints) == 0 {
		d.report("pod", "all pods may land on one node")
	}
}

func disruptionBudget(d *deployment) {
	for _, b := range manifest.All[*policyv1.PodDisruptionBudget](d.set) {
		if selects(b.Spec.Selector, d.Spec.Template.Labels) {
			if b.Spec.MaxUnavailable == nil || b.Spec.MaxUnavailable.String() != "1" {
				d.report(manifest.Name(b), "one pod at a time: more makes an outage, none blocks the drain of nodes")
			}
			return
		}
	}
	d.report("PodDisruptionBudget", "there is none for these pods, and these alone")
}

func autoscaler(d *deployment) {
	for _, h := range manifest.All[*autoscalingv2.HorizontalPodAutoscaler](d.set) {
		if h.Spec.ScaleTargetRef.Kind != "Deployment" || h.Spec.ScaleTargetRef.Name != d.Name {
			continue
		}
		if d.Spec.Replicas != nil {
			d.report("Deployment", "replicas would undo what the autoscaler did, at every deployment")
		}
		if h.Spec.MinReplicas == nil || *h.Spec.MinReplicas > h.Spec.MaxReplicas {
			d.report(manifest.Name(h), "minReplicas is unset, or above maxReplicas")
		}
		for _, m := range h.Spec.Metrics {
			if m.ContainerResource == nil || d.container(m.ContainerResource.Container) == nil {
				d.report(manifest.Name(h), "a metric is of no container")
			}
		}
		if len(h.Spec.Metrics) == 0 {
			d.report(manifest.Name(h), "measures nothing")
		}
		return
	}
	d.report("HorizontalPodAutoscaler", "there is none for this Deployment")
}

// internal are addresses inside: a request there could only be a trick.
var internal = []netip.Addr{netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("fd00::1")}

func networkPolicy(d *deployment) {
	for _, n := range manifest.All[*networkingv1.NetworkPolicy](d.set) {
		if !selects(&n.Spec.PodSelector, d.Spec.Template.Labels) {
			continue
		}
		if len(n.Spec.PolicyTypes) != 2 {
			d.report(manifest.Name(n), "name both policyTypes")
		}
		for _, in := range n.Spec.Ingress {
			if len(in.Ports) == 0 {
				d.report(manifest.Name(n), "every port is open")
			}
			for _, p := range in.Ports {
				_, ops := opsPort[p.Port.String()]
				if p.Port.String() != "edge" && (!ops || len(in.From) == 0) {
					d.report(manifest.Name(n), "port %s is open", p.Port)
				}
			}
		}
		for _, out := range n.Spec.Egress {
			for _, p := range out.Ports {
				redis := p.Port != nil && p.Port.String() == "6379" && !slices.ContainsFunc(out.To, func(to networkingv1.NetworkPolicyPeer) bool {
					return to.NamespaceSelector == nil || len(to.NamespaceSelector.MatchLabels) == 0
				})
				if !redis && (p.Port == nil || p.Port.String() != "53" && p.Port.String() != "443") {
					d.report(manifest.Name(n), "only names, HTTPS, and what replicas share go out")
				}
			}
			if len(out.Ports) == 0 || len(out.To) == 0 {
				d.report(manifest.Name(n), "a rule lets out everything, or everywhere")
			}
			for _, to := range out.To {
				if to.IPBlock == nil {
					continue
				}
				for _, address := range internal {
					if within(address, to.IPBlock.CIDR) && !slices.ContainsFunc(to.IPBlock.Except, func(e string) bool { return within(address, e) }) {
						d.report(manifest.Name(n), "%s can be reached", address)
					}
				}
			}
		}
		return
	}
	d.report("NetworkPolicy", "there is none for these pods, and these alone")
}

func within(a netip.Addr, cidr string) bool {
	p, err := netip.ParsePrefix(cidr)
	return err == nil && p.Contains(a)
}

// streams are the paths whose answers may stay open for as long as a token lives.
var streams = []string{"/mcp", "/sse", "/sse/"}

func streamTimeouts(d *deployment) {
	for _, r := range manifest.All[*gatewayv1.HTTPRoute](d.set) {
		unlimited := map[string]bool{}
		for _, rule := range r.Spec.Rules {
			for _, m := range rule.Matches {
				t := rule.Timeouts
				if m.Path != nil && m.Path.Value != nil && t != nil && t.Request != nil && *t.Request == "0s" && t.BackendRequest != nil && *t.BackendRequest == "0s" {
					unlimited[*m.Path.Value] = true
				}
			}
		}
		for _, path := range streams {
			if !unlimited[path] {
				d.report(manifest.Name(r), "%s needs timeouts of 0s", path)
			}
		}
		if d.setting("EDGE_TRUSTED_HOPS") == "" {
			d.report(manifest.Name(r), "behind a gateway EDGE_TRUSTED_HOPS has to be set, or all clients look like one")
		}
	}
}

func scrapeWithCertificates(d *deployment) {
	for _, m := range manifest.All[*monitoringv1.ServiceMonitor](d.set) {
		for _, e := range m.Spec.Endpoints {
			tls := e.TLSConfig
			if e.Scheme == nil || *e.Scheme != "https" || tls == nil || tls.KeySecret == nil || tls.Cert.Secret == nil || tls.CA.Secret == nil || is(tls.InsecureSkipVerify, true) {
				d.report(manifest.Name(m), "%s is to be asked with a certificate, and to show one", e.Port)
			}
		}
		found := slices.ContainsFunc(manifest.All[*corev1.Service](d.set), func(s *corev1.Service) bool { return selects(&m.Spec.Selector, s.Labels) })
		if !found {
			d.report(manifest.Name(m), "selects no Service")
		}
	}
}
