// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/cases"
	"github.com/fairlead-proxy/fairlead/test/cases/kernel"
)

// TestOracleRemoval checks that an agent removes all that kube-proxy has written, once that has
// ended. The chain KUBE-FIREWALL is kubelet's, which writes the same.
func TestOracleRemoval(t *testing.T) {
	program := os.Getenv("KUBE_PROXY")
	if program == "" {
		t.Skip("KUBE_PROXY does not name the program of kube-proxy: run `make test-oracle`")
	}
	for name, c := range map[string]struct{ mode, variant string }{
		"nftables":         {"nftables", ""},
		"iptables, nft":    {"iptables", "nft"},
		"iptables, legacy": {"iptables", "legacy"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.variant != "" {
				useIPTables(t, c.variant)
			}
			network, err := kernel.NewNetwork()
			if err != nil {
				t.Fatal(err)
			}
			defer network.Close()
			before := rulesOf(t, network)
			proxy, err := network.NewKubeProxy(program, t.TempDir(), c.mode)
			if err != nil {
				t.Fatal(err)
			}
			cluster := cases.NewCluster()
			err = cluster.Apply(cases.Step{Services: servicesOfAllKinds()})
			if err == nil {
				err = proxy.Program(cluster)
			}
			if err != nil {
				t.Error(err)
			}
			written := rulesOf(t, network)
			if err := proxy.Stop(); err != nil {
				t.Error(err)
			}
			if has := strings.Join(written, "\n"); strings.Contains(has, "iptables-"+c.variant+" ") != (c.variant != "") || cmp.Equal(before, written) {
				t.Errorf("kube-proxy has not written what it should:\n%s", has)
			}
			if err := network.RemoveKubeProxy(t.Context()); err != nil {
				t.Error(err)
			}
			left := slices.DeleteFunc(rulesOf(t, network), func(rule string) bool { return strings.Contains(rule, "KUBE-FIREWALL") })
			if diff := cmp.Diff(before, left, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("rules before kube-proxy, and after it (-want +got):\n%s", diff)
			}
		})
	}
}

func rulesOf(t *testing.T, network *kernel.Network) []string {
	t.Helper()
	rules, err := network.Rules()
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// useIPTables has programs of a variant found by the plain names.
func useIPTables(t *testing.T, variant string) {
	t.Helper()
	folder := t.TempDir()
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, name := range []string{"", "-save", "-restore"} {
			if err := os.Symlink("/usr/sbin/xtables-"+variant+"-multi", filepath.Join(folder, family+name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(folder, "lock")) // the network namespace has its own rules
}

// servicesOfAllKinds have chains of every kind, in both families.
func servicesOfAllKinds() []cases.Service {
	var all []cases.Service
	for _, v6 := range []bool{false, true} {
		in := func(address string) string {
			if v6 {
				return cases.Twin(netip.MustParseAddr(address)).String()
			}
			return address
		}
		suffix, nodePort := map[bool]string{false: "", true: "-6"}[v6], int32(30001)
		add := func(name, clusterIP string, change func(*corev1.ServiceSpec), endpoints ...string) {
			s := cases.Service{Name: name + suffix}
			s.ClusterIP = in(clusterIP)
			s.Ports = []corev1.ServicePort{{Port: 80}}
			for _, e := range endpoints {
				s.Endpoints = append(s.Endpoints, "L "+in(e))
			}
			change(&s.ServiceSpec)
			all = append(all, s)
		}
		add("web", "172.30.0.41", func(s *corev1.ServiceSpec) { s.Ports[0].NodePort = nodePort }, "10.180.0.1", "10.180.0.2")
		add("empty", "172.30.0.42", func(*corev1.ServiceSpec) {})
		add("sticky", "172.30.0.43", func(s *corev1.ServiceSpec) { s.SessionAffinity = corev1.ServiceAffinityClientIP }, "10.180.0.1")
		add("local", "172.30.0.44", func(s *corev1.ServiceSpec) {
			s.Ports[0].NodePort = nodePort + 1
			s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			s.ExternalIPs = []string{in("192.0.2.7")}
		}, "10.180.0.1")
		add("balanced", "172.30.0.45", func(s *corev1.ServiceSpec) {
			s.Type = corev1.ServiceTypeLoadBalancer
			s.LoadBalancerSourceRanges = []string{in("198.51.100.0") + "/120"}
			if !v6 {
				s.LoadBalancerSourceRanges = []string{"198.51.100.0/24"}
			}
		}, "10.180.0.1")
		all[len(all)-1].Ingress = []corev1.LoadBalancerIngress{{IP: in("203.0.113.7")}}
	}
	return all
}
