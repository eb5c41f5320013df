// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

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
		"ipvs, beside iptables of before": {commands: []string{"iptables-nft -t nat -N KUBE-SERVICES", "iptables-nft -t nat -N KUBE-NODE-PORT", "iptables-legacy -t nat -N KUBE-SERVICES"},
			want: &v1alpha1.KubeProxyStatus{Mode: "ipvs", Leftovers: []string{"iptables (nft): chains KUBE-*", "iptables (legacy): chains KUBE-*"}}},
		"it runs": {serves: map[string]string{metrics: "ipvs\n"}, want: &v1alpha1.KubeProxyStatus{Running: true, Mode: "ipvs"}},
		"it runs beside rules of a mode before": {serves: map[string]string{metrics: "nftables"}, commands: []string{"iptables-legacy -t nat -N KUBE-SERVICES"},
			want: &v1alpha1.KubeProxyStatus{Running: true, Mode: "nftables", Leftovers: []string{"iptables (legacy): chains KUBE-*"}}},
		"it runs without metrics": {serves: map[string]string{healthz: healthy}, commands: []string{"nft add table ip kube-proxy"},
			want: &v1alpha1.KubeProxyStatus{Running: true, Mode: "nftables", Leftovers: []string{"nftables: table ip kube-proxy"}}},
		"on ::1":                 {serves: map[string]string{"[::1]:10249/proxyMode": "iptables"}, want: &v1alpha1.KubeProxyStatus{Running: true, Mode: "iptables"}},
		"another program":        {serves: map[string]string{metrics: "userspace", healthz: `{"status": "ok"}`}},
		"another program's node": {serves: map[string]string{healthz: `{"nodeEligible": true}`}},
		"an agent":               {serves: map[string]string{metrics: "nftables", healthz: healthy}, own: true},
		"a redirect is no mode":  {serves: map[string]string{"127.0.0.1:10249/other": "nftables"}},
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
			if diff := gocmp.Diff(c.want, got); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLookUnsure checks that rules are not of a kube-proxy that is gone where the agent itself has the port by which that is found: it
// may wait for the port.
func TestLookUnsure(t *testing.T) {
	for name, c := range map[string]struct {
		at   string
		want bool
	}{
		"the port of the mode":   {"127.0.0.1:10249/proxyMode", true},
		"of the mode, on ::1":    {"[::1]:10249/proxyMode", true},
		"another one, of health": {"127.0.0.1:10256/healthz", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			space := netnstest.NewSpace(t)
			space.Run("nft", "add", "table", "ip", tableName)
			address, path, _ := strings.Cut(c.at, "/")
			serve(t, space, address, "/"+path, "nftables", true)
			var found finding
			space.Do(func() (err error) {
				found, err = look(t.Context(), dialer(space))
				return err
			})
			if found.unsure != c.want || found.status == nil || found.status.Running {
				t.Errorf("unsure: %v, want %v; found %+v", found.unsure, c.want, found.status)
			}
		})
	}
}

// lookAt looks at a namespace.
func lookAt(t *testing.T, space *netnstest.Space) (found *v1alpha1.KubeProxyStatus) {
	t.Helper()
	space.Do(func() (err error) {
		found, _, err = Look(t.Context(), dialer(space))
		return err
	})
	return found
}

