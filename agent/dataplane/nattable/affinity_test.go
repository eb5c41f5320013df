// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestMalformedAffinity(t *testing.T) {
	for name, shared := range map[string]string{"another family": "[fd00::1]:80/tcp", "another protocol": "10.96.0.1:80/udp"} {
		t.Run(name, func(t *testing.T) {
			d, desired := newSpace(t).dataplane(), several(1, 1)
			stick(&desired, "10.96.0.1:80/tcp", shared, 1)
			if _, err := d.Sync(t.Context(), desired); err == nil || !strings.Contains(err.Error(), "cannot share") {
				t.Error(err)
			}
		})
	}
}

// TestAffinityOperations checks that a changed endpoint costs the same in any
// table: an element in each of two maps, deleted and added. Namespaces share chains.
func TestAffinityOperations(t *testing.T) {
	const key = "10.96.0.1:80/tcp"
	for name, c := range map[string]struct {
		size, chains int
		namespace    func(k model.FrontendKey) string
	}{
		"10":                            {10, 1, func(model.FrontendKey) string { return "" }},
		"1000":                          {1000, 1, func(model.FrontendKey) string { return "app" }},
		"1000, each with its namespace": {1000, affinityGroups, func(k model.FrontendKey) string { return k.String() }},
	} {
		t.Run(name, func(t *testing.T) {
			d, before, after := newSpace(t).dataplane(), several(c.size, 3), several(c.size, 3)
			put(&after, key, clusterIP("10.1.1.1:80", "10.129.0.1:8080", "10.130.0.1:8080"))
			for _, desired := range []model.Desired{before, after} {
				for _, k := range slices.Collect(keys(desired)) {
					stick(&desired, k.String(), "", 10800)
					desired.Frontends[k].Service.Namespace = c.namespace(k)
				}
			}
			mustSync(t, d, before)
			chains := len(d.content[d.layouts[0]].chains)
			if stats := mustApply(t, d, model.Diff(before, after)); stats.Operations != 4 || chains != c.chains {
				t.Errorf("%d operations, want 4; %d chains, want %d", stats.Operations, chains, c.chains)
			}
			if stats := mustSync(t, d, after); stats.Operations != 0 {
				t.Errorf("Sync then: %+v", stats)
			}
		})
	}
}

// A Service's address that another namespace takes over leads to that one's clients.
func TestAffinityMovesToAnotherNamespace(t *testing.T) {
	const key = "10.96.0.1:80/tcp"
	d, before, after := newSpace(t).dataplane(), several(1, 3), several(1, 3)
	for namespace, desired := range map[string]model.Desired{"app": before, "tenant": after} {
		stick(&desired, key, "", 10800)
		desired.Frontends[at(key)].Service.Namespace = namespace
	}
	mustSync(t, d, before)
	mustApply(t, d, model.Diff(before, after))
	if chain := d.content[d.layouts[0]].frontends[at(key)].views[internal].verdict.chain; chain.group != affinityGroup("tenant") || chain.group == affinityGroup("app") {
		t.Errorf("it leads to %s", chain.name())
	}
	if stats := mustSync(t, d, after); stats.Operations != 0 {
		t.Errorf("Sync then: %+v", stats)
	}
}

func TestAffinityChainNames(t *testing.T) {
	for name, want := range map[string]portChain{
		"cluster-3-affinity-10800":      {role: own, masquerade: masqueradeUnlessPod, n: 3, timeout: 10800},
		"cluster-3-affinity-10800-7":    {role: own, masquerade: masqueradeUnlessPod, n: 3, timeout: 10800, group: 7},
		"here-port-2-affinity-60-15":    {role: shared, list: localList, n: 2, timeout: 60, group: 15},
		"cluster-3-affinity-10800-0":    {},
		"cluster-3-affinity-10800-07":   {},
		"cluster-3-affinity-10800-16":   {},
		"cluster-3-affinity-10800-7-1":  {},
		"cluster-3-affinity-10800-none": {},
		"cluster-3-7":                   {},
	} {
		got, ok := parsePortChain(name)
		if ok != (want != portChain{}) || ok && got != want {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}
