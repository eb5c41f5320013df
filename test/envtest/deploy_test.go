// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers"
	"github.com/fairlead-proxy/fairlead/controllers/install"
)

// systemNamespace is the namespace of config/default.
const systemNamespace = "fairlead-system"

// kubectl runs kubectl as the cluster's administrator.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	user, err := environment.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := user.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"),
		append([]string{"--kubeconfig", file}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// deploy installs the operator as a user does. Its Pods do not run here.
func deploy(t *testing.T) {
	t.Helper()
	kubectl(t, "apply", "--server-side", "-k", filepath.Join("..", "..", "config", "default"))
}

func serviceAccount(name string) string {
	return "system:serviceaccount:" + systemNamespace + ":" + name
}

// startController runs the controller with the permissions of its ServiceAccount and
// returns a function that stops it.
func startController(t *testing.T) (mgr ctrl.Manager, stop func()) {
	t.Helper()
	return startMeasured(t, prometheus.NewRegistry())
}

// startMeasured is startController with the registry of the controller's metrics.
func startMeasured(t *testing.T, registry *prometheus.Registry) (mgr ctrl.Manager, stop func()) {
	t.Helper()
	cfg := as(serviceAccount("fairlead-controller-manager"), "system:serviceaccounts", "system:serviceaccounts:"+systemNamespace)
	cfg.QPS = -1
	yes := true
	opts := ctrl.Options{
		Scheme: api.Scheme(), Cache: controllers.CacheOptions(systemNamespace),
		Controller: crconfig.Controller{SkipNameValidation: &yes}, // several run in this process
		Metrics:    metricsserver.Options{BindAddress: "0"},
	}
	ctx, cancel := context.WithCancel(context.Background())
	end := func(cause error) {
		t.Errorf("controller: %v", cause)
		cancel()
	}
	if err := controllers.ElectLeader(&opts, cfg, systemNamespace, end); err != nil {
		cancel()
		t.Fatal(err)
	}
	mgr, err := ctrl.NewManager(cfg, opts)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	agents := controllers.Agents{Namespace: systemNamespace, APIServers: []string{"https://192.0.2.1:6443"}}
	if err := controllers.Setup(ctx, mgr, agents); err != nil {
		cancel()
		t.Fatal(err)
	}
	if err := controllers.AddMetrics(ctx, mgr, registry); err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	var stopped bool
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("controller: %v", err)
		}
	}
	t.Cleanup(stop)
	return mgr, stop
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, condition func(ctx context.Context) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 2*time.Minute, true,
		func(ctx context.Context) (bool, error) { return condition(ctx), nil })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// TestDeployed checks that the whole controller works with what config/default
