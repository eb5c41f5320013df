// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
	rules "github.com/fairlead-proxy/fairlead/rules/rollout"
)

const namespace = "fairlead-system"

// current selects nodes and has limits that no revision has.
func current(mode v1alpha1.ProxyMode) *v1alpha1.ProxyConfig {
	return &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "1"}, Spec: v1alpha1.ProxyConfigSpec{
		Mode: mode, Priority: new(int32(7)), DeletionPolicy: v1alpha1.DeletionCleanup,
		Rollout: v1alpha1.RolloutOptions{Strategy: v1alpha1.Staged},
	}}
}

func stored(config *v1alpha1.ProxyConfig, number int64) *appsv1.ControllerRevision {
	revision := rules.RevisionOf(config)
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Name: revision.Name, Namespace: namespace, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ControllerName},
			CreationTimestamp: metav1.NewTime(time.Date(2026, 1, int(number), 12, 0, 0, 0, time.UTC)),
			OwnerReferences:   []metav1.OwnerReference{{Kind: "ProxyConfig", Name: config.Name, UID: config.UID, Controller: new(true)}},
		},
		Revision: number, Data: runtime.RawExtension{Raw: revision.Data},
	}
}

func node(name, revision string) *v1alpha1.NodeRuleSet {
	return &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:   v1alpha1.NodeRuleSetSpec{Policy: v1alpha1.PolicyReference{Name: "default"}},
		Status: v1alpha1.NodeRuleSetStatus{AppliedRevision: revision}}
}

// cluster has the revisions Auto (gone), IPTables, IPVS (altered), NFTables (stable), Userspace (current),
// and some that are not the controller's, not of the policy, or elsewhere.
func cluster(t *testing.T) (*v1alpha1.ProxyConfig, client.Client) {
	t.Helper()
	config := current(v1alpha1.ModeUserspace)
	config.Status.StableRevision = rules.RevisionOf(current(v1alpha1.ModeNFTables)).Name
	altered := stored(current(v1alpha1.ModeIPVS), 2)
	altered.Data.Raw = bytes.ReplaceAll(altered.Data.Raw, []byte("IPVS"), []byte("IPTables"))
	other, foreign, elsewhere := stored(current(v1alpha1.ModeAuto), 8), stored(current(v1alpha1.ModeAuto), 9), stored(current(v1alpha1.ModeAuto), 9)
	other.OwnerReferences[0].UID, other.Name = "2", "default-other"
	foreign.Labels, foreign.Name = nil, "default-foreign"
	elsewhere.Namespace = "shop"
	gone := rules.RevisionOf(current(v1alpha1.ModeAuto)).Name
	stable, target := config.Status.StableRevision, rules.RevisionOf(config).Name
	return config, fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t)).WithObjects(config,
		stored(current(v1alpha1.ModeIPTables), 1), altered, stored(current(v1alpha1.ModeNFTables), 3), stored(config, 4), other, foreign, elsewhere,
		node("node-1", stable), node("node-3", stable), node("node-2", stable), node("node-4", stable), node("node-5", target), node("node-6", gone), node("node-7", ""),
	).Build()
}

