// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package upstream

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// patience is how long a proxy may take until it serves all nodes, also an emulated one on a busy machine.
const patience = 10 * time.Minute

// proxy prepares the nodes for a run.
type proxy struct {
	// modes returns the modes that the nodes can run.
	modes func(ctx context.Context) ([]string, error)
	// use has all nodes use a mode.
	use func(ctx context.Context, mode string) error
	// name returns what the list of exceptions calls a mode.
	name func(mode string) Proxy
	// remove removes it from the cluster.
	remove func() error
}

// policy changes the sample's ProxyConfig into what kube-proxy does by default: node ports are on localhost, too, and all
// external IPs are programmed. Nodes change the mode at once.
const policy = `{"spec": {"nodePort": {"addresses": ["Primary", "Localhost"]}, "externalIPs": {"policy": "Allow"},
	"rollout": {"strategy": "AllAtOnce"}}}`

// fairlead installs Fairlead, as the end-to-end tests do.
func fairlead(t *testing.T) proxy {
	t.Helper()
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", filepath.Join(labtest.Repo, "config", "default")},
		{"apply", "-f", filepath.Join(labtest.Repo, "config", "samples", "proxyconfig.yaml")},
		{"patch", "proxyconfig/default", "--type=merge", "--patch", policy},
		{"wait", "proxyconfig/default", "--for=condition=Available", "--timeout=" + patience.String()},
	} {
		if err := labtest.Command("kubectl", args...); err != nil {
			t.Fatal(err)
		}
	}
	return proxy{
		modes: supportedModes, use: useMode,
		name:   func(mode string) Proxy { return Proxy(mode) },
		remove: func() error { return nil },
	}
}

// supportedModes returns the modes that all nodes support.
func supportedModes(ctx context.Context) ([]string, error) {
	var nodes v1alpha1.NodeRuleSetList
	if err := api.List(ctx, &nodes); err != nil {
		return nil, err
	}
	var modes []string
	for _, mode := range []v1alpha1.ProxyMode{v1alpha1.ModeNFTables, v1alpha1.ModeIPTables, v1alpha1.ModeIPVS, v1alpha1.ModeUserspace} {
		supported := len(nodes.Items) > 0
		for _, node := range nodes.Items {
			supported = supported && supports(node.Status.Capabilities, mode)
		}
		if supported {
			modes = append(modes, string(mode))
		}
	}
	return modes, nil
}

func supports(capabilities []v1alpha1.ModeCapability, mode v1alpha1.ProxyMode) bool {
	for _, c := range capabilities {
		if c.Mode == mode {
			return c.Supported
		}
	}
	return false
}

// useMode changes the mode and waits until all nodes have programmed it, or what those that do not support it have instead.
func useMode(ctx context.Context, mode string) error {
	proxyConfig := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec": {"mode": %q, "fallbackModes": %s}}`, mode, fallback(mode)))
	if err := api.Patch(ctx, proxyConfig, patch); err != nil {
		return err
	}
	var inMode []string
	err := labtest.Eventually(ctx, patience, func() error {
		names, err := nodeNames(ctx)
		if err != nil {
			return err
		}
		inMode = nil
		for _, name := range names {
			node := &v1alpha1.NodeRuleSet{}
			if err := api.Get(ctx, client.ObjectKey{Name: name}, node); err != nil {
				return err
			}
			want := v1alpha1.ProxyMode(mode)
			if !supports(node.Status.Capabilities, want) && fallback(mode) != "null" {
				want = v1alpha1.ModeNFTables
			} else {
				inMode = append(inMode, name)
			}
			programmed := meta.IsStatusConditionTrue(node.Status.Conditions, v1alpha1.ConditionProgrammed)
			if string(node.Spec.Mode) != mode || node.Status.Mode != want || !programmed || node.Status.ObservedGeneration != node.Generation {
				return fmt.Errorf("%s is not in mode %s: %+v", name, want, node.Status.Conditions)
			}
		}
		if len(inMode) == 0 {
			return fmt.Errorf("no node supports %s", mode)
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Printf("nodes in the mode %s: %v\n", mode, inMode)
	// A node that is a virtual machine is cordoned, and would have no Pod.
	return labtest.Command("kubectl", append([]string{"uncordon"}, inMode...)...)
}

// fallback are the modes, as JSON, for nodes whose kernel has no ip_vs: in a lab with a virtual machine only that one has it.
func fallback(mode string) string {
	if mode == string(v1alpha1.ModeIPVS) {
		return `["NFTables"]`
	}
	return "null"
}

// kubeProxy runs kube-proxy, which must be the only proxy of the lab.
func kubeProxy(t *testing.T) proxy {
	t.Helper()
	return proxy{
		modes: func(context.Context) ([]string, error) {
			modes := []string{"nftables", "iptables"}
			if kernelHasIPVS() {
				modes = append(modes, "ipvs")
			}
			return modes, nil
		},
		use:    useKubeProxy,
		name:   func(mode string) Proxy { return Proxy("kube-proxy/" + mode) },
		remove: labtest.RemoveKubeProxy,
	}
}

// useKubeProxy starts kube-proxy in a mode on all nodes. It removes what another mode has left.
func useKubeProxy(_ context.Context, mode string) error {
	if err := labtest.RemoveKubeProxy(); err != nil {
		return err
	}
	if err := labtest.StartKubeProxy(config, mode, "nft"); err != nil {
		return err
	}
	return labtest.AwaitKubeProxy()
}
