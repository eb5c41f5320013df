// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/agent/kubeproxy"
)

// Rules returns the rules and chains of the node, of both variants of iptables, but for the
// chains of the kernel, and the tables of nftables that are not those of iptables.
func (n *Network) Rules() (rules []string, err error) {
	err = n.node.do(func() error {
		for _, program := range []string{"iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"} {
			out, err := exec.Command(program + "-save").Output()
			if err != nil {
				return fmt.Errorf("%s-save: %w", program, err)
			}
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, "-A ") || strings.HasPrefix(line, ":") && strings.Contains(line, " - [") {
					rules = append(rules, program+" "+strings.TrimSpace(line))
				}
			}
		}
		out, err := exec.Command("nft", "list", "tables").Output()
		if err != nil {
			return fmt.Errorf("nft list tables: %w", err)
		}
		for line := range strings.Lines(string(out)) {
			if words := strings.Fields(line); !slices.Contains([]string{"filter", "mangle", "nat"}, words[len(words)-1]) {
				rules = append(rules, strings.TrimSpace(line))
			}
		}
		return nil
	})
	return rules, err
}

// RemoveKubeProxy removes the rules of kube-proxy from the node, as an agent does that takes over.
func (n *Network) RemoveKubeProxy(ctx context.Context) error {
	return n.node.do(func() error { return kubeproxy.Remove(ctx) })
}
