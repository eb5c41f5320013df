// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bytes"
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
	rules "github.com/fairlead-proxy/fairlead/rules/rollout"
)

// TestUndo checks what the command says and writes with each --dry-run, and where it looks for revisions.
func TestUndo(t *testing.T) {
	config := func(mode v1alpha1.ProxyMode) *v1alpha1.ProxyConfig {
		return &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "1"}, Spec: v1alpha1.ProxyConfigSpec{Mode: mode}}
	}
	revision := rules.RevisionOf(config(v1alpha1.ModeIPVS))
	const done = "proxyconfig.proxy.fairlead.dev/default rolled back to default-"
	hash := revision.Name[len("default-"):]
	cases := map[string]struct {
		dryRun, namespace string
		wantMode          v1alpha1.ProxyMode
		wantText, wantErr string
	}{
		"none":                 {"none", "", v1alpha1.ModeIPVS, done + hash + "\n", ""},
		"client":               {"client", "", v1alpha1.ModeNFTables, done + hash + " (dry run)\n", ""},
		"server":               {"server", "", v1alpha1.ModeNFTables, done + hash + " (server dry run)\n", ""},
		"in another namespace": {"none", "shop", v1alpha1.ModeNFTables, "", "ProxyConfig default has had no other policy that is kept"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			api := fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t)).WithObjects(config(v1alpha1.ModeNFTables), &appsv1.ControllerRevision{
				ObjectMeta: metav1.ObjectMeta{Name: revision.Name, Namespace: installed, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ControllerName},
					OwnerReferences: []metav1.OwnerReference{{Kind: "ProxyConfig", Name: "default", UID: "1", Controller: new(true)}}},
				Revision: 1, Data: runtime.RawExtension{Raw: revision.Data},
			}).Build()
			var out bytes.Buffer
			command := &cobra.Command{}
			command.SetOut(&out)
			command.SetContext(context.Background())
			p := &plugin{flags: genericclioptions.NewConfigFlags(true)}
			*p.flags.Namespace = tc.namespace
			gotErr := ""
			if err := p.undoTo(command, api, "default", "", tc.dryRun); err != nil {
				gotErr = err.Error()
			}
			var after v1alpha1.ProxyConfig
			if err := api.Get(context.Background(), types.NamespacedName{Name: "default"}, &after); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{tc.wantText, tc.wantErr, tc.wantMode}, []any{out.String(), gotErr, after.Spec.Mode}); diff != "" {
				t.Error(diff)
			}
		})
	}
}
