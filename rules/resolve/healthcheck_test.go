// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// checked is a Service of type LoadBalancer with policy Local and a health check node
// port.
func checked(name string, port int32) *ServiceBuilder {
	b := Service(name).Port("a", 80).Port("b", 81).LoadBalancer("1.2.3.4").ExternalLocal()
	b.Spec.HealthCheckNodePort = port
	return b
}

func TestHealthCheckCounts(t *testing.T) {
	both := func() *SliceBuilder { return Slice("web").Port("a", 80).Port("b", 81) }
	clusterPolicy := checked("web", 32100)
	clusterPolicy.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	for name, c := range map[string]struct {
		service   *ServiceBuilder
		endpoints *SliceBuilder
		port      uint16
		want      int
	}{
		"no port for checks":           {checked("web", 0), both().Ready(L1, Here), 0, 0},
		"policy Cluster":               {clusterPolicy, both().Ready(L1, Here), 0, 0},
		"no endpoints":                 {checked("web", 32100), both(), 32100, 0},
		"other node":                   {checked("web", 32100), both().Ready(R1, There), 32100, 0},
		"two ports count once":         {checked("web", 32100), both().Ready(L1, Here), 32100, 1},
		"several":                      {checked("web", 32100), both().Ready(L1, Here).Ready("10.180.0.2", Here).Ready(R1, There), 32100, 2},
		"terminating do not count":     {checked("web", 32100), both().Terminating(L1, Here), 32100, 0},
		"one of two is terminating":    {checked("web", 32100), both().Terminating(L1, Here).Ready("10.180.0.2", Here), 32100, 1},
		"terminating, ready elsewhere": {checked("web", 32100), both().Terminating(L1, Here).Ready(R1, There), 32100, 0},
		"unready":                      {checked("web", 32100), both().Unready(L1, Here), 32100, 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := resolvedOf(t, c.service, c.endpoints)
			if got.HealthCheck.Port != c.port || got.HealthCheck.LocalReady != c.want {
				t.Errorf("got %+v, want %d at %d", got.HealthCheck, c.want, c.port)
			}
			if c.port != 0 && !cmp.Equal([]netip.Addr{Addr("1.2.3.4")}, got.HealthCheck.LoadBalancerIPs, ByValue) {
				t.Errorf("it answers at %v", got.HealthCheck.LoadBalancerIPs)
			}
		})
	}
}

func TestHealthCheckMalformed(t *testing.T) {
	for _, port := range []int32{-1, 65536, 65537} {
		spec := rule()
		spec.HealthCheckNodePort = port
		got, err := resolve.Service(ThisNode().Node, WebID, []*v1alpha1.ServiceRuleSliceSpec{spec})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint("health check port ", port, " is")) || got.HealthCheck.Port != 0 || len(got.Frontends) != 1 {
			t.Errorf("got %v and %+v", err, got)
		}
	}
}

// wantChecks compares the changed ports, as "port: first count, second ...".
func wantChecks(t *testing.T, table *resolve.Table, want ...string) {
	t.Helper()
	got := map[string]bool{}
	for port, claims := range table.FlushHealthChecks() {
		text := fmt.Sprintf("%s %d:", port.Family, port.Number)
		for _, c := range claims {
			text += fmt.Sprintf(" %s=%d", c.Service.Name, c.LocalReady)
		}
		got[text] = true
	}
	wanted := map[string]bool{}
	for _, w := range want {
		wanted[w] = true
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("health checks (-want +got):\n%s", diff)
	}
}

