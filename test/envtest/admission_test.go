// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestAgentReportsForItsNode checks that an agent can write the status and the heartbeat of
// its own node only, the node of the Pod in its token.
func TestAgentReportsForItsNode(t *testing.T) {
	deploy(t)
	mine := object(t, "NodeRuleSet", `spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}}`)
	other := object(t, "NodeRuleSet", `spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}}`)
	create(t, mine)
	create(t, other)
	agentOn := func(node string) client.Client {
		cfg := as(serviceAccount("fairlead-agent"))
		if node != "" {
			cfg.Impersonate.Extra = map[string][]string{"authentication.kubernetes.io/node-name": {node}}
		}
		c, err := client.New(cfg, client.Options{Scheme: api.Scheme()})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	report := func(ctx context.Context, from client.Client, on client.Object) error {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"status": {"mode": "NFTables"}}`))
		return from.Status().Patch(ctx, on.DeepCopyObject().(client.Object), patch)
	}
	beat := func(ctx context.Context, from client.Client, on client.Object) error {
		patch := client.RawPatch(types.ApplyPatchType, fmt.Appendf(nil, `{"apiVersion": "proxy.fairlead.dev/v1alpha1", "kind": "NodeHeartbeat",
			"metadata": {"name": %q}, "spec": {"renewTime": %q}}`, on.GetName(), time.Now().UTC().Format(time.RFC3339)))
		heartbeat := &v1alpha1.NodeHeartbeat{ObjectMeta: metav1.ObjectMeta{Name: on.GetName()}}
		return from.Patch(ctx, heartbeat, patch, client.FieldOwner("fairlead-agent"), client.ForceOwnership)
	}
	for _, o := range []client.Object{mine, other} {
		cleanUp(t, &v1alpha1.NodeHeartbeat{ObjectMeta: metav1.ObjectMeta{Name: o.GetName()}})
	}
	for name, c := range map[string]struct {
		from string
		on   client.Object
		want string // of the rejection; empty: allowed
	}{
		"its own node":      {mine.GetName(), mine, ""},
		"another node":      {mine.GetName(), other, "the agent of node " + mine.GetName() + " may not report for node " + other.GetName()},
		"a token of no Pod": {"", mine, "the agent's token names no node; it must be bound to a Pod or a Node"},
	} {
		t.Run(name, func(t *testing.T) {
			agent := agentOn(c.from)
			for what, write := range map[string]func(context.Context, client.Client, client.Object) error{"report": report, "heartbeat": beat} {
				// The policy takes effect after a moment.
				eventually(t, "the answer to a "+what+" for "+name, func(ctx context.Context) bool {
					// A heartbeat that was allowed is created, not renewed, at the next try.
					heartbeat := &v1alpha1.NodeHeartbeat{ObjectMeta: metav1.ObjectMeta{Name: c.on.GetName()}}
					if err := api.Delete(ctx, heartbeat); client.IgnoreNotFound(err) != nil {
						t.Error(err)
					}
					err := write(ctx, agent, c.on)
					if c.want == "" {
						return err == nil
					}
					return apierrors.IsForbidden(err) && strings.Contains(err.Error(), c.want)
				})
			}
		})
	}
	// The heartbeat of this node exists now.
	if err := beat(t.Context(), api, other); err != nil {
		t.Fatal(err)
	}
	if err := beat(t.Context(), agentOn(mine.GetName()), other); !apierrors.IsForbidden(err) {
		t.Errorf("a renewal for another node: got %v, want it forbidden", err)
	}
	namesake, err := client.New(as("system:serviceaccount:aaa:fairlead-agent", "system:masters"), client.Options{Scheme: api.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	for who, user := range map[string]client.Client{"a user who is not an agent": api, "the same ServiceAccount, another namespace": namesake} {
		if err := report(t.Context(), user, other); err != nil {
			t.Errorf("%s: %v", who, err)
		}
	}
}

// TestOnlyTheControllerWritesRules has users write rules who have all rights by RBAC.
func TestOnlyTheControllerWritesRules(t *testing.T) {
	deploy(t)
	s := &services{t: t, ns: namespace(t)}
	refused := func(kind, user string) string {
		return "only " + serviceAccount("fairlead-controller-manager") + " may write " + kind + ", not " + user
	}
	const admin, controller, agent = "kubernetes-admin", "fairlead-controller-manager", "fairlead-agent"
	newSlice := func() client.Object { return s.sliceOf("new") }
	newNode := func() client.Object {
		return object(t, "NodeRuleSet", `spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}}`)
	}
	newRollout := func() client.Object { return object(t, "ProxyRollout", `spec: {state: Run}`) }
	order := func(obj client.Object) {
		if err := unstructured.SetNestedField(obj.(*unstructured.Unstructured).Object, "Promote", "spec", "state"); err != nil {
			t.Fatal(err)
		}
	}
	spec := func(obj client.Object) {
		switch o := obj.(type) {
		case *v1alpha1.ServiceRuleSlice:
			o.Spec.ClusterIP = "10.0.0.66"
		case *unstructured.Unstructured:
			if err := unstructured.SetNestedField(o.Object, "b", "spec", "node", "zone"); err != nil {
				t.Fatal(err)
			}
		}
	}
	type write func(ctx context.Context, c client.Client, obj client.Object) error
	create := func(ctx context.Context, c client.Client, obj client.Object) error { return c.Create(ctx, obj) }
	update := func(change func(client.Object)) write {
		return func(ctx context.Context, c client.Client, obj client.Object) error {
			if err := api.Create(ctx, obj); err != nil {
				return err
			}
			change(obj)
			return c.Update(ctx, obj)
		}
	}
	verdict := func(ctx context.Context, c client.Client, obj client.Object) error {
		if err := api.Create(ctx, obj); err != nil {
			return err
		}
		return c.Status().Patch(ctx, obj, client.RawPatch(types.MergePatchType, []byte(`{"status": {"verdict": "Succeeded"}}`)))
	}
	for name, tc := range map[string]struct {
		user string
		obj  func() client.Object
		do   write
		want string // in the error; empty: allowed
	}{
		"the controller creates a slice":           {serviceAccount(controller), newSlice, create, ""},
		"the controller changes a slice":           {serviceAccount(controller), newSlice, update(spec), ""},
		"the controller creates a NodeRuleSet":     {serviceAccount(controller), newNode, create, ""},
		"the controller changes a NodeRuleSet":     {serviceAccount(controller), newNode, update(spec), ""},
		"an administrator creates a slice":         {admin, newSlice, create, refused("serviceruleslices", admin)},
		"an administrator changes a slice":         {admin, newSlice, update(spec), refused("serviceruleslices", admin)},
		"an administrator drops the labels":        {admin, newSlice, update(func(o client.Object) { o.SetLabels(nil) }), refused("serviceruleslices", admin)},
		"an administrator creates a NodeRuleSet":   {admin, newNode, create, refused("noderulesets", admin)},
		"an administrator changes a NodeRuleSet":   {admin, newNode, update(spec), refused("noderulesets", admin)},
		"an agent creates a slice":                 {serviceAccount(agent), newSlice, create, refused("serviceruleslices", serviceAccount(agent))},
		"an agent changes its NodeRuleSet":         {serviceAccount(agent), newNode, update(spec), refused("noderulesets", serviceAccount(agent))},
		"the controller creates a ProxyRollout":    {serviceAccount(controller), newRollout, create, ""},
		"the controller says how far a rollout is": {serviceAccount(controller), newRollout, verdict, ""},
		"an administrator creates a ProxyRollout":  {admin, newRollout, create, refused("proxyrollouts", admin)},
		"an administrator says how to go on":       {admin, newRollout, update(order), ""},
		"an administrator says how far it is":      {admin, newRollout, verdict, refused("proxyrollouts", admin)},
		"an administrator labels a ProxyRollout": {admin, newRollout, update(func(o client.Object) { o.SetLabels(map[string]string{"a": "b"}) }),
			refused("proxyrollouts", admin)},
		"the same ServiceAccount, another namespace": {"system:serviceaccount:aaa:" + controller, newSlice, create,
			refused("serviceruleslices", "system:serviceaccount:aaa:"+controller)},
		"the garbage collector drops an owner": {"system:serviceaccount:kube-system:generic-garbage-collector", newNode,
			update(func(o client.Object) { o.SetOwnerReferences(nil) }), ""},
		"an administrator adds an annotation": {admin, newSlice, update(func(o client.Object) { o.SetAnnotations(map[string]string{"a": "b"}) }), ""},
		"an administrator deletes a slice": {admin, newSlice, func(ctx context.Context, c client.Client, obj client.Object) error {
			return errors.Join(api.Create(ctx, obj), c.Delete(ctx, obj))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			user, err := client.New(as(tc.user, "system:masters"), client.Options{Scheme: api.Scheme()})
			if err != nil {
				t.Fatal(err)
			}
			// The policy takes effect after a moment.
			eventually(t, "the answer", func(ctx context.Context) bool {
				obj := tc.obj()
				err := tc.do(ctx, user, obj)
				if obj.GetName() != "" {
					if e := api.Delete(ctx, obj); client.IgnoreNotFound(e) != nil {
						t.Error(e)
					}
				}
				if tc.want == "" && err != nil {
					t.Error(err)
				}
				return tc.want == "" || apierrors.IsForbidden(err) && strings.Contains(err.Error(), tc.want)
			})
		})
	}
}

// TestAdmissionInAnotherNamespace checks which ServiceAccount the policy names in a copy of
// config/default with another namespace and prefix.
func TestAdmissionInAnotherNamespace(t *testing.T) {
	for namespace, prefix := range map[string]string{systemNamespace: "fairlead-", "net-system": "net-"} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "config"))); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "default", "kustomization.yaml")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.NewReplacer("namespace: "+systemNamespace, "namespace: "+namespace, "namePrefix: fairlead-", "namePrefix: "+prefix).Replace(string(text))
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, config := range []string{"default", "admission-olm"} {
			got := strings.Join(strings.Fields(kubectl(t, "kustomize", filepath.Join(dir, config))), " ")
			for want, count := range map[string]int{
				"failurePolicy: Fail": 5, "validationActions: - Deny": 5, // of each policy and binding
				"expression: '''" + namespace + "'''":                                                                3,
				"expression: '''" + prefix + "controller-manager'''":                                                 1,
				"'system:serviceaccount:' + '" + namespace + "' + ':' + '" + prefix + "controller-manager'":          3,
				"'system:serviceaccount:' + '" + namespace + "' + ':' + '" + prefix + "agent'":                       1,
				"name: " + prefix + "controller-manager namespace: " + namespace + " parameterNotFoundAction: Allow": 1,
			} {
				if strings.Count(got, want) != count {
					t.Errorf("%s in %s: not %d times %s in the policies:\n%s", config, namespace, count, want, got)
				}
			}
			kinds := regexp.MustCompile(`kind: (\w+) metadata:`).FindAllStringSubmatch(got, -1)
			for _, kind := range kinds {
				if config == "admission-olm" && !strings.HasPrefix(kind[1], "ValidatingAdmissionPolicy") {
					t.Errorf("config/%s has a %s, which OLM installs", config, kind[1])
				}
			}
			if len(kinds) < 8 {
				t.Errorf("config/%s has %d objects, want four policies with bindings at least", config, len(kinds))
			}
		}
	}
}
