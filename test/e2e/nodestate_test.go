// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"regexp"
	"strings"
)

// nodeState is what a node's network has that a service proxy may change, a line for each
// thing. What belongs to Pods, which come and go, is left out.
type nodeState map[string]string

// beforeInstallation is the state of each node before the installation; empty if the lab was
// running before this program.
var beforeInstallation = map[string]nodeState{}

const stateScript = `
nft list ruleset
for program in iptables-legacy ip6tables-legacy; do $program-save; done
ip -o rule; ip -6 -o rule; ip -o addr show dev lo
ip -o route show table all proto 173; ip -6 -o route show table all proto 173
ip -o link show type dummy
grep -rs . /proc/sys/net | grep -v -e /net/core/ -e '/conf/[^/]*/' -e '/neigh/[^/]*/'
grep -rs . /proc/sys/net/ipv4/conf/*/route_localnet /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/conf/all /proc/sys/net/ipv6/conf/all /proc/sys/net/ipv4/conf/lo
true`

// volatile matches what changes by itself, or belongs to the whole machine or to a Pod.
var volatile = regexp.MustCompile(`counter packets \d+ bytes \d+|^#.*|^\d+: |valid_lft.*|` +
	`^/proc/sys/net/(netfilter/)?nf_conntrack_(count|max|buckets|expect_max):.*|^.*/(veth|pod|cni0)[^/]*/.*`)

func readNodeState(node string) (nodeState, error) {
	out, err := inNode(node, "sh", "-c", stateScript)
	if err != nil {
		return nil, err
	}
	state := nodeState{}
	for _, line := range strings.Split(out, "\n") {
		line = strings.TrimSpace(volatile.ReplaceAllString(line, ""))
		name, value, parameter := strings.Cut(line, ":")
		switch {
		case line == "":
		case !parameter || !strings.HasPrefix(name, "/proc/sys/"):
			state[line] = ""
		default:
			state[name] = value
		}
	}
	return state, nil
}

// readNodeStates returns the state of all nodes.
func readNodeStates() (map[string]nodeState, error) {
	out := map[string]nodeState{}
	for _, node := range labNodes {
		state, err := readNodeState(node)
		if err != nil {
			return nil, err
		}
		out[node] = state
	}
	return out, nil
}
