// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ruledump reads all rules of a node as text, to compare them.
package ruledump

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Rules are the lines of each chain, map and set of a node.
type Rules map[string][]string

// Script is a shell's that prints the rules of all programs: nft does not print what iptables matches.
const Script = `
nft list ruleset
for program in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do echo "program $program"; $program-save; done`

// IPVSScript prints those of a kernel with ip_vs, too: virtual servers, sets, and the addresses that are there for them. IPVS
// rejects new connections to a server without the addresses. Warnings of nft would come between the lines.
const IPVSScript = `exec 2>/dev/null` + Script + `
echo "program ipvsadm"; ipvsadm --save --numeric
echo "program ipset"; ipset save
echo "program ip"; ip -oneline address show dev kube-ipvs0 | cut -d ' ' -f 2-9`

// changing matches what traffic changes, and the random seeds of sets.
var changing = regexp.MustCompile(`\[\d+:\d+\]|counter packets \d+ bytes \d+| initval \S+`)

// Parse reads what a script prints, without counters and comments. The elements of maps and sets are sorted, because the
// kernel lists them in the order of a hash with a random seed, and so are the rules of kube-proxy's chains: it writes the
// ones of Services in the order of a Go map.
func Parse(out string) Rules {
	all := Rules{}
	var path []string
	elements := false
	for _, line := range strings.Split(out, "\n") {
		line = strings.TrimSpace(changing.ReplaceAllString(line, ""))
		name, isProgram := strings.CutPrefix(line, "program ")
		table, isTable := strings.CutPrefix(line, "*")
		switch {
		case line == "" || strings.HasPrefix(line, "#") || line == "COMMIT":
			continue
		case isProgram:
			path = []string{name, ""}
			continue
		case isTable:
			path[1] = table
			continue
		case strings.HasSuffix(line, "{") && !strings.HasPrefix(line, "elements"):
			path = append(path, line)
			all[strings.Join(path, " ")] = nil
			continue
		case line == "}" && !elements:
			path = path[:len(path)-1]
			continue
		}
		elements = (elements || strings.HasPrefix(line, "elements = {")) && !strings.HasSuffix(line, "}")
		key := strings.Join(path, " ")
		if !elements && !strings.HasPrefix(line, "elements = {") && !strings.HasSuffix(line, "}") {
			all[key] = append(all[key], line)
			continue
		}
		line = strings.Trim(strings.TrimPrefix(strings.TrimSuffix(line, "}"), "elements = {"), ", ")
		all[key] = append(all[key], strings.Split(line, ", ")...) // several fit into a line
	}
	for key, lines := range all {
		if !strings.Contains(key, "chain ") || strings.Contains(key, "kube-proxy") || strings.Contains(key, "KUBE-") {
			slices.Sort(lines)
			continue
		}
		slices.SortStableFunc(lines, func(a, b string) int { return cmp.Compare(firewall(a), firewall(b)) })
	}
	return all
}

// firewall is 1 for the jump to the chain KUBE-FIREWALL. Its place among the other jumps says who wrote it first: kube-proxy inserts its
// chains and appends this one, which kubelets have, too, and which stays when kube-proxy goes.
func firewall(rule string) int {
	if strings.Contains(rule, "KUBE-FIREWALL") {
		return 1
	}
	return 0
}

// Without returns the rules without what kube-proxy leaves, and others do not have: its chain KUBE-FIREWALL may be the
// kubelet's, and the agent keeps it, in tables that are empty otherwise.
func (r Rules) Without(others Rules) Rules {
	out := maps.Clone(r)
	maps.DeleteFunc(out, func(key string, lines []string) bool {
		if _, ok := others[key]; ok {
			return false
		}
		for _, line := range lines {
			if !strings.Contains(line, "KUBE-FIREWALL") && !emptyChain.MatchString(line) && !strings.Contains(key, "chain KUBE-FIREWALL") {
				return false
			}
		}
		return true
	})
	return out
}

// emptyChain matches the declaration of a base chain.
var emptyChain = regexp.MustCompile(`^:[A-Z]+ ACCEPT|^type .* policy accept;$`)
