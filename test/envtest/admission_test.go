// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestAgentReportsForItsNode checks that an agent can write the status of its own node
// only, the node of the Pod in its token.
func TestAgentReportsForItsNode(t *testing.T) {
	deploy(t)
	mine := object(t, "NodeRuleSet", `spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}}`)
	other := object(t, "NodeRuleSet", `spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}}`)
	create(t, mine)
	create(t, other)
	agentOn := func(node string) client.Client {
		cfg := rest.CopyConfig(config)
		cfg.Impersonate = rest.ImpersonationConfig{UserName: serviceAccount("fairlead-agent")}
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
	for name, c := range map[string]struct {
		from string
		on   client.Object
		want string // of the rejection; empty: allowed
	}{
		"its own node":      {mine.GetName(), mine, ""},
		"another node":      {mine.GetName(), other, "the agent of node " + mine.GetName() + " may not report for node " + other.GetName()},
		"a token of no Pod": {"", mine, ""},
	} {
		t.Run(name, func(t *testing.T) {
			agent := agentOn(c.from)
			// The policy takes effect after a moment.
			eventually(t, "the answer to a report for "+name, func(ctx context.Context) bool {
				err := report(ctx, agent, c.on)
				if c.want == "" {
					return err == nil
				}
				return apierrors.IsForbidden(err) && strings.Contains(err.Error(), c.want)
			})
		})
	}
	if err := report(t.Context(), api, other); err != nil {
		t.Errorf("a user who is not an agent: %v", err)
	}
}
