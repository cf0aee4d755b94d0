package deploy

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type ecsTask struct {
	Volumes              []struct{ Name string }
	ContainerDefinitions []ecsContainer
}

type ecsContainer struct {
	Name, Image, User      string
	Essential              bool
	EntryPoint, Command    []string
	ReadonlyRootFilesystem bool
	LinuxParameters        struct{ Capabilities struct{ Add, Drop []string } }
	Memory, StopTimeout    int
	DependsOn              []struct{ ContainerName, Condition string }
	Environment            []struct{ Name, Value string }
	HealthCheck            struct{ Command []string }
	MountPoints            []struct {
		SourceVolume, ContainerPath string
		ReadOnly                    bool
	}
	PortMappings []struct{ ContainerPort int }
}

func (c ecsContainer) env() map[string]string {
	all := map[string]string{}
	for _, e := range c.Environment {
		all[e.Name] = e.Value
	}
	return all
}

type attributes []struct{ Key, Value string }

func (a attributes) get(key string) string {
	for _, e := range a {
		if e.Key == key {
			return e.Value
		}
	}
	return ""
}

type ecsTemplate struct {
	Resources struct {
		Task         struct{ Properties ecsTask }
		LoadBalancer struct {
			Properties struct{ LoadBalancerAttributes attributes }
		}
		Targets struct {
			Properties struct {
				HealthCheckPath       string
				TargetGroupAttributes attributes
			}
		}
	}
}

func readTemplate(t *testing.T) ecsTemplate {
	t.Helper()
	text, err := os.ReadFile("ecs/template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var template ecsTemplate
	// CloudFormation's own tags stand before values, whose text is all that is
	// compared here.
	if err := yaml.Unmarshal(text, &template); err != nil {
		t.Fatal(err)
	}
	return template
}

const (
	longestCall  = 28 // seconds that a call takes at most in mcpbackend
	heartbeat    = 15 // seconds between the comments on a stream
	backendDrain = 9  // seconds that mcpbackend gives calls after SIGTERM
)

// breaches are what a task must not do.
func breaches(template ecsTemplate) (found []string) {
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	owner := map[string]string{"/etc/envoy": "envoyconf", "/run/neonpanel/authz": "authz", "/run/neonpanel/mcpbackend": "mcpbackend"}
	writable := map[string]string{}
	users := map[string]string{}
	memory := 0
	by := map[string]ecsContainer{}
	for _, c := range template.Resources.Task.Properties.ContainerDefinitions {
		by[c.Name] = c
		memory += c.Memory
		user, group, ok := strings.Cut(c.User, ":")
		if !ok || user == "0" || group != "65532" {
			report("%s: user %q is root, or not of the common group", c.Name, c.User)
		}
		users[user] += c.Name + " "
		if !c.ReadonlyRootFilesystem {
			report("%s: its root is writable", c.Name)
		}
		if !slices.Equal(c.LinuxParameters.Capabilities.Drop, []string{"ALL"}) || len(c.LinuxParameters.Capabilities.Add) > 0 {
			report("%s: drop ALL, add none", c.Name)
		}
		for name := range c.env() {
			if strings.Contains(name, "SECRET") && !strings.HasSuffix(name, "_FILE") {
				report("%s: %s is in the definition", c.Name, name)
			}
		}
		for _, m := range c.MountPoints {
			if !m.ReadOnly && owner[m.ContainerPath] != "" {
				if owner[m.ContainerPath] != c.Name {
					report("%s: writes %s", c.Name, m.ContainerPath)
				}
				writable[m.ContainerPath] = c.Name
			}
		}
		if c.Essential && len(c.HealthCheck.Command) == 0 {
			report("%s: no health check", c.Name)
		}
		if len(c.PortMappings) > 0 && c.Name != "envoy" {
			report("%s: can be reached past Envoy", c.Name)
		}
	}
	for _, name := range []string{"envoyconf", "authz", "mcpbackend", "envoy"} {
		if _, ok := by[name]; !ok {
			report("no container %s", name)
		}
	}
	if len(writable) != len(owner) {
		report("writable are only %v", writable)
	}
	for _, name := range []string{"65532", "65533"} {
		if len(strings.Fields(users[name])) != 1 {
			report("user %s is shared: %s", name, users[name])
		}
	}
	if memory > 2048 {
		report("the limits add up to %d MiB", memory)
	}
	envoy := by["envoy"]
	depends := map[string]string{}
	for _, d := range envoy.DependsOn {
		depends[d.ContainerName] = d.Condition
	}
	if depends["envoyconf"] != "SUCCESS" || depends["authz"] != "HEALTHY" {
		report("envoy depends on %v", depends)
	}
	if depends["mcpbackend"] != "" {
		report("mcpbackend would be stopped after envoy: it could not end its streams")
	}
	number := func(what, text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			report("%s: %v", what, err)
		}
		return n
	}
	longest := number("EDGE_DRAIN_LONGEST", envoy.env()["EDGE_DRAIN_LONGEST"])
	if envoy.StopTimeout > 120 || longest >= envoy.StopTimeout || longest <= backendDrain {
		report("envoy: drains for %d s at most, of the %d s that it has", longest, envoy.StopTimeout)
	}
	if s := by["mcpbackend"].StopTimeout; s <= backendDrain {
		report("mcpbackend: killed after %d s", s)
	}
	idle := number("idle timeout", template.Resources.LoadBalancer.Properties.LoadBalancerAttributes.get("idle_timeout.timeout_seconds"))
	if idle < 2*heartbeat || idle <= longestCall || idle >= 3600 {
		report("the load balancer cuts what is idle for %d s", idle)
	}
	delay := number("deregistration delay", template.Resources.Targets.Properties.TargetGroupAttributes.get("deregistration_delay.timeout_seconds"))
	if delay <= longestCall {
		report("calls get %d s after the load balancer has let go", delay)
	}
	if template.Resources.Targets.Properties.HealthCheckPath != "/health" {
		report("only /health answers under any host")
	}
	if envoy.env()["EDGE_SH"] != edgeScript() {
		report("EDGE_SH is not deploy/kubernetes/base/edge.sh")
	}
	if by["envoyconf"].env()["EDGE_TRUSTED_HOPS"] != "1" {
		report("all clients look like the load balancer")
	}
	return found
}

