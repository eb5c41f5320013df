// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

const agents = "daemonset/fairlead-agent"

// Names of checks that several faults have.
const (
	eachHasAgent  = "each selected node has an agent"
	agentsBeat    = "agents renew their heartbeats"
	waitsForNone  = "no rollout waits for a person"
	rolloutFailed = "no rollout has failed or is blocked"
)

// faultsOfRights are those of a user: it gets the roles that the fix names.
func faultsOfRights(t *testing.T) []faults {
	const user = "newcomer"
	bound := func(kind, name string, args ...string) func() error {
		return func() error {
			if err := labtest.Command("kubectl", append([]string{"create", kind, name, "--user=" + user}, args...)...); err != nil {
				return err
			}
			t.Cleanup(func() {
				if err := labtest.Command("kubectl", append([]string{"delete", kind, name}, args[1:]...)...); err != nil {
					t.Error(err)
				}
			})
			return nil
		}
	}
	var roles []func() error
	for _, role := range []string{"fairlead-proxyconfig-viewer-role", "fairlead-noderuleset-viewer-role", "fairlead-serviceruleslice-viewer-role", "view"} {
		roles = append(roles, bound("clusterrolebinding", user+"-"+role, "--clusterrole="+role))
	}
	none := func() error { return nil }
	inspector := filepath.Join(repo, "config", "inspector")
	t.Cleanup(func() {
		if err := labtest.Command("kubectl", "delete", "--ignore-not-found", "-k", inspector); err != nil {
			t.Error(err)
		}
	})
	return []faults{
		{[]string{"--as", user}, []fault{{"you may read what the plugin reads", "you may not list noderulesets", "bind the ClusterRoles", none, together(roles...)}}},
		{[]string{"--kernel", "--as", user}, []fault{{"you may look into the kernels", "node-1: ", "config/inspector, and bind the Role fairlead-inspector-role",
			none, together(kubectlDoes("apply", "--server-side", "-k", inspector),
				bound("rolebinding", user+"-inspector", "--role=fairlead-inspector-role", "--namespace=fairlead-system"))}}},
	}
}

// faultsOfAgents are those of the agents' processes and nodes, and of the controller.
func faultsOfAgents(t *testing.T) []faults {
	scaled := func(replicas int) func() error {
		return kubectlDoes("-n", "fairlead-system", "scale", "deployment/fairlead-controller-manager", fmt.Sprintf("--replicas=%d", replicas))
	}
	stop := func() error {
		pid, err := agentPID("node-1")
		if err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGSTOP)
	}
	daemonSet := func(patch string) func() error {
		return kubectlDoes("-n", "fairlead-system", "patch", agents, "--type=merge", "--patch", patch)
	}
	const selects = `{"spec": {"updateStrategy": {"type": %q, "rollingUpdate": %s}, "template": {"spec": {"nodeSelector": {"has-agent": %s}}}}}`
	selective := daemonSet(fmt.Sprintf(selects, "OnDelete", "null", `"true"`)) // the other nodes keep their Pods
	unblocked := func() error { return rejoin("node-3") }
	t.Cleanup(func() { // also after a failure
		for _, undo := range []func() error{unblocked, scaled(2), daemonSet(fmt.Sprintf(selects, "RollingUpdate", `{"maxUnavailable": "10%"}`, "null")),
			kubectlDoes("label", "nodes", "--all", "has-agent-"), kubectlDoes("-n", "fairlead-system", "rollout", "status", agents, "--timeout=4m")} {
			if err := undo(); err != nil {
				t.Error(err)
			}
		}
	})
	return []faults{{nil, []fault{
		{eachHasAgent, "node-2: no Pod of the agent is on the node", "its node selector", together(kubectlDoes("label", "node", "node-1", "node-3", "has-agent=true"), selective),
			kubectlDoes("label", "node/node-2", "has-agent=true")},
		{agentsBeat, "node-3: ", "does it reach the apiserver?", func() error { return isolate("node-3") }, unblocked},
		{eachHasAgent, "node-1: Pod fairlead-system/fairlead-agent-.* is not ready", "Delete a Pod that hangs", stop, deleteAgent("node-1")},
		{"a controller is available", "has no available Pod", "kubectl get pods and kubectl logs of the Deployment", scaled(0), scaled(2)},
	}}}
}

