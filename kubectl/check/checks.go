// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package check

// categories are all checks, in the order in which they are shown. With needsAll they are left out where
// the API cannot be read.
var categories = []struct {
	name     string
	needsAll bool
	checks   []one
}{
	{"API", false, []one{
		{"the apiserver serves all kinds of proxy.fairlead.dev/v1alpha1", "apply the CustomResourceDefinitions: kubectl apply --server-side -k config/crd",
			"docs/kubectl.md#is-something-wrong", notServed},
		{"you may read what the plugin reads", "bind the ClusterRoles fairlead-proxyconfig-viewer-role, fairlead-noderuleset-viewer-role, fairlead-serviceruleslice-viewer-role and view to you",
			"docs/kubectl.md#is-something-wrong", denied},
	}},
	{"Controller", true, []one{
		{"a controller is available", "look at kubectl get pods and kubectl logs of the Deployment; another namespace needs -n",
			"docs/troubleshooting.md#no-controller-or-no-agent", noController},
	}},
	{"Agents", true, []one{
		{"each selected node has an agent", "look at kubectl describe of the Pod or of the agents' DaemonSet; do its tolerations fit the node?",
			"docs/troubleshooting.md#no-controller-or-no-agent", noAgent},
		{"agents renew their heartbeats", "look at kubectl logs of the node's agent; does it reach the apiserver, and is the node's clock right?",
			"docs/troubleshooting.md#no-controller-or-no-agent", silent},
	}},
	{"Nodes", true, []one{
		{"nodes are programmed and not degraded", "the message of the condition says what to change",
			"docs/troubleshooting.md#reasons-of-conditions", notWell},
		{"kube-proxy is on no node", "set spec.kubeProxy.takeOver: true in the ProxyConfig; or end kube-proxy, and run kube-proxy --cleanup on the node",
			"docs/semantics.md#taking-over-from-kube-proxy", beside},
	}},
	{"Policies", true, []one{
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
	}},
}
