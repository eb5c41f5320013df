// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net/netip"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestUnusedClusterIPs sends packets into a range of Services.
func TestUnusedClusterIPs(t *testing.T) {
	o := newTopology(t)
	o.outside.serve("outside") // where the node's default route goes
	o.node.serve("node")
	for _, f := range families {
		d, v := o.node.dataplane(), f.services()
		unused, own := map[string]string{"IPv4": "10.96.0.9", "IPv6": "fd00:96::9"}[f.name], map[string]string{"IPv4": "10.96.0.77", "IPv6": "fd00:96::77"}[f.name]
		o.node.Run("ip", f.flag, "addr", "add", own+"/"+f.bits(), "dev", "lo")
		o.outside.Run("ip", f.flag, "addr", "add", unused+"/"+f.bits(), "dev", "eth0", "nodad")
		desired := bothFamilies()
		mustSync(t, d, desired)
		check := func(when string, want map[string]string) {
			t.Helper()
			for addr, want := range want {
				for who, client := range map[string]*space{"pod": o.client, "host": o.node} {
					timeout := patience
					if want == "no answer" {
						timeout = impatience
					}
					got := client.ask("tcp", join(addr, "8080"), timeout)
					if got != want && (len(got) < len(want) || got[:len(want)] != want) {
						t.Errorf("%s %s, %s to %s: got %q, want %q", f.name, when, who, addr, got, want)
					}
				}
			}
		}
		check("without a range", map[string]string{unused: "outside sees", own: "node sees", v.cluster: "refused"})

		guarded := desired
		guarded.Node.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/108")}
		stats := mustApply(t, d, model.Diff(desired, guarded))
		if want := 2 * 2; stats.Operations != want { // in each family, the rules of a chain are replaced by one
			t.Errorf("%d operations, want %d", stats.Operations, want)
		}
		check("with a range", map[string]string{unused: "no answer", own: "node sees", v.cluster: "refused"})

		used := bothFamilies()
		used.Node.ServiceCIDRs = guarded.Node.ServiceCIDRs
		put(&used, join(unused, "8080")+"/tcp", clusterIP(join(f.podA, "8080")))
		used.ClusterIPs[netip.MustParseAddr(unused)] = struct{}{}
		mustApply(t, d, model.Diff(guarded, used))
		check("with a Service there", map[string]string{unused: "pod-a sees", own: "node sees"})

		mustApply(t, d, model.Diff(used, desired))
		check("without a range again", map[string]string{unused: "outside sees"})
	}
}
