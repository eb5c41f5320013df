// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/kubectl/check"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// injected is a fault of the cluster: what makes it, the check that fails then, and what its fix says.
type injected struct {
	check     string
	make, fix func() error
}

// kubectlDoes runs kubectl.
func kubectlDoes(args ...string) func() error {
	return func() error { return labtest.Command("kubectl", args...) }
}

// patched changes the ProxyConfig.
func patched(patch string) func() error {
	return kubectlDoes("patch", "proxyconfig/default", "--type=merge", "--patch", patch)
}

// TestCheckFaults makes faults, checks that `check` names each, and that each is gone after the fix. The
// agents need up to a minute for some, and so all that can be there together are.
func TestCheckFaults(t *testing.T) {
	if !*rolloutsToo {
		t.Skip("it takes minutes: run it with -rollouts")
	}
	checkRights(t)
	const agents = "daemonset/fairlead-agent"
	image, err := exec.Command("kubectl", "-n", "fairlead-system", "get", agents, "-o", "jsonpath={.spec.template.spec.containers[0].image}").Output()
	if err != nil {
		t.Fatal(err)
	}
	nowhere := filepath.Join(t.TempDir(), "nowhere.yaml")
	if err := os.WriteFile(nowhere, []byte(`{apiVersion: proxy.fairlead.dev/v1alpha1, kind: ProxyConfig, metadata: {name: nowhere}, spec: {nodeSelector: {matchLabels: {no: node}}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	flushing, flushed := make(chan struct{}), make(chan struct{})
	leave := func(args ...string) func() error {
		return func() error {
			_, err := inNode("node-1", append([]string{"nft"}, args...)...)
			return err
		}
	}
	inject(t, map[string]injected{
		"leftovers": {"kube-proxy is on no node", leave("add", "table", "ip", "kube-proxy"), leave("delete", "table", "ip", "kube-proxy")},
		"policies":  {"ProxyConfigs are accepted", kubectlDoes("apply", "-f", nowhere), kubectlDoes("delete", "-f", nowhere)},
		"Pod CIDR": {"localTraffic fits the nodes' Pod CIDRs", patched(`{"spec": {"localTraffic": {"detect": "ClusterCIDR", "clusterCIDRs": ["192.0.2.0/24"]}}}`),
			patched(`{"spec": {"localTraffic": {"detect": "NodeCIDR", "clusterCIDRs": null}}}`)},
		"node ports": {"node ports have an address on each node", patched(`{"spec": {"nodePort": {"addresses": ["203.0.113.0/24"]}}}`),
			patched(`{"spec": {"nodePort": {"addresses": ["Primary"]}}}`)},
		"rules": {"kernels have what their agents have programmed", func() error {
			go func() { // faster than the agent repairs it
				defer close(flushed)
				for {
					select {
					case <-flushing:
						return
					default:
						_, _ = inNode("node-2", "nft", "flush", "map", "ip", "fairlead", "services")
					}
				}
			}()
			return nil
		}, func() error {
			close(flushing)
			<-flushed
			return nil
		}},
		"admission": {"admission policies are enforced", kubectlDoes("delete", "validatingadmissionpolicybinding", "fairlead-rules.fairlead.dev"),
			kubectlDoes("apply", "--server-side", "-k", filepath.Join(repo, "config", "admission-olm"))},
	})
	inject(t, map[string]injected{
		// The lab has an image for each name, and none for one that is no name.
		"image": {"the agents' images are pulled", kubectlDoes("-n", "fairlead-system", "set", "image", agents, "agent=registry.example/AGENT"),
			kubectlDoes("-n", "fairlead-system", "set", "image", agents, "agent="+string(image))},
	})
	inject(t, map[string]injected{
		"controller": {"a controller is available", kubectlDoes("-n", "fairlead-system", "scale", "deployment/fairlead-controller-manager", "--replicas=0"),
			kubectlDoes("-n", "fairlead-system", "scale", "deployment/fairlead-controller-manager", "--replicas=2")},
	})
	inject(t, map[string]injected{
		"approval": {"no rollout waits for a person", patched(`{"spec": {"sessionAffinity": {"timeoutSeconds": 10801},
				"rollout": {"strategy": "Staged", "stages": [{"name": "first", "nodes": 1, "soakSeconds": 1, "approval": "Required"}]}}}`),
			func() error {
				if code, out, errOut := fairlead(context.Background(), "rollout", "approve", "default", "first"); code != 0 {
					return errors.New(out + errOut)
				}
				return nil
			}},
	})
	if err := patched(`{"spec": {"sessionAffinity": {"timeoutSeconds": 10800}, ` + atOnce + `}}`)(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*time.Minute, func() error { return passes("nodes are programmed and not degraded") })
}

// inject makes faults, waits until each check fails, mends them, and waits until each passes.
func inject(t *testing.T, faults map[string]injected) {
	t.Helper()
	for name, f := range faults {
		if err := f.make(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for name, f := range faults {
		eventually(t, 4*time.Minute, func() error {
			if passes(f.check) == nil {
				return fmt.Errorf("%s: the check %q passes", name, f.check)
			}
			return nil
		})
	}
	for name, f := range faults {
		if err := f.fix(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, f := range faults {
		eventually(t, 4*time.Minute, func() error { return passes(f.check) })
	}
}

// passes returns what a check has found, and how to mend it; nil: it passes.
func passes(name string, args ...string) error {
	_, out, errOut := fairlead(context.Background(), append([]string{"check", "--kernel", "-o", "json"}, args...)...)
	var report check.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return fmt.Errorf("check: %w: %s%s", err, out, errOut)
	}
	for _, category := range report.Categories {
		for _, c := range category.Checks {
			if c.Name == name && c.Pass {
				return nil
			}
			if c.Name == name {
				return fmt.Errorf("%s: %v; fix: %s", name, c.Found, c.Fix)
			}
		}
	}
	return fmt.Errorf("the report has no check %q: %s", name, out)
}

// checkRights gives a user the roles that the fix names.
func checkRights(t *testing.T) {
	t.Helper()
	const user, name = "newcomer", "you may read what the plugin reads"
	if passes(name, "--as", user) == nil {
		t.Error("a user without rights passes")
	}
	for _, role := range []string{"fairlead-proxyconfig-viewer-role", "fairlead-noderuleset-viewer-role", "fairlead-serviceruleslice-viewer-role", "view"} {
		binding := user + "-" + role
		if err := labtest.Command("kubectl", "create", "clusterrolebinding", binding, "--clusterrole="+role, "--user="+user); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := labtest.Command("kubectl", "delete", "clusterrolebinding", binding); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, time.Minute, func() error { return passes(name, "--as", user) })
}
