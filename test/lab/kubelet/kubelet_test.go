// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	clienttesting "k8s.io/client-go/testing"
)

func shell(script string) corev1.Container {
	return corev1.Container{Image: "shell", Command: []string{"sh", "-c", script}}
}

func server(port string) corev1.Container {
	return corev1.Container{
		Image: "server", Env: []corev1.EnvVar{{Name: serverVariable, Value: port}},
		Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}},
		ReadinessProbe: &corev1.Probe{
			PeriodSeconds: 1, FailureThreshold: 1,
			ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("web")}},
		},
	}
}

func isReady(pod *corev1.Pod) bool { return hasCondition(pod, corev1.PodReady, corev1.ConditionTrue) }
func isUnready(pod *corev1.Pod) bool {
	return hasCondition(pod, corev1.PodReady, corev1.ConditionFalse)
}

func hasCondition(pod *corev1.Pod, kind corev1.PodConditionType, status corev1.ConditionStatus) bool {
	if pod == nil {
		return false
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == kind {
			return condition.Status == status
		}
	}
	return false
}

// mainStatus of a Pod whose status has none yet is empty.
func mainStatus(pod *corev1.Pod) corev1.ContainerStatus {
	if pod == nil || len(pod.Status.ContainerStatuses) == 0 {
		return corev1.ContainerStatus{}
	}
	return pod.Status.ContainerStatuses[0]
}

func waitsFor(reason string) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool {
		waiting := mainStatus(pod).State.Waiting
		return waiting != nil && waiting.Reason == reason
	}
}

func isGone(pod *corev1.Pod) bool { return pod == nil }

func inPhase(phase corev1.PodPhase) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool { return pod != nil && pod.Status.Phase == phase }
}

// logs asks the kubelet's server as the apiserver does.
func (c *cluster) logs(pod, query string) (int, string) {
	c.Helper()
	request, err := http.NewRequestWithContext(c.Context(), http.MethodGet, "https://127.0.0.1:10250/containerLogs/default/"+pod+"/main?"+query, nil)
	if err != nil {
		c.Fatal(err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		c.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestNodeAndLease(t *testing.T) {
	c := newCluster(t)
	poll(t, "the lease", func() bool {
		lease, err := c.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), "node-1", metav1.GetOptions{})
		return err == nil && lease.Spec.RenewTime != nil && len(lease.OwnerReferences) == 1
	})
	poll(t, "the node's status", func() bool {
		node, err := c.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
		return err == nil && !readyHeartbeat(&node.Status).IsZero() && len(node.Status.Addresses) == 3 &&
			node.Labels[corev1.LabelHostname] == "node-1" && node.Status.DaemonEndpoints.KubeletEndpoint.Port == Port
	})
}

// A Pod becomes ready, unready when its probe says so, ready again, and ends.
func TestPodLife(t *testing.T) {
	c := newCluster(t)
	pod := c.create("web", server("8080"), func(spec *corev1.PodSpec) {
		spec.Volumes = []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}}
		nurse := shell("while :; do rm -f /tmp/sick; sleep 1; touch /tmp/sick; sleep 1; done")
		nurse.Name, nurse.VolumeMounts = "nurse", spec.Containers[0].VolumeMounts
		spec.Containers = append(spec.Containers, nurse)
	})
	c.await("web", "ready", isReady)
	c.await("web", "unready", isUnready)
	ready := c.await("web", "ready again", isReady)
	if ready.Status.PodIP != "127.0.0.1" || ready.Status.Phase != corev1.PodRunning || len(ready.Status.PodIPs) != 2 {
		t.Errorf("status %+v", ready.Status)
	}
	c.markDeleted(pod, 3)
	c.await("web", "gone", isGone)
	poll(t, "without network", func() bool { return c.networks() == 0 })
	deletes := 0
	for _, action := range c.client.Actions() {
		if deletion, ok := action.(clienttesting.DeleteActionImpl); ok && deletion.Resource.Resource == "pods" {
			deletes++
			options := deletion.DeleteOptions
			if *options.GracePeriodSeconds != 0 || *options.Preconditions.UID != pod.UID {
				t.Errorf("deleted with %+v", options)
			}
		}
	}
	if deletes != 1 {
		t.Errorf("%d deletes", deletes)
	}
}

func TestRestarts(t *testing.T) {
	c := newCluster(t)
	c.create("crash", shell("echo attempt; echo why >/dev/termination-log; exit 3"))
	pod := c.await("crash", "in a crash loop", waitsFor("CrashLoopBackOff"))
	last := mainStatus(pod).LastTerminationState.Terminated
	if last == nil || last.ExitCode != 3 || last.Reason != "Error" || last.Message != "why\n" || mainStatus(pod).RestartCount < 1 {
		t.Errorf("status %+v", mainStatus(pod))
	}
	if code, text := c.logs("crash", "previous=true"); code != http.StatusOK || text != "attempt\n" {
		t.Errorf("log: %d %q", code, text)
	}
}

