// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// object reads one object of Fairlead's API group.
func object(t *testing.T, kind, text string) *unstructured.Unstructured {
	t.Helper()
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &obj.Object); err != nil {
		t.Fatal(err)
	}
	if obj.Object == nil {
		obj.Object = map[string]any{}
	}
	obj.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	obj.SetGenerateName("test-")
	return obj
}

// proxyConfigCase is a valid and an invalid spec for one rule, and the apiserver's message.
type proxyConfigCase struct {
	valid, invalid string
	want           string
}

var proxyConfigCases = map[string]proxyConfigCase{
	"fallback to a named mode": {
		`spec: {mode: IPVS, fallbackModes: [NFTables, IPTables]}`,
		`spec: {mode: IPVS, fallbackModes: [Auto]}`,
		"`fallbackModes` must not contain Auto: list the modes to try, e.g. [NFTables, IPTables]",
	},
	"fallback to another mode": {
		`spec: {mode: NFTables, fallbackModes: [IPTables]}`,
		`spec: {mode: NFTables, fallbackModes: [NFTables]}`,
		"`fallbackModes` must not repeat `mode`: remove it from the list",
	},
	"fallback of a named mode": {
		`spec: {mode: Auto, fallbackModes: []}`,
		`spec: {mode: Auto, fallbackModes: [IPTables]}`,
		"`fallbackModes` has no effect with `mode: Auto`",
	},
	"parameters of IPVS": {
		`spec: {mode: NFTables, fallbackModes: [IPVS], ipvs: {scheduler: wlc}}`,
		`spec: {mode: NFTables, ipvs: {scheduler: wlc}}`,
		"`ipvs` has no effect in this mode: remove it, set `mode: IPVS`, or add IPVS to `fallbackModes`",
	},
	"mode": {
		`spec: {mode: Userspace}`,
		`spec: {mode: ipvs}`,
		`supported values: "Auto", "IPVS", "NFTables", "IPTables", "Userspace"`,
	},
	"scheduler": {
		`spec: {mode: IPVS, ipvs: {scheduler: mh}}`,
		`spec: {mode: IPVS, ipvs: {scheduler: best}}`,
		`supported values: "rr", "wrr"`,
	},
	"flags of the scheduler": {
		`spec: {mode: IPVS, ipvs: {scheduler: sh, schedulerFlags: [sh-port, sh-fallback]}}`,
		`spec: {mode: IPVS, ipvs: {scheduler: rr, schedulerFlags: [sh-port]}}`,
		"`schedulerFlags` must belong to `scheduler`",
	},
	"ranges left to others": {
		`spec: {mode: IPVS, ipvs: {excludeCIDRs: [192.0.2.0/24, "2001:db8::/64"]}}`,
		`spec: {mode: IPVS, ipvs: {excludeCIDRs: [192.0.2.0]}}`,
		"each of `excludeCIDRs` must be a CIDR such as 192.0.2.0/24 or 2001:db8::/64",
	},
	"IPVS timeouts": {
		`spec: {mode: IPVS, ipvs: {tcpTimeoutSeconds: 900, udpTimeoutSeconds: 0}}`,
		`spec: {mode: IPVS, ipvs: {tcpTimeoutSeconds: -1}}`,
		"should be greater than or equal to 0",
	},
	"affinity policy": {
		`spec: {sessionAffinity: {policy: ClientIP, timeoutSeconds: 60}}`,
		`spec: {sessionAffinity: {policy: Cookie}}`,
		`supported values: "FromService", "ClientIP"`,
	},
	"affinity timeout": {
		`spec: {sessionAffinity: {timeoutSeconds: 86400}}`,
		`spec: {sessionAffinity: {timeoutSeconds: 86401}}`,
		"should be less than or equal to 86400",
	},
	"addresses of node ports": {
		`spec: {nodePort: {addresses: [Primary, Localhost, 192.0.2.0/24]}}`,
		`spec: {nodePort: {addresses: [primary]}}`,
		"each of `addresses` must be Primary, All, Localhost, or a CIDR such as 192.0.2.0/24",
	},
	"some address of node ports": {
		`spec: {nodePort: {addresses: [All]}}`,
		`spec: {nodePort: {addresses: []}}`,
		"should have at least 1 items",
	},
	"sources of node ports": {
		`spec: {nodePort: {sourceRanges: [203.0.113.0/24, "2001:db8::/64"]}}`,
		`spec: {nodePort: {sourceRanges: [203.0.113.1]}}`,
		"each of `sourceRanges` must be a CIDR such as 203.0.113.0/24 or 2001:db8::/64",
	},
	"ranges of the cluster": {
		`spec: {localTraffic: {detect: ClusterCIDR, clusterCIDRs: [10.244.0.0/16]}}`,
		`spec: {localTraffic: {detect: ClusterCIDR}}`,
		"`clusterCIDRs` must be set with `detect: ClusterCIDR`, and only then",
	},
	"ranges of the cluster only where used": {
		`spec: {localTraffic: {detect: NodeCIDR}}`,
		`spec: {localTraffic: {detect: NodeCIDR, clusterCIDRs: [10.244.0.0/16]}}`,
		"`clusterCIDRs` must be set with `detect: ClusterCIDR`, and only then",
	},
	"ranges of the cluster are ranges": {
		`spec: {localTraffic: {detect: ClusterCIDR, clusterCIDRs: ["fd00::/48"]}}`,
		`spec: {localTraffic: {detect: ClusterCIDR, clusterCIDRs: [pods]}}`,
		"each of `clusterCIDRs` must be a CIDR such as 10.244.0.0/16",
	},
	"interface of local traffic": {
		`spec: {localTraffic: {detect: BridgeInterface, interface: cni0}}`,
		`spec: {localTraffic: {detect: InterfaceNamePrefix}}`,
		"`interface` must be set with `detect: BridgeInterface` (its name) or `detect: InterfaceNamePrefix` (the prefix), and only then",
	},
	"length of an interface's name": {
		`spec: {localTraffic: {detect: InterfaceNamePrefix, interface: fifteen-letters}}`,
		`spec: {localTraffic: {detect: InterfaceNamePrefix, interface: sixteen--letters}}`,
		"may not be more than 15",
	},
	"interface without blanks": {
		`spec: {localTraffic: {detect: BridgeInterface, interface: br.100}}`,
		`spec: {localTraffic: {detect: BridgeInterface, interface: "br 100"}}`,
		"should match '^[^/\\s]*$'",
	},
	"ranges of external IPs": {
		`spec: {externalIPs: {policy: Allow, allowedCIDRs: [198.51.100.0/24, "2001:db8::/64"]}}`,
		`spec: {externalIPs: {policy: Allow, allowedCIDRs: [198.51.100.1]}}`,
		"each of `allowedCIDRs` must be a CIDR such as 198.51.100.0/24 or 2001:db8::/64",
	},
	"ranges of denied external IPs": {
		`spec: {externalIPs: {policy: Deny}}`,
		`spec: {externalIPs: {allowedCIDRs: [198.51.100.0/24]}}`,
		"`allowedCIDRs` has no effect with `policy: Deny`: remove it, or set `policy: Allow`",
	},
	"percentage of a mass removal": {
		`spec: {massRemoval: {maxPercent: 100}}`,
		`spec: {massRemoval: {maxPercent: 101}}`,
		"spec.massRemoval.maxPercent: Invalid value: 101: spec.massRemoval.maxPercent in body should be less than or equal to 100",
	},
	"some percentage of a mass removal": {
		`spec: {massRemoval: {maxPercent: 1}}`,
		`spec: {massRemoval: {maxPercent: 0}}`,
		"spec.massRemoval.maxPercent in body should be greater than or equal to 1",
	},
	"endpoints of a mass removal": {
		`spec: {massRemoval: {minEndpoints: 1}}`,
		`spec: {massRemoval: {minEndpoints: 0}}`,
		"spec.massRemoval.minEndpoints in body should be greater than or equal to 1",
	},
	"time of a mass removal": {
		`spec: {massRemoval: {windowSeconds: 3600}}`,
		`spec: {massRemoval: {windowSeconds: 3601}}`,
		"spec.massRemoval.windowSeconds in body should be less than or equal to 3600",
	},
	"some time of a mass removal": {
		`spec: {massRemoval: {windowSeconds: 1}}`,
		`spec: {massRemoval: {windowSeconds: 0}}`,
		"spec.massRemoval.windowSeconds in body should be greater than or equal to 1",
	},
	"deletion policy": {
		`spec: {deletionPolicy: Cleanup}`,
		`spec: {deletionPolicy: Delete}`,
		`Unsupported value: "Delete": supported values: "Keep", "Cleanup"`,
	},
	"priority": {
		`spec: {priority: -1000000}`,
		`spec: {priority: 1000001}`,
		"should be less than or equal to 1000000",
	},
	"connection tracking": {
		`spec: {conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeoutSeconds: 0, tcpCloseWaitTimeoutSeconds: 0, tcpBeLiberal: true}}`,
		`spec: {conntrack: {min: -1}}`,
		"should be greater than or equal to 0",
	},
	"operator of the nodeSelector": {
		`spec: {nodeSelector: {matchExpressions: [{key: pool, operator: NotIn, values: [gpu]}]}}`,
		`spec: {nodeSelector: {matchExpressions: [{key: pool, operator: Near, values: [gpu]}]}}`,
		`supported values: "In", "NotIn", "Exists", "DoesNotExist"`,
	},
	"values of the nodeSelector": {
		`spec: {nodeSelector: {matchExpressions: [{key: pool, operator: Exists}]}}`,
		`spec: {nodeSelector: {matchExpressions: [{key: pool, operator: In}]}}`,
		"`values` must be set with `operator` In or NotIn, and left out with Exists and DoesNotExist",
	},
	"no values in the nodeSelector": {
		`spec: {nodeSelector: {matchExpressions: [{key: pool, operator: DoesNotExist, values: []}]}}`,
		`spec: {nodeSelector: {matchExpressions: [{key: pool, operator: DoesNotExist, values: [gpu]}]}}`,
		"`values` must be set with `operator` In or NotIn, and left out with Exists and DoesNotExist",
	},
	"key in the nodeSelector": {
		`spec: {nodeSelector: {matchLabels: {topology.kubernetes.io/zone: a}}}`,
		`spec: {nodeSelector: {matchLabels: {"the zone": a}}}`,
		"each of `matchLabels` must have the key of a label, such as topology.kubernetes.io/zone",
	},
	"value in the nodeSelector": {
		`spec: {nodeSelector: {matchLabels: {zone: ""}}}`,
		`spec: {nodeSelector: {matchLabels: {zone: "a b"}}}`,
		"spec.nodeSelector.matchLabels.zone: Invalid value",
	},
	"each fallback is a named mode": {
		`spec: {mode: IPVS, fallbackModes: [NFTables]}`,
		`spec: {mode: IPVS, fallbackModes: [NFTables, Auto]}`,
		"`fallbackModes` must not contain Auto",
	},
	"each fallback is another mode": {
		`spec: {mode: IPTables, fallbackModes: [Userspace, NFTables]}`,
		`spec: {mode: IPTables, fallbackModes: [Userspace, IPTables]}`,
		"`fallbackModes` must not repeat `mode`",
	},
	"a fallback once": {
		`spec: {mode: IPVS, fallbackModes: [IPTables, NFTables, Userspace]}`,
		`spec: {mode: IPVS, fallbackModes: [IPTables, IPTables]}`,
		"Duplicate value",
	},
	"parameters of IPVS where it may be chosen": {
		`spec: {mode: Auto, ipvs: {scheduler: wlc}}`,
		`spec: {mode: IPTables, fallbackModes: [NFTables], ipvs: {scheduler: wlc}}`,
		"`ipvs` has no effect in this mode",
	},
	"flags of another scheduler": {
		`spec: {mode: IPVS, ipvs: {scheduler: mh, schedulerFlags: [mh-port, mh-fallback]}}`,
		`spec: {mode: IPVS, ipvs: {scheduler: mh, schedulerFlags: [mh-port, sh-port]}}`,
		"`schedulerFlags` must belong to `scheduler`",
	},
	"flags of the default scheduler": {
		`spec: {mode: IPVS, ipvs: {schedulerFlags: []}}`,
		`spec: {mode: IPVS, ipvs: {schedulerFlags: [sh-port]}}`,
		"`schedulerFlags` must belong to `scheduler`",
	},
	"each range left to others": {
		`spec: {mode: IPVS, ipvs: {excludeCIDRs: []}}`,
		`spec: {mode: IPVS, ipvs: {excludeCIDRs: [192.0.2.0/24, 2001:db8::/129]}}`,
		"each of `excludeCIDRs` must be a CIDR",
	},
	"each address of node ports": {
		`spec: {nodePort: {addresses: [All, "2001:db8::/64"]}}`,
		`spec: {nodePort: {addresses: [Primary, 192.0.2.1]}}`,
		"each of `addresses` must be Primary, All, Localhost, or a CIDR",
	},
	"each source of node ports": {
		`spec: {nodePort: {sourceRanges: []}}`,
		`spec: {nodePort: {sourceRanges: [203.0.113.0/24, pods]}}`,
		"each of `sourceRanges` must be a CIDR",
	},
	"each range of the cluster": {
		`spec: {localTraffic: {detect: ClusterCIDR, clusterCIDRs: [10.244.0.0/16, "fd00::/48"]}}`,
		`spec: {localTraffic: {detect: ClusterCIDR, clusterCIDRs: [10.244.0.0/16, 10.245.0.0]}}`,
		"each of `clusterCIDRs` must be a CIDR",
	},
	"some range of the cluster": {
		`spec: {localTraffic: {detect: NodeCIDR, clusterCIDRs: []}}`,
		`spec: {localTraffic: {detect: ClusterCIDR, clusterCIDRs: []}}`,
		"`clusterCIDRs` must be set with `detect: ClusterCIDR`, and only then",
	},
	"interface of a bridge": {
		`spec: {localTraffic: {detect: InterfaceNamePrefix, interface: cali}}`,
		`spec: {localTraffic: {detect: BridgeInterface, interface: ""}}`,
		"`interface` must be set with `detect: BridgeInterface`",
	},
	"interface only where used": {
		`spec: {localTraffic: {detect: NodeCIDR, interface: ""}}`,
		`spec: {localTraffic: {detect: ClusterCIDR, clusterCIDRs: [10.244.0.0/16], interface: cni0}}`,
		"`interface` must be set with `detect: BridgeInterface`",
	},
	"each range of external IPs": {
		`spec: {externalIPs: {policy: Allow, allowedCIDRs: []}}`,
		`spec: {externalIPs: {policy: Allow, allowedCIDRs: [198.51.100.0/24, 198.51.100.0/33]}}`,
		"each of `allowedCIDRs` must be a CIDR",
	},
	"no ranges of denied external IPs": {
		`spec: {externalIPs: {policy: Deny, allowedCIDRs: []}}`,
		`spec: {externalIPs: {policy: Deny, allowedCIDRs: [198.51.100.0/24]}}`,
		"`allowedCIDRs` has no effect with `policy: Deny`",
	},
	"values of NotIn in the nodeSelector": {
		`spec: {nodeSelector: {matchExpressions: [{key: pool, operator: In, values: [gpu, cpu]}]}}`,
		`spec: {nodeSelector: {matchExpressions: [{key: pool, operator: Exists}, {key: pool, operator: NotIn, values: []}]}}`,
		"`values` must be set with `operator` In or NotIn",
	},
	"no values of Exists in the nodeSelector": {
		`spec: {nodeSelector: {matchExpressions: [{key: a.b/pool, operator: Exists}]}}`,
		`spec: {nodeSelector: {matchExpressions: [{key: pool, operator: Exists, values: [gpu]}]}}`,
		"`values` must be set with `operator` In or NotIn",
	},
	"key of a requirement in the nodeSelector": {
		`spec: {nodeSelector: {matchExpressions: [{key: topology.kubernetes.io/zone, operator: Exists}]}}`,
		`spec: {nodeSelector: {matchExpressions: [{key: "the zone", operator: Exists}]}}`,
		"spec.nodeSelector.matchExpressions[0].key: Invalid value",
	},
	"each key in the nodeSelector": {
		`spec: {nodeSelector: {matchLabels: {a: b, c.d/e: f}}}`,
		`spec: {nodeSelector: {matchLabels: {a: b, "-c": d}}}`,
		"each of `matchLabels` must have the key of a label",
	},
	"unknown fields": {
		`spec: {nodeSelector: {matchLabels: {zone: a}}}`,
		`spec: {scheduler: rr}`,
		`unknown field "spec.scheduler"`,
	},
	"spec is required": {
		`spec: {}`,
		`{}`,
		"spec: Required value",
	},
}