// installs: watches, indexes, permissions, and the failover to a second replica.
func TestDeployed(t *testing.T) {
	deploy(t)
	s := &services{t: t, ns: namespace(t)}
	cleanUp(t, &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}) // after the controller has stopped, which would write it again
	// Of a Service that was deleted while no controller ran, and of one that never was.
	gone := s.sliceOf("gone")
	theirs := s.sliceOf("never")
	theirs.Name, theirs.Labels = "theirs", nil
	create(t, gone, theirs)
	first, stopFirst := startController(t)
	<-first.Elected()
	eventually(t, "the deletion of slices without a Service", func(context.Context) bool { return len(s.slices()) == 0 })
	svc, slice := s.service(), s.endpointSlice(3)
	odd := s.endpointSlice(1)
	odd.Name, odd.Ports[0].Port = "web-2", nil
	create(t, node("n1"), svc, slice, odd, policy("default", "n1", 0))

	eventually(t, "the rules of the Service", func(context.Context) bool { return len(s.endpoints()) == 3 })
	eventually(t, "the rules of the node", func(ctx context.Context) bool {
		return api.Get(ctx, client.ObjectKey{Name: "n1"}, &v1alpha1.NodeRuleSet{}) == nil
	})
	revision := &appsv1.ControllerRevision{}
	revision.Namespace, revision.Name = systemNamespace, ruleSet(t, "n1").Spec.Revision
	cleanUp(t, revision)
	eventually(t, "the revision of the policy", func(ctx context.Context) bool {
		return api.Get(ctx, client.ObjectKeyFromObject(revision), &appsv1.ControllerRevision{}) == nil
	})
	ds := &appsv1.DaemonSet{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: install.Name}, ds); err != nil {
		t.Fatal(err)
	}
	if pod := ds.Spec.Template.Spec; pod.ServiceAccountName != install.Name || pod.Containers[0].Image != "fairlead-agent:v0.1.0" {
		t.Errorf("the agent's DaemonSet has the ServiceAccount %s and the image %s", pod.ServiceAccountName, pod.Containers[0].Image)
	}
	eventually(t, "the addresses for the agents", func(ctx context.Context) bool {
		addresses := &corev1.ConfigMap{}
		return api.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: install.Name}, addresses) == nil &&
			addresses.Data[install.KeyAPIServers] == "https://192.0.2.1:6443"
	})
	eventually(t, "the status of the policy", func(ctx context.Context) bool {
		config := &v1alpha1.ProxyConfig{}
		return api.Get(ctx, client.ObjectKey{Name: "default"}, config) == nil &&
			apimeta.IsStatusConditionTrue(config.Status.Conditions, v1alpha1.ConditionAccepted)
	})
	eventually(t, "the event about the odd EndpointSlice", func(ctx context.Context) bool {
		var list eventsv1.EventList
		if err := api.List(ctx, &list, client.InNamespace(s.ns)); err != nil {
			return false
		}
		for _, e := range list.Items {
			if e.Reason == v1alpha1.EventEndpointSkipped && e.Regarding.Name == "web" {
				return true
			}
		}
		return false
	})
	t.Run("columns", func(t *testing.T) { wantColumns(t, s.ns) })

	second, _ := startController(t)
	stopFirst()
	<-second.Elected()
	setEndpoints(slice, 2)
	update(t, slice)
	eventually(t, "a change after the take-over", func(context.Context) bool { return len(s.endpoints()) == 2 })
	remove(t, svc)
	eventually(t, "the deletion", func(context.Context) bool { return len(s.slices()) == 0 })
}

// TestSingleNode checks that an installation for one node has one replica of the controller: a
// second one would have no free host port, and a rollout would wait for it.
func TestSingleNode(t *testing.T) {
	for config, want := range map[string]int{"default": 2, "single-node": 1} {
		manifests := kubectl(t, "kustomize", filepath.Join("..", "..", "config", config))
		if !strings.Contains(manifests, fmt.Sprintf("\n  replicas: %d\n", want)) {
			t.Errorf("config/%s has not %d replicas", config, want)
		}
	}
}

// wantColumns checks the output of kubectl get.
func wantColumns(t *testing.T, ns string) {
	got := kubectl(t, "get", "proxyconfig,noderulesets,servicerules")
	for _, want := range []string{
		"NAME MODE SELECTED PROGRAMMED FAILING NOTREADY AVAILABLE AGE",
		"proxyconfig.proxy.fairlead.dev/default NFTables 1 0 0 0 Unknown",
		"NAME CONFIG MODE PROGRAMMED SERVICES FRONTENDS ENDPOINTS AGE",
		"noderuleset.proxy.fairlead.dev/n1 default",
		"NAME NAMESPACE SERVICE FAMILY CLUSTER-IP PORTS AGE",
		"serviceruleslice.proxy.fairlead.dev/" + ns + ".web-v4-0 " + ns + " web IPv4 10.0.0.",
	} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := kubectl(t, "get", "fairlead", "-A"); !strings.Contains(got, "proxyconfig.proxy.fairlead.dev/default") {
		t.Errorf("the category fairlead does not list the policy:\n%s", got)
	}
	if got := kubectl(t, "explain", "proxyconfig.spec.ipvs"); !strings.Contains(got, "scheduler") || !strings.Contains(got, "strictARP") {
		t.Errorf("explain:\n%s", got)
	}
}
