// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollout decides how a changed policy reaches the nodes: which revision of it a
// ProxyConfig asks for, which ones are kept, and which one all nodes have programmed.
package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const (
	// hashLength is the length of the hash in a revision's name.
	hashLength = 16

	// maxName is the length of the longest name of an object.
	maxName = 253
)

// defaults are those of the API (+kubebuilder:default), of what is rolled out.
var defaults = jsonOf(v1alpha1.ProxyConfigSpec{
	Mode: v1alpha1.ModeAuto,
	IPVS: &v1alpha1.IPVSOptions{Scheduler: "rr", StrictARP: new(false), DrainTimeoutSeconds: new(int32(900)), ReadBackSeconds: 10},
	SessionAffinity: v1alpha1.SessionAffinityOptions{
		Policy: v1alpha1.AffinityFromService, TimeoutSeconds: 10800,
	},
	NodePort:     v1alpha1.NodePortOptions{Addresses: []string{v1alpha1.NodePortPrimary}},
	ExternalIPs:  v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPDeny},
	Masquerade:   v1alpha1.MasqueradeOptions{All: new(false)},
	LocalTraffic: v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR},
	Conntrack: &v1alpha1.ConntrackOptions{
		MaxPerCore: new(int32(32768)), Min: new(int32(131072)),
		TCPEstablishedTimeoutSeconds: new(int32(86400)), TCPCloseWaitTimeoutSeconds: new(int32(3600)),
	},
})

// Revision is what a ProxyConfig has its nodes program, under a name.
type Revision struct {
	// Name is that of the ProxyConfig and a hash of the policy. Fields that are absent and
	// fields that have their default are the same, so a new version of the API with another
	// field renames no revision.
	Name string

	// Data is a ProxyConfig in JSON, of which only the policy is set, with sorted fields.
	Data []byte
}

// RevisionOf returns the revision that a ProxyConfig asks for.
func RevisionOf(config *v1alpha1.ProxyConfig) Revision {
	policy := jsonOf(policyOf(config.Spec))
	data := encode(map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": "ProxyConfig", "spec": policy})
	return Revision{Name: nameOf(config.Name, policy), Data: data}
}

// policyOf returns what is rolled out: what changes the rules in a node's kernel. The rest says
// which nodes the policy is for, or is a limit for the agents, which takes effect at once.
func policyOf(spec v1alpha1.ProxyConfigSpec) v1alpha1.ProxyConfigSpec {
	spec.NodeSelector, spec.Priority = nil, nil
	spec.MassRemoval, spec.DeletionPolicy = v1alpha1.MassRemovalOptions{}, ""
	spec.RevisionHistoryLimit, spec.Rollout = nil, v1alpha1.RolloutOptions{}
	spec.KubeProxy = withDaemonSet(spec.KubeProxy, nil)
	return spec
}

// withDaemonSet returns whether to take over from kube-proxy, with the DaemonSet of another
// policy: no node knows it.
func withDaemonSet(o, of *v1alpha1.KubeProxyOptions) *v1alpha1.KubeProxyOptions {
	if o == nil {
		return nil
	}
	out := &v1alpha1.KubeProxyOptions{TakeOver: o.TakeOver}
	if of != nil {
		out.DaemonSet = of.DaemonSet
	}
	return out
}

// nameOf returns the name of a policy. The name of the ProxyConfig is in the hash, too, because
// a long one is cut.
func nameOf(config string, policy map[string]any) string {
	hash := sha256.Sum256(append([]byte(config+"\x00"), encode(without(policy, defaults))...))
	prefix := strings.TrimRight(config[:min(len(config), maxName-1-hashLength)], "-.")
	return prefix + "-" + hex.EncodeToString(hash[:])[:hashLength]
}

// without returns the fields that differ from the defaults.
func without(fields, defaults map[string]any) map[string]any {
	out := map[string]any{}
	for name, value := range fields {
		object, isObject := value.(map[string]any)
		if isObject {
			of, _ := defaults[name].(map[string]any)
			if object = without(object, of); len(object) > 0 {
				out[name] = object
			}
		} else if !reflect.DeepEqual(value, defaults[name]) {
			out[name] = value
		}
	}
	return out
}

// jsonOf returns the fields of a spec as they are in JSON.
func jsonOf(spec v1alpha1.ProxyConfigSpec) map[string]any {
	out := map[string]any{}
	if err := json.Unmarshal(encode(spec), &out); err != nil {
		panic(fmt.Sprintf("decode what was just encoded: %v", err))
	}
	return out
}

// encode encodes a value that can be: an API type, or what JSON was decoded to.
func encode(value any) []byte {
	out, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", value, err))
	}
	return out
}
