// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// enterSpace puts the calling test into a network namespace of its own, on a
// thread that is not used again.
func enterSpace(t *testing.T) {
	t.Helper()
	if unix.Geteuid() != 0 {
		t.Skip("needs root/CAP_NET_ADMIN")
	}
	has, err := netlink.HasFamily(t.Context(), "IPVS")
	if err != nil {
		t.Fatal(err)
	}
	if !has {
		t.Skip("needs a kernel with ip_vs: `make test-vm` has one")
	}
	runtime.LockOSThread()
	if _, err := netns.New(); err != nil {
		t.Fatal(err)
	}
	// Without a local table the kernel rejects real servers.
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "link", "add", "eth0", "type", "dummy")
	run(t, "ip", "addr", "add", "192.168.0.2/24", "dev", "eth0")
	run(t, "ip", "-6", "addr", "add", "fd00::2/64", "dev", "eth0", "nodad")
	run(t, "ip", "link", "set", "eth0", "up")
	run(t, "ip", "route", "add", "default", "via", "192.168.0.1")
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func newDataplane(t *testing.T) *Dataplane {
	t.Helper()
	d, err := New(Options{Log: testr.New(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// clusterIP is a frontend for cluster IPs.
func clusterIP(address string, protocol model.Protocol, endpoints ...string) *model.Frontend {
	b := model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeUnlessPod}
	for _, e := range endpoints {
		b.Endpoints = append(b.Endpoints, netip.MustParseAddrPort(e))
	}
	at := netip.MustParseAddrPort(address)
	return &model.Frontend{
		Key: model.FrontendKey{Address: at.Addr(), Protocol: protocol, Port: at.Port()}, Kind: model.KindClusterIP,
		Service:  model.ServiceID{Namespace: "default", Name: "web", Family: model.FamilyOf(at.Addr())},
		Internal: b, External: b,
	}
}

func desiredOf(frontends ...*model.Frontend) model.Desired {
	d := model.NewDesired()
	for _, f := range frontends {
		d.Frontends[f.Key] = f
		d.ClusterIPs[f.Key.Address] = struct{}{}
	}
	return d
}

func defaults() Settings {
	return settingsOf(nil)
}

// The check of the seed: after the switch to ipvs, `ipvsadm -Ln` shows the
// cluster's first Services.
func TestSeed(t *testing.T) {
	enterSpace(t)
	d := newDataplane(t)
	if _, err := d.Probe(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	dns := func(port string, p model.Protocol) *model.Frontend {
		return clusterIP("10.96.0.10:"+port, p, "10.244.0.2:"+port, "10.244.0.3:"+port)
	}
	_, err := d.Sync(context.Background(), desiredOf(
		clusterIP("10.96.0.1:443", model.TCP, "172.200.1.200:6443"),
		dns("53", model.TCP), dns("53", model.UDP), dns("9153", model.TCP)), nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = `
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.96.0.1:443 rr
  -> 172.200.1.200:6443           Masq    1      0          0
TCP  10.96.0.10:53 rr
  -> 10.244.0.2:53                Masq    1      0          0
  -> 10.244.0.3:53                Masq    1      0          0
TCP  10.96.0.10:9153 rr
  -> 10.244.0.2:9153              Masq    1      0          0
  -> 10.244.0.3:9153              Masq    1      0          0
UDP  10.96.0.10:53 rr
  -> 10.244.0.2:53                Masq    1      0          0
  -> 10.244.0.3:53                Masq    1      0          0
`
	lines := strings.Split(run(t, "ipvsadm", "-Ln"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	// The first line is the version.
	if diff := cmp.Diff(want, "\n"+strings.Join(lines[1:], "\n")); diff != "" {
		t.Errorf("ipvsadm -Ln (-want +got):\n%s", diff)
	}
}
