// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"bytes"
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
	"github.com/fairlead-proxy/fairlead/rules/compile"
)

func config(name string, change func(*v1alpha1.ProxyConfigSpec)) v1alpha1.ProxyConfig {
	c := v1alpha1.ProxyConfig{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ProxyConfig"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.Spec.Mode = v1alpha1.ModeNFTables
	change(&c.Spec)
	return c
}

// cluster has the ProxyConfig default on node-1 to node-3, of which node-3 cannot run IPVS, the
// ProxyConfig edge on node-4, and none yet on node-5.
func cluster() Input {
	in := Input{Configs: []v1alpha1.ProxyConfig{
		config("default", func(*v1alpha1.ProxyConfigSpec) {}),
		config("edge", func(s *v1alpha1.ProxyConfigSpec) {
			s.Priority = ptr.To[int32](10)
			s.NodeSelector = &v1alpha1.NodeSelector{MatchLabels: map[string]v1alpha1.LabelValue{"edge": ""}}
		}),
	}}
	for _, name := range []string{"node-3", "node-1", "node-2", "node-4", "node-5"} {
		node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if name == "node-4" {
			node.Labels = map[string]string{"edge": ""}
		}
		in.Nodes = append(in.Nodes, node)
		if name == "node-5" {
			continue
		}
		policy, _, _ := compile.SelectConfig(&node, in.Configs)
		spec, _ := compile.Node(compile.NodeInput{Node: &node, Config: policy, Revision: policy.Name + "-1", AssignedTime: &metav1.Time{}})
		set := v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
		set.Status.Mode = v1alpha1.ModeNFTables
		set.Status.Capabilities = []v1alpha1.ModeCapability{{Mode: v1alpha1.ModeNFTables, Supported: true},
			{Mode: v1alpha1.ModeIPVS, Supported: name != "node-3", Message: "no module ip_vs", Schedulers: []string{"rr", "sh"}}}
		in.Rules = append(in.Rules, set)
	}
	return in
}

func TestGolden(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.ProxyConfigSpec){
		"same": func(s *v1alpha1.ProxyConfigSpec) { s.Priority = ptr.To[int32](1) },
		"mode": func(s *v1alpha1.ProxyConfigSpec) {
			s.Mode, s.FallbackModes = v1alpha1.ModeIPVS, []v1alpha1.ProxyMode{v1alpha1.ModeIPTables, v1alpha1.ModeNFTables}
			s.IPVS = &v1alpha1.IPVSOptions{Scheduler: "sh"}
		},
		"no-mode": func(s *v1alpha1.ProxyConfigSpec) {
			s.Mode, s.IPVS = v1alpha1.ModeIPVS, &v1alpha1.IPVSOptions{Scheduler: "wlc"}
		},
		"other-nodes": func(s *v1alpha1.ProxyConfigSpec) {
			s.Priority = ptr.To[int32](20)
			s.NodeSelector = &v1alpha1.NodeSelector{MatchLabels: map[string]v1alpha1.LabelValue{"edge": ""}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := cluster()
			in.New = []v1alpha1.ProxyConfig{config("default", change)}
			report, err := Of(in)
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if err := report.Print(&text); err != nil {
				t.Fatal(err)
			}
			kubectltest.Golden(t, name+".txt", text.Bytes())
			kubectltest.GoldenYAML(t, name+".yaml", &report)
		})
	}
}

// TestCollect checks that the file is only compared.
func TestCollect(t *testing.T) {
	in := cluster()
	builder := fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t))
	for i := range in.Configs {
		builder.WithObjects(&in.Configs[i])
	}
	for i := range in.Nodes {
		builder.WithObjects(&in.Nodes[i])
	}
	// The fake client would write.
	var applied client.ApplyOptions
	api := builder.WithInterceptorFuncs(interceptor.Funcs{Apply: func(_ context.Context, _ client.WithWatch, _ runtime.ApplyConfiguration, o ...client.ApplyOption) error {
		applied.ApplyOptions(o)
		return nil
	}}).Build()
	got, err := Collect(t.Context(), api, strings.NewReader("---\napiVersion: proxy.fairlead.dev/v1alpha1\nkind: ProxyConfig\nmetadata:\n  name: default\nspec:\n  mode: IPVS\n---\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.New) != 1 || got.New[0].Name != "default" || got.New[0].Spec.Mode != v1alpha1.ModeIPVS || len(got.Configs) != 2 || len(got.Nodes) != 5 {
		t.Errorf("%+v", got)
	}
	if len(applied.DryRun) != 1 || applied.DryRun[0] != metav1.DryRunAll {
		t.Errorf("it writes: %+v", applied)
	}
	for file, want := range map[string]string{
		"":                             "the file has no ProxyConfig",
		"a: [":                         "read the file",
		"apiVersion: v1\nkind: Secret": "the file has an object of kind Secret: only ProxyConfigs of proxy.fairlead.dev/v1alpha1 can be compared",
	} {
		if _, err := Collect(t.Context(), api, strings.NewReader(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", file, err, want)
		}
	}
}
