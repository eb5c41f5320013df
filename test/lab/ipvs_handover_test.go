// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package lab

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// ipvsHandovers changes the mode to IPVS and away from it under connections. None fails, and open ones go on: the virtual
// servers stay until those through them have ended.
func (m *machine) ipvsHandovers() {
	ips := m.serviceIPs()
	load := m.startLoad(ips)
	before := "IPVS"
	for _, mode := range []string{"NFTables", "IPVS", "IPTables", "IPVS"} {
		m.step("from " + before + " to " + mode)
		streams := m.openStreams(ips)
		// The options of another mode are refused.
		m.kubectl("patch", "proxyconfig/ipvs", "--type=merge", "--patch", fmt.Sprintf(`{"spec": {"mode": %q, "ipvs": null}}`, mode))
		m.wantModeInVM(mode)
		streams.say(m.t, "in the mode "+mode)
		if servers := m.virtualServers(); !strings.Contains(servers, " "+net.JoinHostPort(ips[0], "9000")+" ") {
			m.t.Errorf("no virtual server in the mode %s, with open connections of the mode %s:\n%s", mode, before, servers)
		}
		load.report("from " + before + " to " + mode)
		streams.close()
		if mode != "IPVS" {
			m.wantNoVirtualServers()
			load.report("without virtual servers")
		}
		before = mode
	}
	load.end("in the mode " + before)
	m.wantAnswers(ips)
	m.wantNoDenials()
}

// virtualServers lists those of the node.
func (m *machine) virtualServers() string {
	m.t.Helper()
	return m.inNode("ipvsadm --list --numeric")
}

// wantNoVirtualServers waits until the node has none any more, nor their addresses.
func (m *machine) wantNoVirtualServers() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), m.patience)
	defer cancel()
	err := poll(ctx, time.Second, func() error {
		servers := m.inNode("ipvsadm --list --numeric | tail -n +4; ip link show kube-ipvs0 2>/dev/null || true")
		if strings.TrimSpace(servers) != "" {
			return fmt.Errorf("virtual servers of a mode before:\n%s", servers)
		}
		return nil
	})
	if err != nil {
		m.t.Error(err)
	}
}

// streams are open connections.
type streams []*connection

// openStreams opens a connection to each address of the Service.
func (m *machine) openStreams(ips []string) (open streams) {
	m.t.Helper()
	for _, ip := range ips {
		c, err := m.dial(net.JoinHostPort(ip, "9000"))
		if err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(func() { c.Close() })
		open = append(open, c)
	}
	open.say(m.t, "at the beginning")
	return open
}

func (s streams) say(t *testing.T, when string) {
	t.Helper()
	for _, c := range s {
		if err := c.say(when); err != nil {
			t.Errorf("an open connection to %s, %s: %v", c.RemoteAddr(), when, err)
		}
	}
}

func (s streams) close() {
	for _, c := range s {
		c.Close()
	}
}
