// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestGolden compares the text for people, and the YAML for programs, with files.
func TestGolden(t *testing.T) {
	cases := map[string]struct{ port, from string }{
		"pods":            {"http", ""},
		"pod":             {"80", "pod/cart"},
		"host-network":    {"http", "shop/ingress"},
		"node":            {"http", "node/node-3"},
		"external":        {"http", "external/203.0.113.7"},
		"external-denied": {"http", "external/198.18.0.1"},
		"port-missing":    {"admin", "node/node-1"},
		"not-selected":    {"", "node/node-9"},
	}
	api := cluster(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			report := explained(t, api, tc.port, tc.from)
			var text bytes.Buffer
			if err := report.Print(&text); err != nil {
				t.Fatal(err)
			}
			kubectltest.Golden(t, name+".txt", text.Bytes())
			kubectltest.GoldenYAML(t, name+".yaml", report)
		})
	}
}

// TestKernels checks what is said of kernels: nodes whose kernels differ are shown by themselves.
func TestKernels(t *testing.T) {
	in, err := Collect(t.Context(), cluster(t), types.NamespacedName{Namespace: "shop", Name: "web"}, "http", Client{Kind: ClientPod})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Explain(in)
	if err != nil {
		t.Fatal(err)
	}
	in.Kernels = map[string]kernel.Answer{}
	for _, n := range in.Nodes {
		var held inspection.Report
		for _, f := range plain.Nodes[0].Frontends {
			if f.Kind == model.KindLoadBalancer && n.Name == "node-2" {
				continue
			}
			address := strings.Replace(f.Address, "30080/tcp (IPv4)", "0.0.0.0:30080/tcp", 1)
			held.Frontends = append(held.Frontends, inspection.Frontend{Address: address, Present: true, Equal: n.Name != "node-2" || f.Kind == model.KindNodePort})
		}
		in.Kernels[n.Name] = kernel.Answer{Report: held}
	}
	in.Kernels["node-3"] = kernel.Answer{Err: errors.New("no agent runs on the node")}
	report, err := Explain(in)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := report.Print(&text); err != nil {
		t.Fatal(err)
	}
	kubectltest.Golden(t, "kernels.txt", text.Bytes())
	kubectltest.GoldenYAML(t, "kernels.yaml", &report)
}

// TestNotes checks what is said where the rules are not those of the Service.
func TestNotes(t *testing.T) {
	ctx, name := context.Background(), types.NamespacedName{Namespace: "shop", Name: "web"}
	cases := map[string]struct {
		change func(*corev1.Service)
		want   []string
	}{
		"as it is": {func(*corev1.Service) {}, nil},
		"the controller is behind": {func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30081 },
			[]string{"ServiceRuleSlice shop.web-v4-0 is not up to date: the controller has not compiled the latest change"}},
		"headless": {func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone },
			[]string{"the Service has no cluster IP, or another proxy serves it: Fairlead programs nothing for it"}},
	}
	for what, tc := range cases {
		t.Run(what, func(t *testing.T) {
			in, err := Collect(ctx, cluster(t), name, "", Client{Kind: ClientPod})
			if err != nil {
				t.Fatal(err)
			}
			tc.change(in.Service)
			report, err := Explain(in)
			if diff := cmp.Diff(tc.want, report.Notes); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	cases := map[string]struct{ service, port, from, want string }{
		"no such Service":   {"db", "", "", `services "db" not found`},
		"no such port":      {"web", "https", "", "the Service has no port https; it has http, admin"},
		"no such Pod":       {"web", "", "pod/gone", `pods "gone" not found`},
		"no kind":           {"web", "", "a/b/c", "use pod/NAME, NAMESPACE/NAME, node/NAME or external[/ADDRESS]"},
		"no address":        {"web", "", "external/here", "use external/ADDRESS"},
		"no name of a node": {"web", "", "node/", "use node/NAME"},
	}
	api := cluster(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			from, err := ParseClient(tc.from, "shop")
			var in Input
			if err == nil {
				in, err = Collect(context.Background(), api, types.NamespacedName{Namespace: "shop", Name: tc.service}, tc.port, from)
			}
			if err == nil {
				_, err = Explain(in)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func explained(t *testing.T, api client.Reader, port, from string) *Report {
	t.Helper()
	who, err := ParseClient(from, "shop")
	if err != nil {
		t.Fatal(err)
	}
	in, err := Collect(context.Background(), api, types.NamespacedName{Namespace: "shop", Name: "web"}, port, who)
	if err != nil {
		t.Fatal(err)
	}
	report, err := Explain(in)
	if err != nil {
		t.Fatal(err)
	}
	return &report
}

// cluster has the objects of testdata/cluster.yaml, and the rules that the controller makes of them.
func cluster(t *testing.T) client.Reader {
	t.Helper()
	builder := fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t))
	var services []*corev1.Service
	var endpoints []*discoveryv1.EndpointSlice
	for _, object := range kubectltest.Objects(t, "testdata/cluster.yaml") {
		builder.WithRuntimeObjects(object)
		switch o := object.(type) {
		case *corev1.Service:
			services = append(services, o)
		case *discoveryv1.EndpointSlice:
			endpoints = append(endpoints, o)
		}
	}
	for _, s := range services {
		for _, slice := range compile.Service(compile.Input{Service: s, EndpointSlices: endpoints}).Slices {
			builder.WithObjects(&v1alpha1.ServiceRuleSlice{
				ObjectMeta: metav1.ObjectMeta{Name: slice.Name, Labels: model.SliceLabels(model.ServiceOf(&slice.Spec))}, Spec: slice.Spec,
			})
		}
	}
	return builder.Build()
}