func TestRestartPolicies(t *testing.T) {
	c := newCluster(t)
	policy := func(p corev1.RestartPolicy) func(*corev1.PodSpec) {
		return func(spec *corev1.PodSpec) { spec.RestartPolicy = p }
	}
	initially := func(script string) func(*corev1.PodSpec) {
		return func(spec *corev1.PodSpec) {
			first := shell(script)
			first.Name = "first"
			spec.InitContainers = []corev1.Container{first}
		}
	}
	c.create("done", shell("true"), policy(corev1.RestartPolicyOnFailure))
	c.create("failed", shell("exit 4"), policy(corev1.RestartPolicyNever))
	c.create("no-init", shell("true"), policy(corev1.RestartPolicyNever), initially("exit 1"))
	c.create("init", shell("true"), policy(corev1.RestartPolicyNever), initially("true"))
	c.create("again", shell("exit 1"), policy(corev1.RestartPolicyOnFailure))
	c.await("done", "succeeded", inPhase(corev1.PodSucceeded))
	c.await("failed", "failed", inPhase(corev1.PodFailed))
	c.await("no-init", "failed", inPhase(corev1.PodFailed))
	c.await("init", "succeeded", inPhase(corev1.PodSucceeded))
	c.await("again", "restarted", func(pod *corev1.Pod) bool { return mainStatus(pod).RestartCount > 0 })
}

func TestCannotStart(t *testing.T) {
	c := newCluster(t)
	missing := shell("true")
	missing.Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Key: "a",
	}}}}
	c.create("image", corev1.Container{Image: "nothing"})
	c.create("config", missing)
	c.create("program", corev1.Container{Image: "shell", Command: []string{"/no/such"}})
	c.create("hostpid", shell("true"), func(spec *corev1.PodSpec) { spec.HostPID = true })
	cases := map[string]struct{ reason, message string }{
		"image":   {"ErrImagePull", `no image "nothing"`},
		"config":  {"CreateContainerConfigError", `env A: configmaps "none" not found`},
		"program": {"RunContainerError", `cannot run the command: "/no/such": no such file or directory`},
		"hostpid": {"ContainerCreating", "hostPID, hostIPC and shareProcessNamespace are not supported by the lab"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			inner := &cluster{T: t, client: c.client}
			pod := inner.await(name, "refused", func(pod *corev1.Pod) bool {
				return waitsFor(tc.reason)(pod) && mainStatus(pod).State.Waiting.Message != ""
			})
			if diff := cmp.Diff(tc.message, mainStatus(pod).State.Waiting.Message); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// A liveness probe that fails restarts the container.
func TestLiveness(t *testing.T) {
	c := newCluster(t)
	main := shell("trap 'exit 0' TERM; while :; do sleep 0.1; done")
	main.LivenessProbe = &corev1.Probe{
		PeriodSeconds: 1, FailureThreshold: 1,
		ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"false"}}},
	}
	c.create("ill", main)
	c.await("ill", "restarted", func(pod *corev1.Pod) bool { return mainStatus(pod).RestartCount > 0 })
}

// A startup probe holds the readiness back, and its success lets it through.
func TestStartup(t *testing.T) {
	c := newCluster(t)
	main := shell("sleep 0.5; touch /tmp/up; sleep 600")
	main.StartupProbe = &corev1.Probe{
		// The race detector makes a command in a container slow.
		PeriodSeconds: 5, FailureThreshold: 3, TimeoutSeconds: 20,
		ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"cat", "/tmp/up"}}},
	}
	c.create("slow", main)
	pod := c.await("slow", "running", func(pod *corev1.Pod) bool { return mainStatus(pod).State.Running != nil })
	if isReady(pod) || *mainStatus(pod).Started {
		t.Errorf("started before its probe: %+v", mainStatus(pod))
	}
	c.await("slow", "ready", isReady)
}