func history(t *testing.T, api client.Client) (*v1alpha1.ProxyConfig, History) {
	t.Helper()
	config := &v1alpha1.ProxyConfig{}
	if err := api.Get(context.Background(), types.NamespacedName{Name: "default"}, config); err != nil {
		t.Fatal(err)
	}
	in, err := Collect(context.Background(), api, config, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return config, HistoryOf(in)
}

func TestHistory(t *testing.T) {
	_, api := cluster(t)
	_, h := history(t, api)
	for suffix, wide := range map[string]bool{".txt": false, "-wide.txt": true} {
		var text bytes.Buffer
		if err := h.Print(&text, wide); err != nil {
			t.Fatal(err)
		}
		kubectltest.Golden(t, "history"+suffix, text.Bytes())
	}
	kubectltest.GoldenYAML(t, "history.yaml", h)
	policy, err := h.Revisions[1].Policy()
	if err != nil {
		t.Fatal(err)
	}
	kubectltest.Golden(t, "policy.yaml", policy)
}

// TestUndo checks what is written, and that nothing is restored from what was altered or is not of
// the policy.
func TestUndo(t *testing.T) {
	name := func(mode v1alpha1.ProxyMode) string { return rules.RevisionOf(current(mode)).Name }
	hash := strings.TrimPrefix(name(v1alpha1.ModeIPTables), "default-")
	cases := map[string]struct {
		to      string
		options []client.PatchOption
		want    v1alpha1.ProxyMode
		wantErr string
	}{
		"the one before":          {"", nil, v1alpha1.ModeNFTables, ""},
		"by name":                 {name(v1alpha1.ModeIPTables), nil, v1alpha1.ModeIPTables, ""},
		"by hash":                 {hash, nil, v1alpha1.ModeIPTables, ""},
		"server dry run":          {"", []client.PatchOption{client.DryRunAll}, v1alpha1.ModeUserspace, ""},
		"altered":                 {name(v1alpha1.ModeIPVS), nil, v1alpha1.ModeUserspace, "its content has another name: it was altered"},
		"the current one":         {name(v1alpha1.ModeUserspace), nil, v1alpha1.ModeUserspace, "nothing to undo"},
		"gone, and elsewhere":     {name(v1alpha1.ModeAuto), nil, v1alpha1.ModeUserspace, "is not kept any more"},
		"of another policy":       {"default-other", nil, v1alpha1.ModeUserspace, "has no revision default-other"},
		"not of the controller":   {"default-foreign", nil, v1alpha1.ModeUserspace, "has no revision default-foreign"},
		"an unknown one":          {"00", nil, v1alpha1.ModeUserspace, "has no revision 00"},
		"the beginning of a hash": {hash[:4], nil, v1alpha1.ModeUserspace, "has no revision"},
	}
	for title, tc := range cases {
		t.Run(title, func(t *testing.T) {
			_, api := cluster(t)
			config, h := history(t, api)
			to, err := h.Find(tc.to)
			if err == nil {
				err = Undo(context.Background(), api, config, to, tc.options...)
			}
			if (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("error %v, want %q", err, tc.wantErr)
			}
			after, _ := history(t, api)
			if diff := cmp.Diff(current(tc.want).Spec, after.Spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUndoKeepsDaemonSet undoes a take-over, and that again: the DaemonSet that is named has no part in revisions.
func TestUndoKeepsDaemonSet(t *testing.T) {
	plain, taking := current(v1alpha1.ModeIPTables), current(v1alpha1.ModeIPTables)
	taking.Spec.KubeProxy = &v1alpha1.KubeProxyOptions{TakeOver: new(true), DaemonSet: "platform/proxy"}
	api := fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t)).WithObjects(taking.DeepCopy(), stored(plain, 1), stored(taking, 2)).Build()
	for _, want := range []*v1alpha1.ProxyConfig{plain, taking, plain} {
		config, h := history(t, api)
		to, err := h.Find(rules.RevisionOf(want).Name)
		if err != nil {
			t.Fatal(err)
		}
		if err := Undo(t.Context(), api, config, to); err != nil {
			t.Fatal(err)
		}
		after, _ := history(t, api)
		wantNote := ""
		if want == plain {
			wantNote = "platform/proxy"
		}
		if diff := cmp.Diff(want.Spec, after.Spec); diff != "" || after.Annotations[annotationDaemonSet] != wantNote {
			t.Errorf("annotations %v, spec (-want +got):\n%s", after.Annotations, diff)
		}
	}
}

// TestUndoOfAnotherChange checks that a change in between is not overwritten.
func TestUndoOfAnotherChange(t *testing.T) {
	ctx := context.Background()
	_, api := cluster(t)
	config, h := history(t, api)
	to, err := h.Find("")
	if err != nil {
		t.Fatal(err)
	}
	theirs := config.DeepCopy()
	theirs.Spec.Mode = v1alpha1.ModeIPVS
	if err := api.Update(ctx, theirs); err != nil {
		t.Fatal(err)
	}
	if err := Undo(ctx, api, config, to); err == nil || !strings.Contains(err.Error(), "object was modified") {
		t.Errorf("error %v, want a conflict", err)
	}
}

// TestNothingToUndo checks a policy that has had no other one.
func TestNothingToUndo(t *testing.T) {
	config := current(v1alpha1.ModeIPVS)
	h := HistoryOf(Input{Config: config, Revisions: []appsv1.ControllerRevision{*stored(config, 1)}})
	if to, err := h.Find(""); err == nil || !strings.Contains(err.Error(), "has had no other policy") {
		t.Errorf("got %v, %v", to, err)
	}
}
