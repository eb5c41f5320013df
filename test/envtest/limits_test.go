// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// limits are what the apiserver checks of each field, and what it sets where the field is
// absent: the range of a number, the length of a text, the number of items, the allowed values,
// "/" and a pattern, "=" and the default, "!" and the fields that must be set. Fields without
// any are left out, and conditions, which are those of Kubernetes.
type limits map[string]string

const (
	timeout  = "0..2678400"
	phases   = "Pending|Blocked|Updating|Verifying|Soaking|AwaitingApproval|Paused|RollingBack|RolledBack|Succeeded|Superseded"
	modes    = "Auto|IPVS|NFTables|IPTables|Userspace"
	labelKey = `/^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`
	value    = `..63 /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
)

// options are the limits of what a ProxyConfig and a NodeRuleSet both have.
var options = limits{
	"conntrack.maxPerCore": "0..1048576 =32768", "conntrack.min": "0..16777216 =131072",
	"conntrack.tcpEstablishedTimeoutSeconds": timeout + " =86400", "conntrack.tcpCloseWaitTimeoutSeconds": timeout + " =3600",
	"conntrack.udpTimeoutSeconds": timeout, "conntrack.udpStreamTimeoutSeconds": timeout,
	"externalIPs.policy": `Allow|Deny ="Deny"`, "externalIPs.allowedCIDRs": "..64 set", "externalIPs.allowedCIDRs[]": "..43",
	"fallbackModes[]":     modes,
	"ipvs.scheduler":      `rr|wrr|lc|wlc|lblc|lblcr|sh|dh|sed|nq|mh|fo|ovf ="rr"`,
	"ipvs.schedulerFlags": "..2 set", "ipvs.schedulerFlags[]": "sh-port|sh-fallback|mh-port|mh-fallback",
	"ipvs.strictARP": "=false", "ipvs.excludeCIDRs": "..64 set", "ipvs.excludeCIDRs[]": "..43",
	"ipvs.tcpTimeoutSeconds": timeout, "ipvs.tcpFinTimeoutSeconds": timeout, "ipvs.udpTimeoutSeconds": timeout,
	"ipvs.drainTimeoutSeconds": "0..604800 =900", "ipvs.readBackSeconds": "1..3600 =10",
	"localTraffic.detect":       `NodeCIDR|ClusterCIDR|BridgeInterface|InterfaceNamePrefix ="NodeCIDR"`,
	"localTraffic.clusterCIDRs": "..16 set", "localTraffic.clusterCIDRs[]": "..43", "localTraffic.interface": `..15 /^[^/\s]*$`,
	"massRemoval.maxPercent": "1..100 =50", "massRemoval.minEndpoints": "1..1000000 =100", "massRemoval.windowSeconds": "1..3600 =10",
	"masquerade.all":     "=false",
	"nodePort.addresses": `1..32 set =["Primary"]`, "nodePort.addresses[]": "1..43", "nodePort.sourceRanges": "..64 set", "nodePort.sourceRanges[]": "..43",
	"sessionAffinity.policy": `FromService|ClientIP ="FromService"`, "sessionAffinity.timeoutSeconds": "1..86400 =10800",
}

// fields are the limits of each kind besides options, by the path of the field.
var fields = map[string]limits{
	"NodeHeartbeat": {"": "!spec", "spec": "!renewTime"},
	"ProxyConfig": {
		"":               "!spec",
		"spec.conntrack": "={}", "spec.externalIPs": "={}", "spec.masquerade": "={}", "spec.massRemoval": "={}", "spec.nodePort": "={}", "spec.sessionAffinity": "={}",
		"spec.localTraffic":   `={"detect":"NodeCIDR"}`,
		"spec.deletionPolicy": `Keep|Cleanup ="Keep"`, "spec.fallbackModes": "..3 set", "spec.mode": modes + ` ="Auto"`, "spec.priority": "-1000000..1000000 =0",
		"spec.kubeProxy": "!takeOver", "spec.kubeProxy.daemonSet": `..317 ="kube-system/kube-proxy"`,
		"spec.rollout": "={}", "spec.rollout.strategy": `AllAtOnce|Staged ="Staged"`, "spec.rollout.onFailure": `Rollback|Pause ="Rollback"`,
		"spec.rollout.nodeDeadlineSeconds": "1..3600 =60", "spec.rollout.progressDeadlineSeconds": "1..86400 =600",
		"spec.rollout.checks": "..8 map by name", "spec.rollout.checks[]": "!name,port,service", "spec.rollout.checks[].name": "1..63",
		"spec.rollout.checks[].service": "..127", "spec.rollout.checks[].port": "1..65535", "spec.rollout.checks[].failureLimit": "0..1000",
		"spec.rollout.stages": "..8 map by name", "spec.rollout.stages[]": "!name", "spec.rollout.stages[].name": "1..63",
		"spec.rollout.stages[].soakSeconds": "0..86400 =60", "spec.rollout.stages[].approval": `None|Required ="None"`,
		"spec.rollout.stages[].nodeSelector.matchExpressions":            "..32 atomic",
		"spec.rollout.stages[].nodeSelector.matchExpressions[]":          "!key,operator",
		"spec.rollout.stages[].nodeSelector.matchExpressions[].key":      "..317 " + labelKey,
		"spec.rollout.stages[].nodeSelector.matchExpressions[].operator": "In|NotIn|Exists|DoesNotExist",
		"spec.rollout.stages[].nodeSelector.matchExpressions[].values":   "..64 set",
		"spec.rollout.stages[].nodeSelector.matchExpressions[].values[]": value,
		"spec.rollout.stages[].nodeSelector.matchLabels":                 "..32",
		"spec.rollout.stages[].nodeSelector.matchLabels{}":               value,
		"status.rollout": "!name", "status.rollout.name": "..253", "status.rollout.phase": phases, "status.rollout.stage": "..63",
		"spec.revisionHistoryLimit": "0..100 =10", "status.stableRevision": "..253", "status.targetRevision": "..253",
		"spec.nodeSelector.matchExpressions": "..32 atomic", "spec.nodeSelector.matchExpressions[]": "!key,operator",
		"spec.nodeSelector.matchExpressions[].key":      "..317 " + labelKey,
		"spec.nodeSelector.matchExpressions[].operator": "In|NotIn|Exists|DoesNotExist",
		"spec.nodeSelector.matchExpressions[].values":   "..64 set", "spec.nodeSelector.matchExpressions[].values[]": value,
		"spec.nodeSelector.matchLabels": "..32", "spec.nodeSelector.matchLabels{}": value,
		"status.failingNodes": "..10 map by name", "status.failingNodes[]": "!name", "status.failingNodes[].name": "..253",
		"status.failingNodes[].message": "..256", "status.failingNodes[].reason": "..1024",
		"status.nodes":         "!failing,programmed,selected",
		"status.notReadyNodes": "..10 map by name", "status.notReadyNodes[]": "!name,since", "status.notReadyNodes[].name": "..253",
	},
	"NodeRuleSet": {
		"": "!spec", "spec": "atomic !mode,node,policy",
		"spec.deletionPolicy": "Keep|Cleanup", "spec.fallbackModes": "..3 atomic", "spec.kubeProxy": "TakeOver|GiveBack", "spec.mode": modes,
		"spec.node.addresses": "..256 atomic", "spec.node.addresses[]": "..39", "spec.node.podCIDRs": "..16 atomic", "spec.node.podCIDRs[]": "..43",
		"spec.node.zone": "..63", "spec.policy": "!generation,name", "spec.policy.name": "1..253",
		"spec.revision": "..253", "status.appliedRevision": "..253", "spec.nodeDeadlineSeconds": "1..3600",
		"spec.checks": "..8 map by name", "spec.checks[]": "!name,port,service", "spec.checks[].name": "1..63",
		"spec.checks[].service": "..127", "spec.checks[].port": "1..65535", "spec.checks[].failureLimit": "0..1000",
		"status.revision": "!phase", "status.revision.name": "..253", "status.revision.lastError": "..512",
		"status.revision.phase": "Pending|Preparing|Programmed|Verified|Failed|Reverted",
		"spec.serviceCIDRs":     "..64 atomic", "spec.serviceCIDRs[]": "..43",
		"status.capabilities": "..16 map by mode", "status.capabilities[]": "!mode,supported", "status.capabilities[].message": "..256",
		"status.capabilities[].mode": modes, "status.capabilities[].schedulers": "..32 set", "status.capabilities[].schedulers[]": "..16",
		"status.capabilities[].variant": "..64", "status.held": "!endpoints,slices",
		"status.kubeProxy": "!running", "status.kubeProxy.leftovers": "..8 atomic", "status.kubeProxy.leftovers[]": "..64",
		"status.kubeProxy.message": "..256", "status.kubeProxy.mode": "nftables|iptables|ipvs",
		"status.limitations": "..16 map by reason", "status.limitations[]": "!message,reason", "status.limitations[].message": "..512",
		"status.limitations[].reason": "1..64", "status.limitations[].services": "..10 atomic", "status.limitations[].services[]": "..128",
		"status.mode": modes, "status.policy": "!generation,name", "status.policy.name": "1..253",
		"status.programmed": "!endpoints,frontends,services,slices", "status.repairs": "!count", "status.rulesDigest": "..16",
	},
	"ProxyRollout": {
		"spec": "={}", "spec.state": `Run|Pause|Abort|Retry|Promote ="Run"`, "spec.approvedStages": "..16 set", "spec.approvedStages[]": "..63",
		"status.config": "..253", "status.phase": phases, "status.stage": "..63", "status.verdict": "Failed|Aborted|Succeeded",
		"status.fromRevision": "..253", "status.toRevision": "..253",
		"status.stages": "..9 map by name", "status.stages[]": "!failed,name,total,updated,verified", "status.stages[].name": "..63",
		"status.failedNodes": "..10 map by name", "status.failedNodes[]": "!name", "status.failedNodes[].name": "..253",
		"status.failedNodes[].message": "..256", "status.failedNodes[].reason": "..1024",
		"status.skippedNodes": "..10 set", "status.skippedNodes[]": "..253", "status.laggingNodes": "..10 set", "status.laggingNodes[]": "..253",
	},
	"ServiceRuleSlice": {
		"": "!spec", "spec": "atomic !addressFamily,digest,parts,serviceName,serviceNamespace",
		"spec.addressFamily": "IPv4|IPv6", "spec.affinityTimeoutSeconds": "0..86400", "spec.clusterIP": "..39", "spec.digest": "..16",
		"spec.endpoints": "..4000 atomic", "spec.endpoints[]": "!address,targetPorts", "spec.endpoints[].address": "2..39",
		"spec.endpoints[].forNodes": "..16 atomic", "spec.endpoints[].forNodes[]": "..253", "spec.endpoints[].forZones": "..16 atomic",
		"spec.endpoints[].forZones[]": "..63", "spec.endpoints[].nodeName": "..253",
		"spec.endpoints[].state": "Ready|Terminating|TerminatingLocal|Draining", "spec.endpoints[].targetPorts": "..10000 atomic",
		"spec.externalIPs": "..1024 atomic", "spec.externalIPs[]": "..39", "spec.externalTrafficPolicy": `Cluster|Local ="Cluster"`,
		"spec.healthCheckNodePort": "0..65535", "spec.internalTrafficPolicy": `Cluster|Local ="Cluster"`,
		"spec.loadBalancerIPs": "..1024 atomic", "spec.loadBalancerIPs[]": "..39",
		"spec.loadBalancerSources.allowed": "..1000 atomic", "spec.loadBalancerSources.allowed[]": "..43",
		"spec.part": "0..65535", "spec.parts": "1..65536", "spec.ports": "..10000 atomic", "spec.ports[]": "!port,protocol",
		"spec.ports[].name": "..63", "spec.ports[].nodePort": "0..65535", "spec.ports[].port": "1..65535", "spec.ports[].protocol": "TCP|UDP|SCTP",
		"spec.serviceName": "1..63", "spec.serviceNamespace": "1..63",
	},
}

// TestLimits checks the limits and the default of every field. What rules check is in
// TestProxyConfigValidation and TestRulesValidation.
func TestLimits(t *testing.T) {
	for _, crd := range environment.CRDs {
		kind := crd.Spec.Names.Kind
		t.Run(kind, func(t *testing.T) {
			want := maps.Clone(fields[kind])
			if kind == "ProxyConfig" || kind == "NodeRuleSet" {
				for path, limit := range options {
					want["spec."+path] = limit
				}
			}
			got := limits{}
			got.add("", *crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("limits (-want +got):\n%s", diff)
			}
			if crd.Spec.Scope != apiextensionsv1.ClusterScoped {
				t.Errorf("it is %s: a right in one namespace would grant something", crd.Spec.Scope)
			}
			_, hasStatus := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"]
			if sub := crd.Spec.Versions[0].Subresources; hasStatus != (sub != nil && sub.Status != nil) {
				t.Error("who writes the spec can write the status, or the other way round")
			}
		})
	}
}

// add adds the limits of a field and of those in it.
func (l limits) add(path string, s apiextensionsv1.JSONSchemaProps) {
	if text := limitsOf(path, s); text != "" {
		l[path] = text
	}
	for name, p := range s.Properties {
		if path != "" || name == "spec" || name == "status" {
			l.add(strings.TrimPrefix(path+"."+name, "."), p)
		}
	}
	if s.Items != nil && !strings.HasSuffix(path, "conditions") {
		l.add(path+"[]", *s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		l.add(path+"{}", *s.AdditionalProperties.Schema)
	}
}

func limitsOf(path string, s apiextensionsv1.JSONSchemaProps) string {
	if path == "status" || strings.HasSuffix(path, "conditions") {
		return "" // see TestDefaults
	}
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	low, high := "", ""
	switch {
	case s.Minimum != nil || s.Maximum != nil:
		low, high = textOf(s.Minimum), textOf(s.Maximum)
	case s.Type == "string":
		low, high = textOf(s.MinLength), textOf(s.MaxLength)
	default:
		low, high = textOf(s.MinItems), cmp.Or(textOf(s.MaxItems), textOf(s.MaxProperties))
	}
	if low+high != "" {
		add("%s..%s", low, high)
	}
	var values []string
	for _, v := range s.Enum {
		values = append(values, strings.Trim(string(v.Raw), `"`))
	}
	if values != nil {
		add("%s", strings.Join(values, "|"))
	}
	if s.Pattern != "" {
		add("/%s", s.Pattern)
	}
	for _, kind := range []*string{s.XListType, s.XMapType} {
		if kind != nil {
			add("%s", strings.Join(append([]string{*kind}, s.XListMapKeys...), " by "))
		}
	}
	if s.Default != nil {
		add("=%s", s.Default.Raw)
	}
	if s.Required != nil {
		add("!%s", strings.Join(slices.Sorted(slices.Values(s.Required)), ","))
	}
	return strings.Join(out, " ")
}

