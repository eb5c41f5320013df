// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"context"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/serve/httpserver"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestLook checks what is found on a node, without kube-proxy itself: that is in the cases' oracle.
func TestLook(t *testing.T) {
	const (
		metrics = "127.0.0.1:10249/proxyMode"
		healthz = "127.0.0.1:10256/healthz"
		healthy = `{"lastUpdated": "2026-01-01 00:00:00","currentTime": "2026-01-01 00:00:01","nodeEligible": true}`
	)
	for name, c := range map[string]struct {
		commands []string
		serves   map[string]string // answers by address and path
		own      bool              // an agent serves
		want     *v1alpha1.KubeProxyStatus
	}{
		"nothing": {},
		"kubelet's chains": {commands: []string{"iptables-nft -t nat -N KUBE-KUBELET-CANARY", "iptables-nft -t mangle -N KUBE-IPTABLES-HINT",
			"iptables-legacy -t nat -N KUBE-MARK-DROP", "iptables-legacy -t filter -N KUBE-SERVICES"}},
		"a table of another name":     {commands: []string{"nft add table ip kube-proxy2", "nft add chain ip kube-proxy2 services"}},
		"its chains in another table": {commands: []string{"nft add table ip mine", "nft add chain ip mine KUBE-SERVICES"}},
		"nftables": {commands: []string{"nft add table ip kube-proxy", "nft add table ip6 kube-proxy"},
			want: &v1alpha1.KubeProxyStatus{Mode: "nftables", Leftovers: []string{"nftables: table ip kube-proxy", "nftables: table ip6 kube-proxy"}}},
		"iptables": {commands: []string{"iptables-nft -t nat -N KUBE-SERVICES", "ip6tables-nft -t nat -N KUBE-SERVICES", "iptables-nft -t nat -N KUBE-NODEPORTS"},
			want: &v1alpha1.KubeProxyStatus{Mode: "iptables", Leftovers: []string{"iptables (nft): chains KUBE-*", "ip6tables (nft): chains KUBE-*"}}},
		"iptables, legacy": {commands: []string{"iptables-legacy -t nat -N KUBE-SERVICES"},
			want: &v1alpha1.KubeProxyStatus{Mode: "iptables", Leftovers: []string{"iptables (legacy): chains KUBE-*"}}},
		"iptables, legacy, IPv6": {commands: []string{"ip6tables-legacy -t nat -N KUBE-SERVICES"},
			want: &v1alpha1.KubeProxyStatus{Mode: "iptables", Leftovers: []string{"ip6tables (legacy): chains KUBE-*"}}},
		"ipvs": {commands: []string{"iptables-nft -t nat -N KUBE-SERVICES", "iptables-nft -t nat -N KUBE-NODE-PORT"},
			want: &v1alpha1.KubeProxyStatus{Mode: "ipvs", Leftovers: []string{"iptables (nft): chains KUBE-*"}}},
		"ipvs, legacy": {commands: []string{"iptables-legacy -t nat -N KUBE-SERVICES", "iptables-legacy -t nat -N KUBE-NODE-PORT"},
			want: &v1alpha1.KubeProxyStatus{Mode: "ipvs", Leftovers: []string{"iptables (legacy): chains KUBE-*"}}},
		"it runs": {serves: map[string]string{metrics: "ipvs\n"}, want: &v1alpha1.KubeProxyStatus{Running: true, Mode: "ipvs"}},
		"it runs beside rules of a mode before": {serves: map[string]string{metrics: "nftables"}, commands: []string{"iptables-legacy -t nat -N KUBE-SERVICES"},
			want: &v1alpha1.KubeProxyStatus{Running: true, Mode: "nftables", Leftovers: []string{"iptables (legacy): chains KUBE-*"}}},
		"it runs without metrics": {serves: map[string]string{healthz: healthy}, commands: []string{"nft add table ip kube-proxy"},
			want: &v1alpha1.KubeProxyStatus{Running: true, Mode: "nftables", Leftovers: []string{"nftables: table ip kube-proxy"}}},
		"on ::1":                {serves: map[string]string{"[::1]:10249/proxyMode": "iptables"}, want: &v1alpha1.KubeProxyStatus{Running: true, Mode: "iptables"}},
		"another program":       {serves: map[string]string{metrics: "userspace", healthz: `{"status": "ok"}`}},
		"an agent":              {serves: map[string]string{metrics: "nftables", healthz: healthy}, own: true},
		"a redirect is no mode": {serves: map[string]string{"127.0.0.1:10249/other": "nftables"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			space := netnstest.NewSpace(t)
			for _, command := range c.commands {
				space.Run(strings.Fields(command)...)
			}
			for at, body := range c.serves {
				address, path, _ := strings.Cut(at, "/")
				serve(t, space, address, "/"+path, body, c.own)
			}
			got := lookAt(t, space)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

// lookAt looks at a namespace.
func lookAt(t *testing.T, space *netnstest.Space) (found *v1alpha1.KubeProxyStatus) {
	t.Helper()
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = netdev.Do(int(space.Handle), func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	space.Do(func() (err error) {
		found, err = Look(t.Context(), dial)
		return err
	})
	return found
}

// serve answers with a body at a path, and redirects to it from others.
func serve(t *testing.T, space *netnstest.Space, address, path, body string, own bool) {
	t.Helper()
	var listener net.Listener
	space.Do(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if own {
			w.Header().Set("Server", httpserver.Name)
		}
		if r.URL.Path != path {
			http.Redirect(w, r, path, http.StatusFound)
			return
		}
		_, _ = w.Write([]byte(body))
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

// TestLegacyTableStaysUnused checks that to look for chains does not add the table to the kernel.
func TestLegacyTableStaysUnused(t *testing.T) {
	space := netnstest.NewSpace(t)
	lookAt(t, space)
	if names := space.Run("cat", "/proc/self/net/ip_tables_names"); strings.TrimSpace(names) != "" {
		t.Errorf("legacy tables: %q", names)
	}
	if rules := space.Run("nft", "list", "ruleset"); strings.TrimSpace(rules) != "" {
		t.Errorf("nftables: %q", rules)
	}
}

// TestLegacyFails checks that an error of the program is returned.
func TestLegacyFails(t *testing.T) {
	program, err := exec.LookPath("false")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := legacyChains(t.Context(), program); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("got %v", err)
	}
	if chains, err := legacyChains(t.Context(), "not-on-this-machine"); chains != nil || err != nil {
		t.Errorf("without the program: %v, %v", chains, err)
	}
}
