// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Names of what kube-proxy adds to the kernel. Other chains with the prefix KUBE- are kubelet's.
const (
	tableName = "kube-proxy" // of the mode nftables

	// servicesChain is in the table nat of iptables, in the modes iptables and ipvs; only ipvs has
	// nodePortChain.
	servicesChain = "KUBE-SERVICES"
	nodePortChain = "KUBE-NODE-PORT"

	// serviceChains is the prefix of the chains of Services in the mode iptables, and localChains of those
	// with a policy Local.
	serviceChains = "KUBE-SVC-"
	localChains   = "KUBE-SVL-"
)

// rules are those of kube-proxy in the kernel.
type rules []leftover

// leftover is a part of them.
type leftover struct {
	name   string
	mode   v1alpha1.KubeProxyMode // that it is of
	family corev1.IPFamily
	serves bool // rules of Services are in it
	remove func(context.Context) error
}

// names returns those of all; nil: there are none.
func (r rules) names() (names []string) {
	for _, l := range r {
		names = append(names, l.name)
	}
	return names
}

// mode returns ipvs if some are of that mode, or that of the last one; empty: there is none.
func (r rules) mode() (mode v1alpha1.KubeProxyMode) {
	for _, l := range r {
		if mode != v1alpha1.KubeProxyIPVS {
			mode = l.mode
		}
	}
	return mode
}

// serve returns the families in which some serve Services in a mode; empty: it is unknown. What a mode
// before has left does not. kube-proxy programs each family on its own, and is healthy after the first one.
func (r rules) serve(mode v1alpha1.KubeProxyMode) (families served) {
	for _, l := range r {
		if l.serves && (mode == "" || l.mode == mode) {
			families.ipv4 = families.ipv4 || l.family == corev1.IPv4Protocol
			families.ipv6 = families.ipv6 || l.family == corev1.IPv6Protocol
		}
	}
	return families
}

func (r *rules) addTable(f family, t *nft.Table, serves bool) {
	*r = append(*r, leftover{"nftables: table " + t.String(), v1alpha1.KubeProxyNFTables, f.addresses, serves,
		func(ctx context.Context) error { return removeTable(ctx, t) }})
}

// addChains adds the chains of a variant of iptables, if some in its table nat are kube-proxy's.
func (r *rules) addChains(f family, variant string, has func(name string) bool) {
	if !has(servicesChain) {
		return
	}
	mode, serves := v1alpha1.KubeProxyIPTables, has(serviceChains)
	if has(nodePortChain) {
		mode, serves = v1alpha1.KubeProxyIPVS, hasVirtualServers(f.addresses)
	}
	*r = append(*r, leftover{fmt.Sprintf("%s (%s): chains KUBE-*", f.program(), variant), mode, f.addresses, serves,
		func(ctx context.Context) error { return removeChains(ctx, f.program()+"-"+variant) }})
}

// families are those of addresses.
var families = []family{{unix.NFPROTO_IPV4, "ip", corev1.IPv4Protocol}, {unix.NFPROTO_IPV6, "ip6", corev1.IPv6Protocol}}

type family struct {
	number    byte
	name      string
	addresses corev1.IPFamily
}

// program is the name of the program for its rules.
func (f family) program() string { return f.name + "tables" }

// tableNames is the file in /proc/net with the legacy tables in use.
func (f family) tableNames() string { return f.name + "_tables_names" }

// readRules looks for rules of kube-proxy. After an error it returns those that it has found.
func readRules(ctx context.Context) (found rules, err error) {
	errs := []error{found.readNFT(ctx)}
	for _, f := range families {
		used, err := legacyTables(f.tableNames())
		if err == nil && slices.Contains(used, "nat") {
			var chains map[string]bool
			chains, err = legacyChains(ctx, f.program()+"-legacy-save")
			found.addChains(f, "legacy", func(name string) bool { return chains[name] })
		}
		errs = append(errs, err)
	}
	return found, errors.Join(errs...)
}

// readNFT looks into nftables, which the nft variant of iptables uses, too.
func (r *rules) readNFT(ctx context.Context) error {
	client, err := nft.Dial(0)
	if err != nil && nft.IsUnsupported(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read nftables: %w", err)
	}
	defer client.Close()
	var errs []error
	for _, f := range families {
		own := &nft.Table{Family: f.number, Name: tableName}
		exists, _, err := nft.ReadTable(ctx, client, own)
		if exists && err == nil {
			var chains []string
			chains, err = nft.ReadChainNames(ctx, client, own)
			r.addTable(f, own, slices.Contains(chains, "services"))
		}
		chains, alsoErr := nft.ReadChainNames(ctx, client, &nft.Table{Family: f.number, Name: "nat"})
		if alsoErr == nil {
			found := map[string]bool{}
			for _, name := range chains {
				found[known(name)] = true
			}
			r.addChains(f, "nft", func(name string) bool { return found[name] })
		}
		if err := errors.Join(err, alsoErr); err != nil && !nft.IsUnsupported(err) {
			errs = append(errs, fmt.Errorf("read nftables: %w", err))
		}
	}
	return errors.Join(errs...)
}

// legacyTables returns the legacy tables that are in use. To list another one would add it.
func legacyTables(file string) ([]string, error) {
	text, err := os.ReadFile("/proc/thread-self/net/" + file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}

// legacyChains returns the chains of kube-proxy's names in the table nat. Programs that the node
// does not have find none.
func legacyChains(ctx context.Context, program string) (found map[string]bool, err error) {
	if _, err := exec.LookPath(program); err != nil {
		return nil, nil //nolint:nilerr // without the program there is no way to look
	}
	err = save(ctx, func(out io.Reader) (err error) {
		found, err = chainNames(out)
		return err
	}, program, "-t", "nat")
	return found, err
}

// chainNames returns which of kube-proxy's chains a table declares.
func chainNames(r io.Reader) (map[string]bool, error) {
	found := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), " ")
		if name, declared := strings.CutPrefix(name, ":"); declared && known(name) != "" {
			found[known(name)] = true
		}
	}
	return found, lines.Err()
}

// known returns by what a chain shows that kube-proxy runs in some mode; empty: it does not.
func known(name string) string {
	switch {
	case name == servicesChain, name == nodePortChain:
		return name
	case strings.HasPrefix(name, serviceChains), strings.HasPrefix(name, localChains):
		return serviceChains
	}
	return ""
}

// hasVirtualServers says whether IPVS has any in a family, of any program.
func hasVirtualServers(family corev1.IPFamily) bool {
	text, err := os.ReadFile("/proc/thread-self/net/ip_vs")
	return err == nil && lists(string(text), family)
}

// lists says whether a list of the kernel has a virtual server with an address of a family: those of IPv6 are in brackets.
func lists(text string, family corev1.IPFamily) bool {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !slices.Contains([]string{"TCP", "UDP", "SCTP"}, fields[0]) {
			continue
		}
		if strings.HasPrefix(fields[1], "[") == (family == corev1.IPv6Protocol) {
			return true
		}
	}
	return false
}
