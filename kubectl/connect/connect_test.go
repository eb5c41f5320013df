// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package connect

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
)

func aNode(name, address string, ready corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}},
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: "2001:db8::1"},
			{Type: corev1.NodeInternalIP, Address: address}}}}
}

// cluster has Pods that are ready at once, but for one that cannot pull its image; the first Pod is forbidden
// once, as in a namespace that has no service account yet.
func cluster(t *testing.T) client.WithWatch {
	t.Helper()
	forbidden := false
	return fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t)).WithObjects(aNode("a", "192.0.2.1", "True"), aNode("b", "192.0.2.2", "True"),
		aNode("c", "192.0.2.3", "False"), aNode("d", "192.0.2.4", "True"), aNode("e", "192.0.2.5", "True")).
		WithInterceptorFuncs(interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			switch o := o.(type) {
			case *corev1.Namespace:
				o.Name = "fairlead-test-x"
			case *corev1.Pod:
				if !forbidden {
					forbidden = true
					return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, o.Name, errors.New("error looking up service account default"))
				}
				if o.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: "True"}}; o.Spec.NodeName == "d" {
					o.Status = corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{
						Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}}
				}
			case *corev1.Service:
				o.Spec.ClusterIP, o.Spec.Ports[0].NodePort = "10.96.0.1"+strings.TrimPrefix(o.Name, "node-"), 30000
			}
			return c.Create(ctx, o, options...)
		}}).Build()
}

// namespaces counts those that are left.
func namespaces(t *testing.T, api client.Client) int {
	t.Helper()
	var list corev1.NamespaceList
	if err := api.List(context.Background(), &list); err != nil {
		t.Fatal(err)
	}
	return len(list.Items)
}

// TestRun compares the report with files: all well, and with one node that another one does not reach at first, and
// one that it never does.
func TestRun(t *testing.T) { synctest.Test(t, testRun) } // without waiting

func testRun(t *testing.T) {
	api := cluster(t)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	once := false
	report, err := Run(ctx, Options{API: api, Image: "agnhost", MaxNodes: 3, Started: func(string) {},
		Exec: func(_ context.Context, pod *corev1.Pod, in string, command []string, s kernel.Streams) error {
			address := command[len(command)-1]
			switch {
			case in != container || pod.Spec.Containers[0].Image != "agnhost":
				return errors.New("another container")
			case pod.Spec.NodeName == "b" && address == "192.0.2.1:30000":
				_, _ = io.WriteString(s.Err, "TIMEOUT\n")
				return errors.New("exit status 1")
			case pod.Spec.NodeName == "a" && address == "10.96.0.11:8080" && !once:
				once = true
				return errors.New("not yet")
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := report.Print(&text); err != nil {
		t.Fatal(err)
	}
	kubectltest.Golden(t, "failed.txt", text.Bytes())
	kubectltest.GoldenYAML(t, "failed.yaml", report)
	if report.Pass() || !once || namespaces(t, api) != 0 {
		t.Errorf("Pass is %v; %d namespaces are left", report.Pass(), namespaces(t, api))
	}
}

// TestCleanUp ends in the middle: by Ctrl-C, by an error of the apiserver, and with nothing to connect.
func TestCleanUp(t *testing.T) { synctest.Test(t, testCleanUp) }

func testCleanUp(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	api := cluster(t)
	_, err := Run(ctx, Options{API: api, MaxNodes: 2, Started: func(string) {},
		Exec: func(context.Context, *corev1.Pod, string, []string, kernel.Streams) error {
			stop()
			return errors.New("interrupted")
		}})
	if !errors.Is(err, context.Canceled) || namespaces(t, api) != 0 {
		t.Errorf("after Ctrl-C: %v; %d namespaces are left", err, namespaces(t, api))
	}
	failing := interceptor.NewClient(cluster(t), interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
		if _, is := list.(*corev1.PodList); is {
			return errors.New("no answer")
		}
		return c.List(ctx, list, o...)
	}})
	if _, err := Run(t.Context(), Options{API: failing, MaxNodes: 2, Started: func(string) {}}); err == nil || !strings.Contains(err.Error(), "no answer") || namespaces(t, failing) != 0 {
		t.Errorf("after an error: %v; %d namespaces are left", err, namespaces(t, failing))
	}
}

// TestPass is of reports.
func TestPass(t *testing.T) {
	ok := Result{From: "a", To: "a", Kind: ClusterIP}
	cases := map[string]struct {
		report Report
		want   bool
	}{
		"all came through": {Report{Results: []Result{ok}}, true},
		"one failed":       {Report{Results: []Result{ok, {Error: "x"}}}, false},
		"none":             {Report{}, false},
		"a node left out":  {Report{Results: []Result{ok}, Skipped: []Skipped{{Node: "b"}}}, true},
		"no Pod":           {Report{Results: []Result{ok}, Skipped: []Skipped{{Node: "b", Failed: true}}}, false},
	}
	for name, tc := range cases {
		if got := tc.report.Pass(); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