func textOf[T int64 | float64](n *T) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(int64(*n))
}

// TestEachRuleHasACase checks that what each rule refuses is in a case.
func TestEachRuleHasACase(t *testing.T) {
	refused := map[string][]string{}
	for _, c := range proxyConfigCases {
		refused["ProxyConfig"] = append(refused["ProxyConfig"], c.want)
	}
	for _, c := range rulesCases {
		refused[c.kind] = append(refused[c.kind], c.want)
	}
	seen := 0
	for _, crd := range environment.CRDs {
		kind := crd.Spec.Names.Kind
		var walk func(path string, s apiextensionsv1.JSONSchemaProps)
		walk = func(path string, s apiextensionsv1.JSONSchemaProps) {
			for _, rule := range s.XValidations {
				seen++
				if !slices.ContainsFunc(refused[kind], func(want string) bool { return strings.HasPrefix(rule.Message, want) }) {
					t.Errorf("%s: no case is refused by %s: %s", kind, path, rule.Message)
				}
			}
			for name, p := range s.Properties {
				walk(path+"."+name, p)
			}
			if s.Items != nil {
				walk(path+"[]", *s.Items.Schema)
			}
		}
		walk("", *crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
	}
	if seen == 0 {
		t.Error("there are no rules")
	}
}