// Only what changed is flushed, however many Services there are.
func TestFlushHealthChecks(t *testing.T) {
	table := resolve.NewTable()
	one := Slice("web").Port("a", 80).Ready(L1, Here)
	set(t, table, checked("web", 32100), one)
	set(t, table, checked("other", 32101).IP("172.30.0.42"))
	set(t, table, Service("plain").IP("172.30.0.43").Port("a", 80))
	wantChecks(t, table, "IPv4 32100: web=1", "IPv4 32101: other=0")
	wantChecks(t, table)
	set(t, table, checked("web", 32100), Slice("web").Port("a", 80).Terminating(L1, Here))
	wantChecks(t, table, "IPv4 32100: web=0")
	set(t, table, checked("web", 32102), one)
	wantChecks(t, table, "IPv4 32100:", "IPv4 32102: web=1")
	table.Set(WebID, resolve.Result{})
	wantChecks(t, table, "IPv4 32102:")
	if n := table.HealthPorts(); n != 1 {
		t.Errorf("left: %d ports", n)
	}
}

// A port that two Services claim goes to the first one by name, in any order of arrival.
func TestHealthCheckConflict(t *testing.T) {
	for name, order := range map[string][]string{"in order": {"a", "b"}, "reversed": {"b", "a"}} {
		t.Run(name, func(t *testing.T) {
			table := resolve.NewTable()
			for _, service := range order {
				set(t, table, checked(service, 32100).IP("172.30.0."+map[string]string{"a": "1", "b": "2"}[service]))
			}
			wantChecks(t, table, "IPv4 32100: a=0 b=0")
			table.Set(model.ServiceID{Namespace: "default", Name: "a", Family: corev1.IPv4Protocol}, resolve.Result{})
			wantChecks(t, table, "IPv4 32100: b=0")
		})
	}
}

func TestHealthCheckAnswersAt(t *testing.T) {
	check := resolve.HealthCheck{LoadBalancerIPs: []netip.Addr{Addr("1.2.3.4")}}
	for name, c := range map[string]struct {
		nodePorts []string
		yes, no   []string
	}{
		"default": {nil, []string{"192.168.0.2", "1.2.3.4", "127.0.0.1", "::1", "::ffff:192.168.0.2"}, []string{"192.168.1.2", "1.2.3.5"}},
		"all":     {[]string{v1alpha1.NodePortAll}, []string{"192.168.1.2", "fe80::1%eth0", "127.0.0.1"}, nil},
		"ranges":  {[]string{"192.168.1.0/24"}, []string{"192.168.1.2", "1.2.3.4"}, []string{"192.168.0.2"}},
	} {
		t.Run(name, func(t *testing.T) {
			settings, err := resolve.Settings(ThisNode().NodePorts(c.nodePorts...).Spec)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range c.yes {
				if !check.AnswersAt(Addr(a), settings) {
					t.Errorf("does not answer at %s", a)
				}
			}
			for _, a := range c.no {
				if check.AnswersAt(Addr(a), settings) {
					t.Errorf("answers at %s", a)
				}
			}
		})
	}
}

func TestStranded(t *testing.T) {
	elsewhere := func() *SliceBuilder { return Slice("web").Port("a", 80).Port("b", 81).Ready(R1, There) }
	for name, c := range map[string]struct {
		service   *ServiceBuilder
		endpoints *SliceBuilder
		want      resolve.Stranded
	}{
		"external Local, endpoints elsewhere":  {checked("web", 0), elsewhere(), resolve.Stranded{External: 2}},
		"an endpoint here":                     {checked("web", 0), elsewhere().Ready(L1, Here), resolve.Stranded{}},
		"no endpoints at all":                  {checked("web", 0), Slice("web").Port("a", 80), resolve.Stranded{}},
		"internal Local, endpoints elsewhere":  {Service("web").Port("a", 80).InternalLocal(), elsewhere(), resolve.Stranded{Internal: 1}},
		"external Local, and nothing external": {Service("web").Port("a", 80).ExternalLocal(), elsewhere(), resolve.Stranded{}},
		"both":                                 {checked("web", 0).InternalLocal(), elsewhere(), resolve.Stranded{Internal: 2, External: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			table := resolve.NewTable()
			set(t, table, c.service, c.endpoints)
			set(t, table, c.service, c.endpoints)
			if got := table.Counts().Stranded; got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			table.Set(WebID, resolve.Result{})
			if got := table.Counts(); got != (resolve.Counts{}) {
				t.Errorf("left: %+v", got)
			}
		})
	}
}
