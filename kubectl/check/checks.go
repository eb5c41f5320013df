// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import "github.com/fairlead-proxy/fairlead/api/v1alpha1"

// When a category is shown: always; if the API could be read; if the kernels were read, too.
func always(*Facts) bool    { return true }
func read(f *Facts) bool    { return f.Read }
func kernels(f *Facts) bool { return f.Read && f.Kernels != nil }

// categories are all checks, in the order in which they are shown.
var categories = []struct {
	name   string
	shown  func(*Facts) bool
	checks []one
}{
	{"API", always, []one{
		{"the apiserver serves all kinds of proxy.fairlead.dev/v1alpha1", "apply the CustomResourceDefinitions: kubectl apply --server-side -k config/crd",
			"docs/kubectl.md#is-something-wrong", notServed},
		{"you may read what the plugin reads", "bind the ClusterRoles fairlead-proxyconfig-viewer-role, fairlead-noderuleset-viewer-role, fairlead-serviceruleslice-viewer-role and view to you",
			"docs/kubectl.md#is-something-wrong", denied},
	}},
	{"Controller", read, []one{
		{"a controller is available", "look at kubectl get pods and kubectl logs of the Deployment; another namespace needs -n",
			"docs/troubleshooting.md#no-controller-or-no-agent", noController},
	}},
	{"Agents", read, []one{
		{"each selected node has an agent", "look at kubectl describe of the Pod or of the agents' DaemonSet; do its tolerations and its node selector fit the node? Delete a Pod that hangs",
			"docs/troubleshooting.md#no-controller-or-no-agent", noAgent},
		{"the agents' images are pulled", "push the image to where the node pulls it, or correct it: kubectl -n NAMESPACE set image daemonset/NAME agent=IMAGE",
			"docs/installation.md#images", notPulled},
		{"agents renew their heartbeats", "look at kubectl logs of the node's agent; does it reach the apiserver? If it is forbidden there, its rights are gone: apply config/default again",
			"docs/troubleshooting.md#no-controller-or-no-agent", silent},
		{"the nodes' clocks are right", "synchronise the node's clock with the others' (chronyd, systemd-timesyncd)",
			"docs/design.md#is-the-agent-there", clocks},
	}},
	{"Nodes", read, []one{
		{"nodes are programmed and not degraded", "the message of the condition says what to change",
			"docs/troubleshooting.md#reasons-of-conditions", notWell},
		{"the agents' ports are free", "end the program that has the port; the agent opens it then",
			"docs/security.md#ports", inState(v1alpha1.ReasonListenFailed)},
		{"connection tracking is as the policy has it", "set the parameter on the node as the message says, load nf_conntrack_netlink, or remove the field from spec.conntrack of the ProxyConfig",
			"docs/troubleshooting.md#reasons-of-conditions", inState(v1alpha1.ReasonConntrackSysctl, v1alpha1.ReasonConntrackFailed)},
		{"the nodes' modes support what Services need", "as the message says: change the Service, the node, or the mode in the ProxyConfig",
			"docs/troubleshooting.md#limitations", inState(v1alpha1.ReasonPartlyProgrammed)},
		{"kube-proxy is on no node", "set spec.kubeProxy.takeOver: true in the ProxyConfig; or end kube-proxy, and run kube-proxy --cleanup on the node",
			"docs/semantics.md#taking-over-from-kube-proxy", beside},
	}},
	{"Policies", read, []one{
		{"ProxyConfigs are accepted", "create a ProxyConfig, or change what the message says",
			"docs/troubleshooting.md#reasons-of-conditions", notAccepted},
		{"nodes support a mode of their policy", "set fallbackModes or another mode in the ProxyConfig, or load the modules on the node",
			"docs/modes.md#what-each-mode-needs", unsupported},
		{"admission policies are enforced", "apply config/default again, or with OLM: kubectl apply --server-side -k config/admission-olm",
			"docs/security.md#admission-policies", unprotected},
		{"localTraffic fits the nodes' Pod CIDRs", "set spec.localTraffic of the ProxyConfig as the CNI plugin assigns addresses",
			"docs/cni.md#what-to-set", localTraffic},
		{"node ports have an address on each node", "add Primary, or a CIDR with an address of the node, to spec.nodePort.addresses of the ProxyConfig",
			"docs/semantics.md#sources-of-node-ports", nodePorts},
		{"kube-proxy's DaemonSet can be changed", "without rights: kubectl apply --server-side -k config/takeover; else what the message says",
			"docs/semantics.md#taking-over-from-kube-proxy", handover},
	}},
	{"Rollouts", read, []one{
		{"no rollout has failed or is blocked", "mend what the message says; then kubectl fairlead rollout retry CONFIG, or change the ProxyConfig",
			"docs/troubleshooting.md#a-rollout-is-blocked-or-rolledback", failedRollouts},
		{"no rollout waits for a person", "kubectl fairlead rollout resume CONFIG, or rollout approve CONFIG STAGE",
			"docs/kubectl.md#rollouts", waitingRollouts},
	}},
	{"Kernels", kernels, []one{
		{"you may look into the kernels", "kubectl apply --server-side -k config/inspector, and bind the Role fairlead-inspector-role to you",
			"docs/kubectl.md#rights", notInspected},
		{"kernels have what their agents have programmed", "end what changes the rules, see kubectl fairlead drift: the agent restores them, and says in its log why it cannot",
			"docs/kubectl.md#what-a-nodes-kernel-has", drifts},
		{"connection tracking has room", "raise spec.conntrack.min or maxPerCore of the ProxyConfig, or shorten its timeouts",
			"docs/runbooks/FairleadConntrackNearlyFull.md", conntrackFull},
	}},
}