func edgeScript() string {
	text, err := os.ReadFile("kubernetes/base/edge.sh")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func TestTheTaskFollowsTheRules(t *testing.T) {
	t.Parallel()
	for _, breach := range breaches(readTemplate(t)) {
		t.Error(breach)
	}
}

func TestBreachesOfTheTaskAreCaught(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(c map[string]*ecsContainer, template *ecsTemplate){
		"root":              func(c map[string]*ecsContainer, _ *ecsTemplate) { c["authz"].User = "0:65532" },
		"writable":          func(c map[string]*ecsContainer, _ *ecsTemplate) { c["envoy"].ReadonlyRootFilesystem = false },
		"drop ALL":          func(c map[string]*ecsContainer, _ *ecsTemplate) { c["envoy"].LinuxParameters.Capabilities.Drop = nil },
		"in the definition": func(c map[string]*ecsContainer, _ *ecsTemplate) { c["authz"].Environment[0].Name = "CLIENT_SECRET" },
		"writes /run/neonpanel/authz": func(c map[string]*ecsContainer, _ *ecsTemplate) {
			c["envoy"].MountPoints[1].ReadOnly = false
		},
		"no health check":           func(c map[string]*ecsContainer, _ *ecsTemplate) { c["authz"].HealthCheck.Command = nil },
		"past Envoy":                func(c map[string]*ecsContainer, _ *ecsTemplate) { c["authz"].PortMappings = c["envoy"].PortMappings },
		"is shared":                 func(c map[string]*ecsContainer, _ *ecsTemplate) { c["mcpbackend"].User = c["authz"].User },
		"add up":                    func(c map[string]*ecsContainer, _ *ecsTemplate) { c["envoy"].Memory = 4096 },
		"envoy depends on":          func(c map[string]*ecsContainer, _ *ecsTemplate) { c["envoy"].DependsOn[1].Condition = "START" },
		"could not end its streams": func(c map[string]*ecsContainer, _ *ecsTemplate) { c["envoy"].DependsOn[1].ContainerName = "mcpbackend" },
		"drains for":                func(c map[string]*ecsContainer, _ *ecsTemplate) { c["envoy"].StopTimeout = 30 },
		"mcpbackend: killed":        func(c map[string]*ecsContainer, _ *ecsTemplate) { c["mcpbackend"].StopTimeout = 5 },
		"cuts what is idle": func(_ map[string]*ecsContainer, e *ecsTemplate) {
			e.Resources.LoadBalancer.Properties.LoadBalancerAttributes[0].Value = "20"
		},
		"has let go": func(_ map[string]*ecsContainer, e *ecsTemplate) {
			e.Resources.Targets.Properties.TargetGroupAttributes[0].Value = "10"
		},
		"only /health":                   func(_ map[string]*ecsContainer, e *ecsTemplate) { e.Resources.Targets.Properties.HealthCheckPath = "/" },
		"EDGE_SH is not":                 func(c map[string]*ecsContainer, _ *ecsTemplate) { c["envoy"].Environment[2].Value += "x" },
		"all clients look like the load": func(c map[string]*ecsContainer, _ *ecsTemplate) { c["envoyconf"].Environment = nil },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			template := readTemplate(t)
			by := map[string]*ecsContainer{}
			for i := range template.Resources.Task.Properties.ContainerDefinitions {
				c := &template.Resources.Task.Properties.ContainerDefinitions[i]
				by[c.Name] = c
			}
			spoil(by, &template)
			found := breaches(template)
			if !slices.ContainsFunc(found, func(breach string) bool { return strings.Contains(breach, want) }) {
				t.Errorf("not caught; found: %v", found)
			}
		})
	}
}
