// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// rulesCase is a valid and an invalid object for one rule, and the apiserver's message.
type rulesCase struct {
	kind, valid, invalid string
	want                 string
}

var rulesCases = map[string]rulesCase{
	"Service of a check": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {}, checks: [{name: dns, service: kube-system/kube-dns, port: 53}]}`,
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {}, checks: [{name: dns, service: 10.96.0.10, port: 53}]}`,
		"`service` must be a namespace and a name, such as kube-system/kube-dns",
	},
	"part": {
		"ServiceRuleSlice",
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 1, parts: 2, digest: "0"}`,
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 2, parts: 2, digest: "0"}`,
		"`part` must be less than `parts`",
	},
	"family": {
		"ServiceRuleSlice",
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv6, part: 0, parts: 1, digest: "0"}`,
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: ipv6, part: 0, parts: 1, digest: "0"}`,
		`supported values: "IPv4", "IPv6"`,
	},
	"port of the Service": {
		"ServiceRuleSlice",
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 0, parts: 1, digest: "0", ports: [{protocol: SCTP, port: 65535}]}`,
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 0, parts: 1, digest: "0", ports: [{protocol: SCTP, port: 65536}]}`,
		"should be less than or equal to 65535",
	},
	"protocol": {
		"ServiceRuleSlice",
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 0, parts: 1, digest: "0", ports: [{protocol: UDP, port: 53}]}`,
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 0, parts: 1, digest: "0", ports: [{protocol: ICMP, port: 53}]}`,
		`supported values: "TCP", "UDP", "SCTP"`,
	},
	"state of an endpoint": {
		"ServiceRuleSlice",
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 0, parts: 1, digest: "0", endpoints: [{address: 10.0.0.1, targetPorts: [80], state: TerminatingLocal}]}`,
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 0, parts: 1, digest: "0", endpoints: [{address: 10.0.0.1, targetPorts: [80], state: Dead}]}`,
		`supported values: "Ready", "Terminating", "TerminatingLocal"`,
	},
	"traffic policy": {
		"ServiceRuleSlice",
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 0, parts: 1, digest: "0", externalTrafficPolicy: Local}`,
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 0, parts: 1, digest: "0", externalTrafficPolicy: Zone}`,
		`supported values: "Cluster", "Local"`,
	},
	"digest": {
		"ServiceRuleSlice",
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 0, parts: 1, digest: "0123456789abcdef"}`,
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 0, parts: 1}`,
		"spec.digest: Required value",
	},
	"namespace of the Service": {
		"ServiceRuleSlice",
		`spec: {serviceNamespace: default, serviceName: web, addressFamily: IPv4, part: 0, parts: 1, digest: "0"}`,
		`spec: {serviceName: web, addressFamily: IPv4, part: 0, parts: 1, digest: "0"}`,
		"spec.serviceNamespace: Required value",
	},
	"policy": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}}`,
		`spec: {policy: {generation: 1}, mode: NFTables, node: {zone: a}}`,
		"spec.policy.name: Required value",
	},
	"mode of a node": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: Auto, node: {zone: a}}`,
		`spec: {policy: {name: default, generation: 1}, mode: eBPF, node: {zone: a}}`,
		`supported values: "Auto"`,
	},
	"local traffic of a node": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, localTraffic: {detect: NodeCIDR}}`,
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, localTraffic: {detect: ClusterCIDR}}`,
		"`clusterCIDRs` must be set with `detect: ClusterCIDR`",
	},
	"interface of local traffic of a node": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, localTraffic: {detect: BridgeInterface, interface: cni0}}`,
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, localTraffic: {detect: NodeCIDR, interface: cni0}}`,
		"`interface` must be set with `detect: BridgeInterface`",
	},
	"ranges of local traffic of a node": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, localTraffic: {detect: ClusterCIDR, clusterCIDRs: [10.244.0.0/16]}}`,
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, localTraffic: {detect: ClusterCIDR, clusterCIDRs: [10.244.0.0]}}`,
		"each of `clusterCIDRs` must be a CIDR",
	},
	"external IPs of a node": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, externalIPs: {policy: Allow, allowedCIDRs: [198.51.100.0/24]}}`,
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, externalIPs: {policy: Deny, allowedCIDRs: [198.51.100.0/24]}}`,
		"`allowedCIDRs` has no effect with `policy: Deny`",
	},
	"ranges of external IPs of a node": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, externalIPs: {policy: Allow, allowedCIDRs: []}}`,
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, externalIPs: {policy: Allow, allowedCIDRs: [198.51.100.1]}}`,
		"each of `allowedCIDRs` must be a CIDR",
	},
	"node ports of a node": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, nodePort: {addresses: [Localhost]}}`,
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, nodePort: {addresses: [localhost]}}`,
		"each of `addresses` must be Primary, All, Localhost, or a CIDR",
	},
	"sources of node ports of a node": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, nodePort: {sourceRanges: [203.0.113.0/24]}}`,
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, nodePort: {sourceRanges: [203.0.113.0]}}`,
		"each of `sourceRanges` must be a CIDR",
	},
	"flags of the scheduler of a node": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, ipvs: {scheduler: sh, schedulerFlags: [sh-port]}}`,
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, ipvs: {scheduler: sh, schedulerFlags: [mh-port]}}`,
		"`schedulerFlags` must belong to `scheduler`",
	},
	"ranges that a node leaves to others": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, ipvs: {excludeCIDRs: [192.0.2.0/24]}}`,
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}, ipvs: {excludeCIDRs: [192.0.2.0]}}`,
		"each of `excludeCIDRs` must be a CIDR",
	},
	// The properties are required, even of a node without addresses, ranges and zone.
	"facts of a node": {
		"NodeRuleSet",
		`spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {}}`,
		`spec: {policy: {name: default, generation: 1}, mode: NFTables}`,
		"spec.node: Required value",
	},
}

// TestRulesValidation has a valid and an invalid object for every rule of the
// kinds that the controller writes.
func TestRulesValidation(t *testing.T) {
	for name, tc := range rulesCases {
		t.Run(name, func(t *testing.T) {
			valid, invalid := object(t, tc.kind, tc.valid), object(t, tc.kind, tc.invalid)
			create(t, valid)
			err := api.Create(t.Context(), invalid, client.FieldValidation(metav1.FieldValidationStrict))
			wantError(t, err, tc.want)
			if err == nil {
				if err := api.Delete(t.Context(), invalid); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestNodeRuleSetWithoutAgent checks that the conditions are Unknown before an agent
// has reported.
func TestNodeRuleSetWithoutAgent(t *testing.T) {
	obj := object(t, "NodeRuleSet", `spec: {policy: {name: default, generation: 1}, mode: NFTables, node: {zone: a}}`)
	create(t, obj)
	set := &v1alpha1.NodeRuleSet{}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(obj), set); err != nil {
		t.Fatal(err)
	}
	wantPending(t, set.Status.Conditions, v1alpha1.ConditionAccepted, v1alpha1.ConditionProgrammed, v1alpha1.ConditionDegraded)
}
