// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"bufio"
	"bytes"
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
)

// rules are those of kube-proxy in the kernel.
type rules struct {
	names []string
	mode  v1alpha1.KubeProxyMode // that they are of
}

func (r *rules) add(mode v1alpha1.KubeProxyMode, format string, args ...any) {
	r.names, r.mode = append(r.names, fmt.Sprintf(format, args...)), mode
}

// addChains adds the chains of the table nat of a variant of iptables, if some are kube-proxy's.
func (r *rules) addChains(program string, has func(name string) bool) {
	if !has(servicesChain) {
		return
	}
	mode := v1alpha1.KubeProxyIPTables
	if has(nodePortChain) {
		mode = v1alpha1.KubeProxyIPVS
	}
	r.add(mode, "%s: chains KUBE-*", program)
}

// families are those of addresses.
var families = []family{{unix.NFPROTO_IPV4, "ip"}, {unix.NFPROTO_IPV6, "ip6"}}

type family struct {
	number byte
	name   string
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
			found.addChains(f.program()+" (legacy)", func(name string) bool { return chains[name] })
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
			r.add(v1alpha1.KubeProxyNFTables, "nftables: table %s", own)
		}
		chains, alsoErr := nft.ReadChainNames(ctx, client, &nft.Table{Family: f.number, Name: "nat"})
		if alsoErr == nil {
			r.addChains(f.program()+" (nft)", func(name string) bool { return slices.Contains(chains, name) })
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
func legacyChains(ctx context.Context, program string) (map[string]bool, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, nil //nolint:nilerr // without the program there is no way to look
	}
	cmd := exec.CommandContext(ctx, path, "-t", "nat")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	found, err := chainNames(out)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return found, fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(stderr.String()))
	}
	return found, nil
}

// chainNames returns which of kube-proxy's chains a table declares.
func chainNames(r io.Reader) (map[string]bool, error) {
	found := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), " ")
		if name, declared := strings.CutPrefix(name, ":"); declared && (name == servicesChain || name == nodePortChain) {
			found[name] = true
		}
	}
	return found, lines.Err()
}
