// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/test/lab/ruledump"
)

// readRules returns a node's rules.
func readRules(t *testing.T, node string) ruledump.Rules {
	t.Helper()
	out, err := inNode(node, "sh", "-c", ruledump.Script)
	if err != nil {
		t.Fatal(err)
	}
	return ruledump.Parse(out)
}

// freshAgent has a new agent write a node's rules, of which nothing is there.
func freshAgent(t *testing.T, node string) ruledump.Rules {
	t.Helper()
	pid, err := agentPID(node)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err = inNode(node, "nft", "delete table ip fairlead; delete table ip6 fairlead")
	if kill := syscall.Kill(pid, syscall.SIGKILL); err != nil || kill != nil {
		t.Fatal(err, kill)
	}
	eventually(t, time.Minute, func() error {
		if again, err := agentPID(node); err != nil || again == pid {
			return fmt.Errorf("agent %d, before %d: %w", again, pid, err)
		}
		_, err := inNode(node, "nft", "list table ip fairlead")
		return err
	})
	wantKernel(t, node)
	return readRules(t, node)
}

// wantFreshKubeProxy checks that a node's rules are those that a new kube-proxy writes, of which nothing is there.
func wantFreshKubeProxy(t *testing.T, node string, proxy kubeProxy) {
	t.Helper()
	before := withoutServiceCIDRs(readRules(t, node))
	pid, err := processOn(node, "kube-proxy")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	cleanUpKubeProxy(t, node, proxy.variant)
	left := readRules(t, node)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for key, lines := range left {
		if strings.Contains(key, "fairlead") || strings.Contains(key, "chain KUBE-S") || strings.Contains(strings.Join(lines, "\n"), ":KUBE-S") {
			t.Errorf("%s has %s after kube-proxy --cleanup", node, key)
		}
	}
	eventually(t, time.Minute, func() error {
		if again, err := processOn(node, "kube-proxy"); err != nil || again == pid {
			return fmt.Errorf("kube-proxy %d, before %d: %w", again, pid, err)
		}
		if diff := cmp.Diff(withoutServiceCIDRs(readRules(t, node)), before); diff != "" {
			return fmt.Errorf("rules of %s (-a fresh kube-proxy +given back):\n%s", node, diff)
		}
		return nil
	})
}

// withoutServiceCIDRs leaves out what kube-proxy writes of ServiceCIDRs in its mode nftables: if it learns of them after its first
// sync, as on a busy machine, it writes that an hour later.
func withoutServiceCIDRs(all ruledump.Rules) ruledump.Rules {
	for key, lines := range all {
		all[key] = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "Drop traffic to unallocated ClusterIPs") })
	}
	return all
}

// cleanUpKubeProxy removes rules of kube-proxy from a node, those of iptables of one variant.
func cleanUpKubeProxy(t *testing.T, node, variant string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "iptables-"+variant) // t.TempDir is gone when the nodes forget
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, does := range []string{"", "-save", "-restore"} {
			program, err := exec.LookPath(family + "-" + variant + does)
			if err == nil {
				err = os.Symlink(program, filepath.Join(dir, family+does))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := inNode(node, "env", "PATH="+dir+":"+os.Getenv("PATH"), os.Getenv("KUBE_PROXY"), "--cleanup"); err != nil {
		t.Error(err)
	}
}

// forgetLegacy has a node forget the rules of the variant legacy. Nothing else in the lab uses it; its tables stay, without rules.
const forgetLegacy = `
for table in $(cat /proc/net/ip_tables_names); do iptables-legacy -t $table -F; iptables-legacy -t $table -X; done
for table in $(cat /proc/net/ip6_tables_names); do ip6tables-legacy -t $table -F; ip6tables-legacy -t $table -X; done`

// wantFreshAgent checks that a node's rules are those that a new agent has written, and what kube-proxy leaves.
func wantFreshAgent(t *testing.T, node string, fresh ruledump.Rules) {
	t.Helper()
	if diff := cmp.Diff(fresh, readRules(t, node).Without(fresh)); diff != "" {
		t.Errorf("rules of %s (-a fresh agent +taken over):\n%s", node, diff)
	}
}

const routeLocalnet = "net.ipv4.conf.all.route_localnet"

// rememberNodes returns what has the nodes forget kube-proxy: its rules, what --cleanup and the agent keep because it may be
// the kubelet's, and the parameter that it sets.
func rememberNodes(t *testing.T) (undo func()) {
	t.Helper()
	tables, parameter := map[string]string{}, map[string]string{}
	for _, node := range labNodes {
		var err error
		if tables[node], err = inNode(node, "nft", "list", "tables"); err != nil {
			t.Fatal(err)
		}
		if parameter[node], err = inNode(node, "sysctl", "-n", routeLocalnet); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for _, node := range labNodes {
			cleanUpKubeProxy(t, node, "nft")
			if _, err := inNode(node, "sh", "-c", forgetLegacy); err != nil {
				t.Error(err)
			}
			now, err := inNode(node, "nft", "list", "tables")
			if err != nil {
				t.Error(err)
			}
			for table := range strings.SplitSeq(strings.TrimSpace(now), "\n") {
				if strings.Contains(tables[node], table) || strings.HasSuffix(table, " fairlead") {
					continue
				}
				if _, err := inNode(node, "nft", "delete "+table); err != nil {
					t.Error(err)
				}
			}
			if _, err := inNode(node, "sysctl", "-qw", routeLocalnet+"="+strings.TrimSpace(parameter[node])); err != nil {
				t.Error(err)
			}
		}
	}
}