// dialer opens connections from a namespace.
func dialer(space *netnstest.Space) Dialer {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = netdev.Do(int(space.Handle), func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}

// TestServes checks when kube-proxy serves a node, and in which families: it runs, is healthy, and has rules of Services.
func TestServes(t *testing.T) {
	const (
		metrics = "127.0.0.1:10249/proxyMode"
		healthz = "127.0.0.1:10256/healthz"
		healthy = `{"lastUpdated": "2026-01-01 00:00:00","currentTime": "2026-01-01 00:00:01","nodeEligible": true}`
		early   = `{"lastUpdated": "0001-01-01 00:00:00","currentTime": "2026-01-01 00:00:01","nodeEligible": true}`
	)
	nftables := []string{"nft add table ip kube-proxy", "nft add chain ip kube-proxy services"}
	iptables := []string{"iptables-nft -t nat -N KUBE-SERVICES", "iptables-nft -t nat -N KUBE-SVC-NPX46M4PTMTKRN6Y"}
	legacy := []string{"iptables-legacy -t nat -N KUBE-SERVICES", "iptables-legacy -t nat -N KUBE-SVC-NPX46M4PTMTKRN6Y"}
	iptables6 := []string{"ip6tables-nft -t nat -N KUBE-SERVICES", "ip6tables-nft -t nat -N KUBE-SVL-NPX46M4PTMTKRN6Y"}
	legacy6 := []string{"ip6tables-legacy -t nat -N KUBE-SERVICES", "ip6tables-legacy -t nat -N KUBE-SVC-NPX46M4PTMTKRN6Y"}
	v4, both := served{ipv4: true}, served{ipv4: true, ipv6: true}
	for name, c := range map[string]struct {
		commands []string
		mode     string // that it says; empty: it does not run
		health   string // empty: it says nothing
		status   int    // 0: 200
		own      bool   // the agent has the port of health
		want     served
	}{
		"nftables":                   {nftables, "nftables", healthy, 0, false, v4},
		"iptables":                   {iptables, "iptables", healthy, 0, false, v4},
		"iptables, legacy":           {legacy, "iptables", healthy, 0, false, v4},
		"without metrics":            {nftables, "", healthy, 0, false, v4},
		"it is not healthy":          {nftables, "nftables", healthy, http.StatusServiceUnavailable, false, served{}},
		"it has programmed nothing":  {nftables, "nftables", early, 0, false, served{}},
		"it has no port of health":   {nftables, "nftables", "", 0, false, served{}},
		"the agent has that port":    {nftables, "nftables", healthy, 0, true, served{}},
		"it has no rules":            {nil, "nftables", healthy, 0, false, served{}},
		"its table is empty":         {nftables[:1], "nftables", healthy, 0, false, served{}},
		"no chains of Services":      {iptables[:1], "iptables", healthy, 0, false, served{}},
		"no chains, legacy":          {legacy[:1], "iptables", healthy, 0, false, served{}},
		"only rules of another mode": {iptables, "nftables", healthy, 0, false, served{}},
		"only rules":                 {nftables, "", "", 0, false, served{}},
		"no virtual servers":         {append(iptables[:2:2], "iptables-nft -t nat -N KUBE-NODE-PORT"), "ipvs", healthy, 0, false, served{}},
		"nftables, IPv6":             {[]string{"nft add table ip6 kube-proxy", "nft add chain ip6 kube-proxy services"}, "nftables", healthy, 0, false, served{ipv6: true}},
		"nftables, both":             {slices.Concat(nftables, []string{"nft add table ip6 kube-proxy", "nft add chain ip6 kube-proxy services"}), "nftables", healthy, 0, false, both},
		"IPv6 is not written yet":    {slices.Concat(nftables, []string{"nft add table ip6 kube-proxy"}), "nftables", healthy, 0, false, v4},
		"iptables, both":             {slices.Concat(iptables, iptables6), "iptables", healthy, 0, false, both},
		"iptables, none of IPv6 yet": {slices.Concat(iptables, iptables6[:1]), "iptables", healthy, 0, false, v4},
		"legacy, both":               {slices.Concat(legacy, legacy6), "iptables", healthy, 0, false, both},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			space := netnstest.NewSpace(t)
			for _, command := range c.commands {
				space.Run(strings.Fields(command)...)
			}
			for at, answer := range map[string]struct {
				body   string
				status int
				own    bool
			}{metrics: {c.mode, 0, false}, healthz: {c.health, c.status, c.own}} {
				if answer.body != "" {
					address, path, _ := strings.Cut(at, "/")
					serveStatus(t, space, address, "/"+path, answer.body, answer.own, answer.status)
				}
			}
			var found finding
			space.Do(func() (err error) {
				found, err = look(t.Context(), dialer(space))
				return err
			})
			if found.serves != c.want {
				t.Errorf("serves: %+v, want %+v; found %+v", found.serves, c.want, found.status)
			}
		})
	}
}

// serve answers with a body at a path, and redirects to it from others.
func serve(t *testing.T, space *netnstest.Space, address, path, body string, own bool) {
	t.Helper()
	serveStatus(t, space, address, path, body, own, http.StatusOK)
}

// serveStatus does so with a status; 0: 200.
func serveStatus(t *testing.T, space *netnstest.Space, address, path, body string, own bool, status int) {
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
		w.WriteHeader(cmp.Or(status, http.StatusOK))
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

// program puts a program of that name first, with a script of sh; those of the test's children.
func program(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestServesUnsure checks that a look with an error does not count as one in which kube-proxy serves the node, and that what it
// has found is shown.
func TestServesUnsure(t *testing.T) {
	space := netnstest.NewSpace(t)
	for _, command := range []string{"nft add table ip kube-proxy", "nft add chain ip kube-proxy services", "iptables-legacy -t nat -N MINE"} {
		space.Run(strings.Fields(command)...)
	}
	serve(t, space, "127.0.0.1:10249", "/proxyMode", "nftables", false)
	serve(t, space, "127.0.0.1:10256", "/healthz", `{"lastUpdated": "2026-01-01 00:00:00","nodeEligible": true}`, false)
	want := &v1alpha1.KubeProxyStatus{Running: true, Mode: "nftables", Leftovers: []string{"nftables: table ip kube-proxy"}}
	for _, fails := range []bool{false, true} {
		if fails {
			program(t, "iptables-legacy-save", "exit 3")
		}
		var found finding
		var err error
		space.Do(func() error { found, err = look(t.Context(), dialer(space)); return nil })
		if found.serves != (served{ipv4: !fails}) || (err != nil) != fails {
			t.Errorf("it fails: %v; serves %+v, error %v", fails, found.serves, err)
		}
		if diff := gocmp.Diff(want, found.status); diff != "" {
			t.Errorf("it fails: %v; found (-want +got):\n%s", fails, diff)
		}
	}
}

// TestVirtualServers reads a list of the kernel: in the mode ipvs a virtual server shows which family kube-proxy serves.
func TestVirtualServers(t *testing.T) {
	const (
		head = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
		v4   = "TCP  0A600001:01BB rr \n  -> C0A80002:192B      Masq    1      0          0         \n"
		v6   = "UDP  [fd00:0096:0000:0000:0000:0000:0000:0001]:0035 rr \n  -> [fd00:0244:0000:0000:0000:0000:0000:0002]:0035      Masq    1      0          0         \n"
		mark = "FWM  01000001 rr \n"
	)
	for text, want := range map[string]served{"": {}, head: {}, head + v4: {ipv4: true}, head + mark + v6: {ipv6: true}, head + v4 + v6: {true, true}} {
		if got := (served{lists(text, corev1.IPv4Protocol), lists(text, corev1.IPv6Protocol)}); got != want {
			t.Errorf("%+v, want %+v, of\n%s", got, want, text)
		}
	}
}