// A container that ignores SIGTERM is killed after the grace period; a preStop
// hook runs before.
func TestTermination(t *testing.T) {
	c := newCluster(t)
	hooked := shell("trap 'echo term >>/record/log; exit 0' TERM; touch /record/up; while :; do sleep 0.05; done")
	hooked.VolumeMounts = []corev1.VolumeMount{{Name: "record", MountPath: "/record"}}
	hooked.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{
		Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "echo hook >>/record/log"}},
	}}
	polite := c.create("polite", hooked, func(spec *corev1.PodSpec) {
		spec.Volumes = []corev1.Volume{{Name: "record", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/record"}}}}
	})
	deaf := c.create("deaf", shell("trap '' TERM; sleep 600"))
	c.await("polite", "ready", isReady)
	c.await("deaf", "ready", isReady)
	code, _ := c.logs("deaf", "")
	if code != http.StatusOK {
		t.Errorf("log of a running container: %d", code)
	}
	c.markDeleted(polite, 60)
	c.markDeleted(deaf, 1)
	c.await("polite", "gone", isGone)
	c.await("deaf", "gone", isGone)
	record, err := os.ReadFile(filepath.Join(c.stateDir, "hostpath", "node-1", "record", "log"))
	if err != nil || string(record) != "hook\nterm\n" {
		t.Errorf("order of the end: %q, %v", record, err)
	}
}

// An object that is deleted without grace takes the processes along.
func TestForceDeleted(t *testing.T) {
	c := newCluster(t)
	pod := c.create("forced", shell("trap '' TERM; sleep 600"))
	c.await("forced", "ready", isReady)
	if err := c.client.CoreV1().Pods("default").Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	poll(t, "without network", func() bool { return c.networks() == 0 })
	if code, text := c.logs("forced", ""); code != http.StatusNotFound {
		t.Errorf("log: %d %s", code, text)
	}
}

// The end of Run leaves nothing but the node's disk.
func TestRunEnds(t *testing.T) {
	c := newCluster(t)
	c.create("a", shell("trap '' TERM; sleep 600"))
	c.create("b", server("8080"))
	c.await("a", "ready", isReady)
	c.await("b", "ready", isReady)
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	if left := c.networks(); left != 0 {
		t.Errorf("%d networks left", left)
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	netns, err := os.Readlink(c.netns)
	if err != nil {
		t.Fatal(err)
	}
	inside := 0
	for _, process := range processes {
		// A process that has ended since has no link any more.
		if link, err := os.Readlink("/proc/" + process.Name() + "/ns/net"); err == nil && link == netns {
			inside++
		}
	}
	if inside != 1 {
		t.Errorf("%d processes in the namespace, want its holder alone", inside)
	}
}

func TestLogsAndEnvironment(t *testing.T) {
	c := newCluster(t)
	main := shell(`echo "$GREETING from $NAME"; cat /config/greeting /etc/resolv.conf; hostname`)
	main.Env = []corev1.EnvVar{
		{Name: "NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
		{Name: "GREETING", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: "greeting",
		}}},
	}
	main.VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/config"}}
	c.create("talker", main, func(spec *corev1.PodSpec) {
		spec.RestartPolicy = corev1.RestartPolicyNever
		spec.Volumes = []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}},
		}}}
	})
	c.await("talker", "succeeded", inPhase(corev1.PodSucceeded))
	want := strings.Join([]string{
		"hello from talker", "hellonameserver 10.96.0.10", "search default.svc.cluster.local svc.cluster.local cluster.local",
		"options ndots:5", "talker", "",
	}, "\n")
	if code, got := c.logs("talker", "follow=true"); code != http.StatusOK || got != want {
		t.Errorf("log %d (-want +got):\n%s", code, cmp.Diff(want, got))
	}
	if code, got := c.logs("talker", "tailLines=1"); code != http.StatusOK || got != "talker\n" {
		t.Errorf("last line: %d %q", code, got)
	}
	if code, got := c.logs("talker", "tailLines=x"); code != http.StatusBadRequest {
		t.Errorf("a bad number: %d %q", code, got)
	}
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not reached within 30 s: %s", what)
		}
	}
}

// A sidecar starts before the Pod's containers, and ends after the last.
func TestSidecar(t *testing.T) {
	c := newCluster(t)
	c.create("job", shell("test -e /shared/side && echo after"), func(spec *corev1.PodSpec) {
		always := corev1.ContainerRestartPolicyAlways
		side := shell("trap 'exit 0' TERM; touch /shared/side; while :; do sleep 0.05; done")
		side.Name, side.RestartPolicy = "side", &always
		side.StartupProbe = &corev1.Probe{
			PeriodSeconds: 5, FailureThreshold: 3, TimeoutSeconds: 20,
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"cat", "/shared/side"}}},
		}
		spec.RestartPolicy = corev1.RestartPolicyNever
		spec.InitContainers = []corev1.Container{side}
		spec.Volumes = []corev1.Volume{{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
			list[0].VolumeMounts = []corev1.VolumeMount{{Name: "shared", MountPath: "/shared"}}
		}
	})
	pod := c.await("job", "succeeded, and its sidecar ended", func(pod *corev1.Pod) bool {
		return inPhase(corev1.PodSucceeded)(pod) && pod.Status.InitContainerStatuses[0].State.Terminated != nil
	})
	if code := pod.Status.InitContainerStatuses[0].State.Terminated.ExitCode; code != 0 {
		t.Errorf("sidecar ended with %d", code)
	}
}