// faultsOfInstallation are those of what the agents have in the API. One of the nodes gets the image, and all lose their rights.
func faultsOfInstallation(t *testing.T) []faults {
	image, err := exec.Command("kubectl", "-n", "fairlead-system", "get", agents, "-o", "jsonpath={.spec.template.spec.containers[0].image}").Output()
	if err != nil {
		t.Fatal(err)
	}
	use := func(image string) func() error {
		return kubectlDoes("-n", "fairlead-system", "set", "image", agents, "agent="+image)
	}
	return []faults{{nil, []fault{
		// The lab has an image for each name, and none for one that is no name.
		{"the agents' images are pulled", "registry.example/AGENT", "set image daemonset/NAME agent=IMAGE", use("registry.example/AGENT"), use(string(image))},
		{agentsBeat, "(?s)node-1: .*node-2: .*node-3: ", "apply config/default again",
			kubectlDoes("delete", "clusterrolebinding", "fairlead-agent-rolebinding"), installed},
	}}}
}

// installed applies the manifests again.
func installed() error {
	return labtest.Command("kubectl", "apply", "--server-side", "-k", filepath.Join(repo, "config", "default"))
}

// deleteAgent deletes a node's agent.
func deleteAgent(node string) func() error {
	return kubectlDoes("-n", "fairlead-system", "delete", "pod", "-l", "app.kubernetes.io/component=agent", "--field-selector=spec.nodeName="+node)
}

// faultsOfRollouts are those that wait for a person or have failed, in stages of a second.
func faultsOfRollouts(*testing.T) []faults {
	changed := func(affinity int, stage, port string) func() error {
		return patched(fmt.Sprintf(`{"spec": {"sessionAffinity": {"timeoutSeconds": %d}, "rollout": {"strategy": "Staged", "stages": [{"name": "first", "nodes": 1, %s}],
			"checks": [{"name": "dns", "service": "kube-system/kube-dns", "port": %s, "failureLimit": 1}]}}}`, affinity, stage, port))
	}
	const soon, late = `"soakSeconds": 1, "approval": null`, `"soakSeconds": 3600, "approval": null`
	resumed := together(steered("resume"), steered("promote"))
	return []faults{
		{nil, []fault{{waitsForNone, "is AwaitingApproval in the stage first", "rollout approve CONFIG STAGE",
			changed(10801, `"soakSeconds": 1, "approval": "Required"`, "53"), steered("approve", "first")}}},
		{nil, []fault{{waitsForNone, "is Paused", "rollout resume CONFIG", together(changed(10802, late, "53"), steered("pause")), resumed}}},
		{nil, []fault{{rolloutFailed, "is RolledBack", "then kubectl fairlead rollout retry CONFIG",
			changed(10803, soon, "5353"), together(changed(10803, soon, "53"), steered("retry"))}}},
	}
}

// faultsOfIPVS has a policy with a mode that no node supports. A kernel with ip_vs supports it.
func faultsOfIPVS(t *testing.T) []faults {
	set, err := ruleSet(t, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range set.Status.Capabilities {
		if c.Mode == v1alpha1.ModeIPVS && c.Supported {
			t.Log("this kernel has ip_vs")
			return nil
		}
	}
	otherMode := patched(`{"spec": {"mode": "NFTables", ` + atOnce + `}}`)
	return []faults{{nil, []fault{
		{"nodes support a mode of their policy", "default: ", "set fallbackModes or another mode", patched(`{"spec": {"mode": "IPVS", "rollout": {"strategy": "Staged"}}}`), otherMode},
		{rolloutFailed, "is Blocked", "or change the ProxyConfig", func() error { return nil }, func() error { return nil }},
	}}}
}

// faultsOfKubeProxy has kube-proxy run beside the agents. To take over, as the fix says, needs rights, which the other fix gives.
func faultsOfKubeProxy(t *testing.T) []faults {
	leaveKubeProxy(t)
	takeOver := patched(`{"spec": {"kubeProxy": {"takeOver": true}, ` + atOnce + `}}`)
	return []faults{{nil, []fault{
		{"kube-proxy is on no node", "node-1: kube-proxy runs, mode iptables", "set spec.kubeProxy.takeOver: true", func() error { return labtest.StartKubeProxy(config, "iptables", "nft") }, takeOver},
		{"kube-proxy's DaemonSet can be changed", "default: MissingPermission", "kubectl apply --server-side -k config/takeover", takeOver, allowTakeOver},
	}}}
}

// faultsOfCRD takes a kind of the API away.
func faultsOfCRD(*testing.T) []faults {
	return []faults{{nil, []fault{{"the apiserver serves all kinds of proxy.fairlead.dev/v1alpha1", "nodeheartbeats", "kubectl apply --server-side -k config/crd",
		kubectlDoes("delete", "crd", "nodeheartbeats.proxy.fairlead.dev"), kubectlDoes("apply", "--server-side", "-k", filepath.Join(repo, "config", "crd"))}}}}
}