// TestProxyConfigValidation has a valid and an invalid object for every rule.
func TestProxyConfigValidation(t *testing.T) {
	for name, tc := range proxyConfigCases {
		t.Run(name, func(t *testing.T) {
			create(t, object(t, "ProxyConfig", tc.valid))
			obj := object(t, "ProxyConfig", tc.invalid)
			err := api.Create(t.Context(), obj, client.FieldValidation(metav1.FieldValidationStrict))
			wantError(t, err, tc.want)
			if err == nil {
				if err := api.Delete(t.Context(), obj); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestDefaults checks the defaults of an empty policy, and that its conditions are
// Unknown before a controller has processed it.
func TestDefaults(t *testing.T) {
	empty := object(t, "ProxyConfig", `spec: {}`)
	create(t, empty)
	config := &v1alpha1.ProxyConfig{}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(empty), config); err != nil {
		t.Fatal(err)
	}
	falsehood, zero := false, int32(0)
	want := v1alpha1.ProxyConfigSpec{
		Priority:        &zero,
		Mode:            v1alpha1.ModeAuto,
		SessionAffinity: v1alpha1.SessionAffinityOptions{Policy: v1alpha1.AffinityFromService, TimeoutSeconds: 10800},
		NodePort:        v1alpha1.NodePortOptions{Addresses: []string{v1alpha1.NodePortPrimary}},
		ExternalIPs:     v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPDeny},
		Masquerade:      v1alpha1.MasqueradeOptions{All: &falsehood},
		LocalTraffic:    v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR},
		Conntrack: &v1alpha1.ConntrackOptions{MaxPerCore: ptr.To[int32](32768), Min: ptr.To[int32](131072),
			TCPEstablishedTimeoutSeconds: ptr.To[int32](86400), TCPCloseWaitTimeoutSeconds: ptr.To[int32](3600)},
		MassRemoval:    v1alpha1.MassRemovalOptions{MaxPercent: 50, MinEndpoints: 100, WindowSeconds: 10},
		DeletionPolicy: v1alpha1.DeletionKeep, RevisionHistoryLimit: ptr.To[int32](10),
		Rollout: v1alpha1.RolloutOptions{Strategy: v1alpha1.Staged, NodeDeadlineSeconds: ptr.To[int32](60), ProgressDeadlineSeconds: ptr.To[int32](600), OnFailure: v1alpha1.OnFailureRollback},
	}
	if diff := cmp.Diff(want, config.Spec); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	wantPending(t, config.Status.Conditions, v1alpha1.ConditionAccepted, v1alpha1.ConditionAvailable,
		v1alpha1.ConditionProgressing, v1alpha1.ConditionDegraded, v1alpha1.ConditionProtected)
}

// TestDefaultsOfIPVS checks the defaults of a policy that sets a parameter of IPVS.
func TestDefaultsOfIPVS(t *testing.T) {
	obj := object(t, "ProxyConfig", `spec: {mode: IPVS, ipvs: {udpTimeoutSeconds: 60}}`)
	create(t, obj)
	config := &v1alpha1.ProxyConfig{}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(obj), config); err != nil {
		t.Fatal(err)
	}
	want := &v1alpha1.IPVSOptions{Scheduler: "rr", StrictARP: ptr.To(false), UDPTimeoutSeconds: 60,
		DrainTimeoutSeconds: ptr.To[int32](900), ReadBackSeconds: 10}
	if diff := cmp.Diff(want, config.Spec.IPVS); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func wantPending(t *testing.T, conditions []metav1.Condition, types ...string) {
	t.Helper()
	if len(conditions) != len(types) {
		t.Errorf("got %d conditions, want %d: %v", len(conditions), len(types), conditions)
	}
	for _, kind := range types {
		c := apimeta.FindStatusCondition(conditions, kind)
		if c == nil || c.Status != metav1.ConditionUnknown || c.Reason != v1alpha1.ReasonPending {
			t.Errorf("condition %s: got %v, want Unknown, Pending", kind, c)
		}
	}
}

func TestSamplesAreValid(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "samples", "proxyconfig*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("samples: %v, error %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			obj := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(text, &obj.Object); err != nil {
				t.Fatal(err)
			}
			create(t, obj)
		})
	}
}
