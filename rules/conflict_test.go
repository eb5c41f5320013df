// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// TestConflictsAgreeWithTable finds in both directions what two Services claim, and the winner
// that a Table takes.
func TestConflictsAgreeWithTable(t *testing.T) {
	a := func() *serviceBuilder { return svc("a").port("http", 80) }
	b := func() *serviceBuilder { return svc("b").ip("172.30.0.42").port("http", 80) }
	for name, c := range map[string]struct {
		a, b *serviceBuilder
		want []string
	}{
		"nothing in common":                   {a(), b(), nil},
		"external IP is the other's":          {a(), b().externalIPs("172.30.0.41"), []string{"172.30.0.41:80/tcp: a's ClusterIP before b's ExternalIP"}},
		"and the winner is not the first":     {a().externalIPs("172.30.0.42"), b(), []string{"172.30.0.42:80/tcp: b's ClusterIP before a's ExternalIP"}},
		"other port":                          {a(), svc("b").ip("172.30.0.42").port("http", 81).externalIPs("172.30.0.41"), nil},
		"other protocol":                      {a(), svc("b").ip("172.30.0.42").port("http", 80).protocol(corev1.ProtocolUDP).externalIPs("172.30.0.41"), nil},
		"balancer's before external":          {a().externalIPs("1.2.3.4"), b().loadBalancer("1.2.3.4"), []string{"1.2.3.4:80/tcp: b's LoadBalancer before a's ExternalIP"}},
		"the same kind: the first by name":    {a().externalIPs("1.2.3.4"), b().externalIPs("1.2.3.4"), []string{"1.2.3.4:80/tcp: a's ExternalIP before b's ExternalIP"}},
		"node ports are the apiserver's care": {a().nodePort(30001), b().nodePort(30002), nil},
		"several": {a().port("s", 443).externalIPs("1.2.3.4"), b().port("s", 443).externalIPs("1.2.3.4"), []string{
			"1.2.3.4:80/tcp: a's ExternalIP before b's ExternalIP", "1.2.3.4:443/tcp: a's ExternalIP before b's ExternalIP"}},
	} {
		t.Run(name, func(t *testing.T) {
			idA, idB := ServiceID{"default", "a", corev1.IPv4Protocol}, ServiceID{"default", "b", corev1.IPv4Protocol}
			specA, specB := specs(Compile(input(c.a)), corev1.IPv4Protocol)[0], specs(Compile(input(c.b)), corev1.IPv4Protocol)[0]
			conflicts := Conflicts(idA, idB, specA, specB)
			if diff := cmp.Diff(conflicts, Conflicts(idB, idA, specB, specA), byValue); diff != "" {
				t.Errorf("the other way round:\n%s", diff)
			}
			table := tableOf(t, thisNode().Node, input(c.a), input(c.b))
			var got []string
			for _, f := range conflicts {
				got = append(got, fmt.Sprintf("%s: %s's %s before %s's %s", f.Key, f.Winner.Name, f.WinnerKind, f.Loser.Name, f.LoserKind))
				if has := table.Desired().Frontends[f.Key].Service; has != f.Winner {
					t.Errorf("%s: the table has %s, Conflicts says %s", f.Key, has, f.Winner)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("conflicts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClaimedAddresses(t *testing.T) {
	s := svc("web").port("http", 80).externalIPs("1.2.3.4", "172.30.0.41", "1.2.3.5").loadBalancer("1.2.3.4")
	got := ClaimedAddresses(specs(Compile(input(s)), corev1.IPv4Protocol)[0])
	if diff := cmp.Diff([]string{"1.2.3.4", "1.2.3.5", "172.30.0.41"}, got); diff != "" {
		t.Error(diff)
	}
}
