// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"regexp"
	"slices"
	"strings"
)

// dumpScript prints everything of a network namespace that a mode could leave traces in,
// except parameters. Each program takes 50 to 100 ms in an emulator.
// A list of IPVS has a virtual server more than once, or not at all, if those of another namespace
// change during it, so each line counts once, and it is repeated until it stays the same.
// Sockets are those that listen (TCP) or have no peer: ss would ask for modules of the
// kernel, which takes a second in a virtual machine.
const dumpScript = `
echo "# nft"; nft list ruleset
for program in iptables-legacy ip6tables-legacy iptables-nft ip6tables-nft; do echo "# $program"; $program-save 2>/dev/null; done
echo "# network"; printf 'link\naddr\nroute show table all\nrule\n' | ip -d -o -batch - 2>/dev/null
echo "# rules -6"; ip -6 rule
echo "# sockets"; (cd /proc/net; awk 'FILENAME ~ /tcp/ ? $4 == "0A" : $4 == "07" {print FILENAME, $2}' tcp tcp6 udp udp6 raw raw6)
echo "# ipvs"
if [ -e /proc/net/ip_vs ]; then
	last=$(ipvsadm -S -n | sort -u)
	for i in 1 2 3 4 5 6 7 8 9; do now=$(ipvsadm -S -n | sort -u); [ "$now" != "$last" ] || break; last=$now; done
	echo "$last"
fi`

// volatile matches what changes by itself, with the packets of a test, or for the whole
// machine: counters, timers, states of links, their numbers and hardware addresses, sizes.
// The built-in chains of iptables stay once their rules have been listed, as do the legacy
// tables.
var volatile = regexp.MustCompile(`(?m)^# (Generated|Completed|Warning).*\n|^COMMIT\n|^\*[a-z]+\n|^:[A-Z]+ ACCEPT .*\n|` +
	`\[\d+:\d+\]|counter packets \d+ bytes \d+|^\d+: |link/ether [0-9a-f:]+|<[A-Z_,-]+>|state [A-Z]+| linkdown| expires \w+`)

// Dump is what a node's namespace has, a line for each thing.
type Dump []string

// Dump returns what the namespace has.
func (n *Node) Dump() Dump {
	n.T.Helper()
	var out Dump
	var path []string // the section, and the blocks of nft that a line is in
	for _, line := range strings.Split(volatile.ReplaceAllString(n.Run("sh", "-c", dumpScript), ""), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "# ") {
			path = []string{line[2:]}
			continue
		}
		if line == "" {
			continue
		}
		block := path[0] == "nft" && strings.HasSuffix(line, "{") && len(path) < 3
		if block {
			path = append(path[:len(path):len(path)], strings.TrimSuffix(line, " {"))
		}
		if len(path) < 3 || !ofIPTables.MatchString(path[1]) {
			out = append(out, strings.Join(path, "/")+": "+line)
		}
		if line == "}" {
			path = path[:len(path)-1]
		}
	}
	for _, line := range n.parameters() {
		out = append(out, "parameters: "+line)
	}
	places := make(map[string]string, len(out))
	for _, line := range out {
		places[line] = place(line)
	}
	slices.SortStableFunc(out, func(a, b string) int { return strings.Compare(places[a], places[b]) })
	return out
}

// ofIPTables are tables of iptables-nft: their content is printed by its own programs,
// because nft does not always support it.
var ofIPTables = regexp.MustCompile(`^table ip6? (raw|mangle|nat|filter|security)$`)

// place is what a dump is sorted by. Rules of a chain stay in their order; chains and
// tables are in the one in which they were made.
func place(line string) string {
	section, text, _ := strings.Cut(line, ": ")
	switch {
	case strings.HasPrefix(section, "nft"):
		return section
	case strings.Contains(section, "tables-") && strings.HasPrefix(text, "-A "):
		return section + " -A " + strings.Fields(text)[1]
	}
	return line
}

// without leaves out the kernel parameters that the subject keeps, and those that came
// with a kernel module, because they did not exist before.
func (d Dump) without(before Dump, s *Subject) Dump {
	known := map[string]bool{}
	for _, line := range before {
		known[parameter(line)] = true
	}
	return slices.DeleteFunc(slices.Clone(d), func(line string) bool {
		name := parameter(line)
		_, kept := s.Keeps[name]
		return name != "" && (kept || !known[name])
	})
}

// wantDump compares a node with what it had before.
func (n *Node) wantDump(what string, before Dump, s *Subject) {
	n.T.Helper()
	sameDump(n.T, what, before.without(before, s), n.Dump().without(before, s))
}

// sameDump reports the lines that differ.
func sameDump(t testing.TB, what string, before, after Dump) {
	t.Helper()
	after = after.without(before, &Subject{})
	if slices.Equal(before, after) {
		return
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("%s (-before +after):\n%s", what, diff)
	}
}
