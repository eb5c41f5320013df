// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/controllers/install"
)

const agentImage = "registry.example.com/mirror/fairlead-agent:v1"

// setAgentImage writes the image of the agents into the controller's Deployment, as a
// ClusterServiceVersion has it; "": removes it.
func setAgentImage(t *testing.T, image string) {
	t.Helper()
	change := fmt.Sprintf(`"value":%q`, image)
	if image == "" {
		change = `"$patch":"delete"`
	}
	patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"containers":[{"name":"manager","env":[{"name":"RELATED_IMAGE_AGENT",%s}]}]}}}}`, change)
	deployment := &appsv1.Deployment{}
	deployment.Namespace, deployment.Name = systemNamespace, "fairlead-controller-manager"
	if err := api.Patch(context.Background(), deployment, client.RawPatch(types.StrategicMergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
}

// TestStolenControllerToken has the controller's identity try to become root on the nodes by
// the agents' DaemonSet. By RBAC it has all rights here; under OLM it has those of
// TestCreateByName.
func TestStolenControllerToken(t *testing.T) {
	deploy(t)
	kubectl(t, "apply", "--server-side", "-k", filepath.Join("..", "..", "config", "admission-olm"))
	thief, err := client.NewWithWatch(as(serviceAccount("fairlead-controller-manager"), "system:masters"), client.Options{Scheme: api.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	setAgentImage(t, agentImage)
	t.Cleanup(func() { setAgentImage(t, "") })
	config := policy("default", "none", 0)
	create(t, config)
	r := &install.DaemonSet{Client: thief, Recorder: &events.FakeRecorder{}, Namespace: systemNamespace, Image: agentImage}
	key := client.ObjectKey{Namespace: systemNamespace, Name: install.Name}
	apply := func() error {
		_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key})
		return err
	}
	succeeds := func(what string) {
		t.Helper()
		var last error
		defer func() {
			if last != nil {
				t.Log(last)
			}
		}()
		eventually(t, what, func(context.Context) bool { last = apply(); return last == nil })
	}
	succeeds("the controller applies its DaemonSet")
	live := &appsv1.DaemonSet{}
	if err := api.Get(t.Context(), key, live); err != nil {
		t.Fatal(err)
	}
	cleanUp(t, live.DeepCopy()) // the next test deploys another

	for name, tc := range attempts() {
		t.Run(name, func(t *testing.T) {
			ds := live.DeepCopy()
			tc.change(ds, &ds.Spec.Template.Spec, &ds.Spec.Template.Spec.Containers[0])
			for what, write := range map[string]func(client.Object) error{
				"create": func(obj client.Object) error {
					obj.SetResourceVersion("")
					obj.SetUID("")
					return thief.Create(t.Context(), obj, client.DryRunAll)
				},
				"update": func(obj client.Object) error { return thief.Update(t.Context(), obj, client.DryRunAll) },
			} {
				if what == "update" && (ds.Name != live.Name || ds.Namespace != live.Namespace) {
					continue // there is none
				}
				// The policies take effect after a moment.
				var err error
				refused := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
					err = write(ds.DeepCopy())
					return err != nil && strings.Contains(err.Error(), tc.want), nil
				})
				if refused != nil {
					t.Errorf("%s: got %v, want %q", what, err, tc.want)
				}
			}
		})
	}

	t.Run("the next version", func(t *testing.T) {
		r.Image = "registry.example.com/mirror/fairlead-agent:v2"
		if err := apply(); !apierrors.IsForbidden(err) {
			t.Errorf("before the Deployment has its image: %v", err)
		}
		setAgentImage(t, r.Image)
		succeeds("the upgrade")
	})
	t.Run("what administrators do", func(t *testing.T) {
		kubectl(t, "rollout", "restart", "-n", systemNamespace, "daemonset/"+install.Name)
		if err := apply(); err != nil {
			t.Errorf("after a restart of the agents: %v", err)
		}
		kubectl(t, "set", "image", "-n", systemNamespace, "daemonset/"+install.Name, "agent=debug")
		if err := apply(); err != nil {
			t.Errorf("the repair of another image: %v", err)
		}
	})
}

// attempt changes the DaemonSet that the controller applies; want is in the refusal.
type attempt struct {
	change func(ds *appsv1.DaemonSet, pod *corev1.PodSpec, c *corev1.Container)
	want   string
}

func attempts() map[string]attempt {
	type (
		set = *appsv1.DaemonSet
		pod = *corev1.PodSpec
		con = *corev1.Container
	)
	volume := func(source corev1.VolumeSource) func(set, pod, con) {
		return func(_ set, p pod, _ con) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "v", VolumeSource: source})
		}
	}
	env := func(e corev1.EnvVar) func(set, pod, con) {
		return func(_ set, _ pod, c con) { c.Env = append(c.Env, e) }
	}
	run := &corev1.ExecAction{Command: []string{"sh"}}
	const (
		only       = "the controller may write the DaemonSet fairlead-system/fairlead-agent only"
		account    = "the agent has the ServiceAccount fairlead-agent"
		one        = "the agent has one container"
		privileged = "the agent is not privileged, and shares no processes of the machine"
		caps       = "the agent has no capabilities but NET_ADMIN, NET_RAW and NET_BIND_SERVICE, not "
		profiles   = "the agent has the runtime's profiles for seccomp, AppArmor and SELinux"
		mounts     = "the agent mounts /var/lib/fairlead, /proc/sys/net, /run/xtables.lock and the ConfigMap fairlead-agent only"
		command    = "the agent runs no other command"
		variable   = "the agent has the environment variable NODE_NAME only"
		image      = "the image of the agent is that in RELATED_IMAGE_AGENT of the Deployment fairlead-controller-manager: [" + agentImage + "]"
	)
	unconfined := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
	appArmor := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	return map[string]attempt{
		"another name":             {func(ds set, _ pod, _ con) { ds.Name = "other" }, only},
		"another namespace":        {func(ds set, _ pod, _ con) { ds.Namespace = "kube-system" }, only},
		"the controller's account": {func(_ set, p pod, _ con) { p.ServiceAccountName = "fairlead-controller-manager" }, account},
		"no account":               {func(_ set, p pod, _ con) { p.ServiceAccountName, p.DeprecatedServiceAccount = "", "" }, account},
		"a container more": {func(_ set, p pod, c con) {
			p.Containers = append(p.Containers, corev1.Container{Name: "b", Image: c.Image})
		}, one},
		"an init container": {func(_ set, p pod, c con) { p.InitContainers = []corev1.Container{{Name: "init", Image: c.Image}} }, one},
		"privileged": {func(_ set, _ pod, c con) {
			c.SecurityContext.Privileged = ptr.To(true)
			c.SecurityContext.AllowPrivilegeEscalation = nil
		}, privileged},
		"setuid programs":    {func(_ set, _ pod, c con) { c.SecurityContext.AllowPrivilegeEscalation = nil }, privileged},
		"no securityContext": {func(_ set, _ pod, c con) { c.SecurityContext = nil }, privileged},
		"all of /proc": {func(_ set, p pod, c con) {
			p.HostNetwork, p.HostUsers, c.SecurityContext.ProcMount = false, ptr.To(false), ptr.To(corev1.UnmaskedProcMount)
		}, privileged},
		"the machine's processes": {func(_ set, p pod, _ con) { p.HostPID = true }, privileged},
		"the machine's IPC":       {func(_ set, p pod, _ con) { p.HostIPC = true }, privileged},
		"a capability": {func(_ set, _ pod, c con) {
			c.SecurityContext.Capabilities.Add = append(c.SecurityContext.Capabilities.Add, "SYS_ADMIN")
		}, caps},
		"the default capabilities": {func(_ set, _ pod, c con) { c.SecurityContext.Capabilities.Drop = nil }, caps},
		"no seccomp":               {func(_ set, p pod, _ con) { p.SecurityContext.SeccompProfile = nil }, profiles},
		"seccomp off":              {func(_ set, p pod, _ con) { p.SecurityContext.SeccompProfile = unconfined }, profiles},
		"seccomp off, container":   {func(_ set, _ pod, c con) { c.SecurityContext.SeccompProfile = unconfined }, profiles},
		"AppArmor off":             {func(_ set, p pod, _ con) { p.SecurityContext.AppArmorProfile = appArmor }, profiles},
		"AppArmor off, container":  {func(_ set, _ pod, c con) { c.SecurityContext.AppArmorProfile = appArmor }, profiles},
		"AppArmor off, annotation": {func(ds set, _ pod, _ con) {
			ds.Spec.Template.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+"agent"] = "unconfined"
		}, profiles},
		"SELinux":                   {func(_ set, p pod, _ con) { p.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{Type: "spc_t"} }, profiles},
		"SELinux, container":        {func(_ set, _ pod, c con) { c.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{Type: "spc_t"} }, profiles},
		"the machine's file system": {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}), mounts},
		"a path like one of ours":   {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/lib/fairlead/"}}), mounts},
		"a Secret":                  {volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}), mounts},
		"another ConfigMap":         {volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}}), mounts},
		"a token":                   {volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t"}}}}}), mounts},
		"a shell":                   {func(_ set, _ pod, c con) { c.Command = []string{"sh"} }, command},
		"a hook": {func(_ set, _ pod, c con) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: run}}
		}, command},
		"a probe":           {func(_ set, _ pod, c con) { c.LivenessProbe.ProbeHandler = corev1.ProbeHandler{Exec: run} }, command},
		"a readiness probe": {func(_ set, _ pod, c con) { c.ReadinessProbe.ProbeHandler = corev1.ProbeHandler{Exec: run} }, command},
		"a startup probe": {func(_ set, _ pod, c con) {
			c.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: run}}
		}, command},
		"a library":              {env(corev1.EnvVar{Name: "LD_PRELOAD", Value: "/var/lib/fairlead/a.so"}), variable},
		"a Secret as a variable": {env(corev1.EnvVar{Name: "A", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "a", LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}}}), variable},
		"a Secret as variables": {func(_ set, _ pod, c con) {
			c.EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}}}
		}, variable},
		"another image": {func(_ set, _ pod, c con) { c.Image = "evil.example.com/fairlead-agent:v1" }, image},
		"another tag":   {func(_ set, _ pod, c con) { c.Image = strings.TrimSuffix(agentImage, "1") + "0" }, image},
		"a container from outside": {func(_ set, p pod, c con) {
			p.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Image: c.Image}}}
		}, "ephemeralContainers"},
	}
}
