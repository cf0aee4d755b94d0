//go:build linux

// Package pod runs a pod's containers as processes of this machine: with the
// manifest's commands, environment, users, files and volumes, each in a root of
// its own that is read-only, and started, probed and stopped in Kubernetes' order.
// What it does not do: seccomp profiles, limits of memory and CPU, and restarts.
package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/neonpanel/mcp-gateway/deploy/internal/manifest"
)

// Image is what a container's root is made of.
type Image struct {
	Files      map[string]string // path inside: file or directory of this machine
	Entrypoint []string
}

// Options say what a manifest leaves open.
type Options struct {
	Dir     string // for volumes, roots and logs; empty
	Set     manifest.Set
	Secrets map[string]map[string][]byte
	Images  map[string]Image // by the container's name
	// Event hears of what is about to happen at the end, such as "TERM envoy".
	Event func(string)
	// Sleep, when set, stands for the time that a preStop hook sleeps, so that what
	// is to happen meanwhile is waited for and not hoped for.
	Sleep func(ctx context.Context, container string, d time.Duration)
}

// Pod is one that runs.
type Pod struct {
	o       Options
	spec    corev1.PodSpec
	running map[string]*process
	order   []string // as they were started
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// New prepares the volumes.
func New(spec corev1.PodSpec, o Options) (*Pod, error) {
	p := &Pod{o: o, spec: spec, running: map[string]*process{}}
	for _, v := range spec.Volumes {
		if err := p.volume(v); err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	return p, nil
}

func (p *Pod) volumeDir(name string) string { return filepath.Join(p.o.Dir, "volumes", name) }

// volume makes a directory as the kubelet does: open to all, with the common
// group passed on; files of the common group.
func (p *Pod) volume(v corev1.Volume) error {
	dir := p.volumeDir(v.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	group := int(*p.spec.SecurityContext.FSGroup)
	write := func(files map[string][]byte, mode *int32) error {
		for name, data := range files {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				return err
			}
			if err := errors.Join(os.Chown(path, 0, group), os.Chmod(path, os.FileMode(*mode)|0o040)); err != nil {
				return err
			}
		}
		return os.Chmod(dir, 0o755)
	}
	switch {
	case v.EmptyDir != nil:
		data := fmt.Sprintf("size=%d,mode=2777,uid=0,gid=%d", v.EmptyDir.SizeLimit.Value(), group)
		return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, data)
	case v.ConfigMap != nil:
		m, err := manifest.One[*corev1.ConfigMap](p.o.Set, v.ConfigMap.Name)
		if err != nil {
			return err
		}
		files := map[string][]byte{}
		for name, text := range m.Data {
			files[name] = []byte(text)
		}
		return write(files, v.ConfigMap.DefaultMode)
	case v.Secret != nil:
		files, ok := p.o.Secrets[v.Secret.SecretName]
		if !ok {
			return fmt.Errorf("there is no Secret %s", v.Secret.SecretName)
		}
		return write(files, v.Secret.DefaultMode)
	default:
		return errors.New("a kind of volume that is not known here")
	}
}

func (p *Pod) containers() []corev1.Container {
	return append(slices.Clone(p.spec.InitContainers), p.spec.Containers...)
}

func (p *Pod) container(name string) (corev1.Container, error) {
	for _, c := range p.containers() {
		if c.Name == name {
			return c, nil
		}
	}
	return corev1.Container{}, fmt.Errorf("no container %s", name)
}

// environment is that of the manifest, and nothing of this process.
func (p *Pod) environment(c corev1.Container) ([]string, error) {
	all := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": "pod"}
	for _, from := range c.EnvFrom {
		m, err := manifest.One[*corev1.ConfigMap](p.o.Set, from.ConfigMapRef.Name)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, m.Data)
	}
	for _, e := range c.Env {
		if e.ValueFrom != nil {
			return nil, fmt.Errorf("%s: valueFrom is not known here", e.Name)
		}
		all[e.Name] = e.Value
	}
	var env []string
	for name, value := range all {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env, nil
}

// command is what is run as the container; with other words, inside it.
func (p *Pod) command(ctx context.Context, c corev1.Container, words []string) (*exec.Cmd, error) {
	image, ok := p.o.Images[c.Name]
	if !ok {
		return nil, fmt.Errorf("no image for %s", c.Name)
	}
	if words == nil {
		words = slices.Concat(image.Entrypoint, c.Args)
		if len(c.Command) > 0 {
			words = slices.Concat(c.Command, c.Args)
		}
	}
	env, err := p.environment(c)
	if err != nil {
		return nil, err
	}
	in := inside{
		Root: filepath.Join(p.o.Dir, "root"), Files: image.Files, Words: words, Env: env,
		User: int(*c.SecurityContext.RunAsUser), Group: int(*p.spec.SecurityContext.RunAsGroup), Extra: int(*p.spec.SecurityContext.FSGroup),
		ReadOnly: *c.SecurityContext.ReadOnlyRootFilesystem, NoNewPrivileges: !*c.SecurityContext.AllowPrivilegeEscalation,
		DropAll: slices.Contains(c.SecurityContext.Capabilities.Drop, "ALL"),
	}
	for _, m := range c.VolumeMounts {
		in.Mounts = append(in.Mounts, mount{From: p.volumeDir(m.Name), To: m.MountPath, ReadOnly: m.ReadOnly})
	}
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = []string{insideVariable + "=" + string(text)}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return cmd, nil
}

// Exec runs a command in a container, as an exec probe or hook does.
func (p *Pod) Exec(ctx context.Context, name string, words ...string) (string, error) {
	c, err := p.container(name)
	if err != nil {
		return "", err
	}
	cmd, err := p.command(ctx, c, words)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Log is where a container writes.
func (p *Pod) Log(name string) string { return filepath.Join(p.o.Dir, name+".log") }

func (p *Pod) start(c corev1.Container) error {
	cmd, err := p.command(context.Background(), c, nil)
	if err != nil {
		return err
	}
	log, err := os.Create(p.Log(c.Name))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	r := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	// The parent's death signal is of the thread that started the process, so
	// that thread waits here.
	go func() {
		lockThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			r.err = cmd.Wait()
			close(r.done)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.running[c.Name] = r
	p.order = append(p.order, c.Name)
	return nil
}

// Start runs the init containers in order, a sidecar until its startup probe
// passes, then the main containers until theirs do.
func (p *Pod) Start(ctx context.Context) error {
	for _, c := range p.spec.InitContainers {
		if err := p.start(c); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			if err := p.await(ctx, c, c.StartupProbe); err != nil {
				return err
			}
			continue
		}
		r := p.running[c.Name]
		select {
		case <-r.done:
		case <-ctx.Done():
			return fmt.Errorf("%s does not end", c.Name)
		}
		if r.err != nil {
			return fmt.Errorf("%s: %w\n%s", c.Name, r.err, p.tail(c.Name))
		}
	}
	for _, c := range p.spec.Containers {
		if err := p.start(c); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	for _, c := range p.spec.Containers {
		if err := p.await(ctx, c, c.StartupProbe); err != nil {
			return err
		}
	}
	return nil
}

// await probes until the probe passes once; without one, to run is enough.
func (p *Pod) await(ctx context.Context, c corev1.Container, probe *corev1.Probe) error {
	if probe == nil {
		return nil
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := p.Probe(ctx, c.Name, probe)
		if err == nil {
			return nil
		}
		select {
		case <-p.running[c.Name].done:
			return fmt.Errorf("%s ended: %w\n%s", c.Name, p.running[c.Name].err, p.tail(c.Name))
		case <-ctx.Done():
			return fmt.Errorf("%s: the probe %v fails: %w %s\n%s", c.Name, probe.Exec.Command, err, out, p.tail(c.Name))
		case <-tick.C:
		}
	}
}

// Probe asks once, within the probe's own time.
func (p *Pod) Probe(ctx context.Context, name string, probe *corev1.Probe) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(probe.TimeoutSeconds)*time.Second)
	defer cancel()
	return p.Exec(ctx, name, probe.Exec.Command...)
}

// Ready waits until every container with a readiness probe passes it.
func (p *Pod) Ready(ctx context.Context) error {
	for _, c := range p.containers() {
		if c.ReadinessProbe != nil {
			if err := p.await(ctx, c, c.ReadinessProbe); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Pod) tail(name string) string {
	text, err := os.ReadFile(p.Log(name))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// Stop ends the pod as the kubelet does: for the main containers at once, each
// its preStop and then SIGTERM; then SIGTERM for the sidecars, the last started
// first; all within the grace period, after which it kills, and says whom.
func (p *Pod) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*p.spec.TerminationGracePeriodSeconds)*time.Second)
	defer cancel()
	faults := make(chan error, len(p.spec.Containers))
	var ending sync.WaitGroup
	for _, c := range p.spec.Containers {
		ending.Go(func() {
			faults <- errors.Join(p.preStop(ctx, c), p.terminate(ctx, c.Name))
		})
	}
	ending.Wait()
	close(faults)
	var err error
	for fault := range faults {
		err = errors.Join(err, fault)
	}
	for _, c := range slices.Backward(p.spec.InitContainers) {
		if c.RestartPolicy != nil {
			err = errors.Join(err, p.terminate(ctx, c.Name))
		}
	}
	return err
}

func (p *Pod) event(format string, args ...any) {
	if p.o.Event != nil {
		p.o.Event(fmt.Sprintf(format, args...))
	}
}

func (p *Pod) preStop(ctx context.Context, c corev1.Container) error {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return nil
	}
	hook := c.Lifecycle.PreStop
	if hook.Sleep != nil {
		d := time.Duration(hook.Sleep.Seconds) * time.Second
		if p.o.Sleep != nil {
			p.o.Sleep(ctx, c.Name, d)
			return nil
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		return nil
	}
	p.event("preStop %s", c.Name)
	if out, err := p.Exec(ctx, c.Name, hook.Exec.Command...); err != nil {
		return fmt.Errorf("preStop of %s: %w %s", c.Name, err, out)
	}
	return nil
}

func (p *Pod) terminate(ctx context.Context, name string) error {
	r := p.running[name]
	p.event("TERM %s", name)
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	select {
	case <-r.done:
		p.event("end %s", name)
		if r.err != nil {
			return fmt.Errorf("%s: %w\n%s", name, r.err, p.tail(name))
		}
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s had to be killed", name), r.cmd.Process.Kill())
	}
}

// Alive is nil while a container's process runs.
func (p *Pod) Alive(name string) error {
	r, ok := p.running[name]
	if !ok {
		return fmt.Errorf("%s was never started", name)
	}
	select {
	case <-r.done:
		return fmt.Errorf("%s ended: %w\n%s", name, r.err, p.tail(name))
	default:
		return nil
	}
}

// Close kills what is left and unmounts the volumes.
func (p *Pod) Close() error {
	var err error
	for _, name := range slices.Backward(p.order) {
		r := p.running[name]
		select {
		case <-r.done:
		default:
			err = errors.Join(err, r.cmd.Process.Kill())
			<-r.done
		}
	}
	for _, v := range p.spec.Volumes {
		if v.EmptyDir != nil {
			if e := syscall.Unmount(p.volumeDir(v.Name), syscall.MNT_DETACH); e != nil {
				err = errors.Join(err, fmt.Errorf("volume %s: %w", v.Name, e))
			}
		}
	}
	return err
}

// PID is for those who look at a container from outside.
func (p *Pod) PID(name string) string { return strconv.Itoa(p.running[name].cmd.Process.Pid) }
