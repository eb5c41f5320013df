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
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// ownChain matches the chains that kube-proxy makes in the modes iptables and ipvs. Others with
// the prefix KUBE- are kubelet's (KUBE-FIREWALL, KUBE-MARK-DROP, KUBE-KUBELET-CANARY,
// KUBE-IPTABLES-HINT) or of network plugins.
var ownChain = regexp.MustCompile(`^KUBE-(SERVICES|EXTERNAL-SERVICES|NODEPORTS|FORWARD|PROXY-FIREWALL|PROXY-CANARY|MARK-MASQ|POSTROUTING|` +
	`NODE-PORT|LOAD-BALANCER|SOURCE-RANGES-FIREWALL|IPVS-FILTER|IPVS-OUT-FILTER|(SVC|SVL|SEP|EXT|FW)-[A-Z2-7]{16})$`)

// Network plugins may mark packets with the one, for the other to masquerade them.
const (
	markChain       = "KUBE-MARK-MASQ"
	masqueradeChain = "KUBE-POSTROUTING"
)

// lockWait is how many seconds iptables-legacy waits for the lock of its tables.
const lockWait = "5"

// chains are what kube-proxy has in a table of iptables.
type chains struct {
	table   string
	own     []string // the names of its chains
	jumps   []string // to them, in the chains of the kernel, as iptables-save prints them
	plugins bool     // a chain of another program jumps to markChain
}

// removeChains removes kube-proxy's chains of a variant and family of iptables: those of one
// table at once, those of nat last, because they are what is looked for.
func removeChains(ctx context.Context, program string) error {
	var tables []chains
	err := save(ctx, func(out io.Reader) (err error) {
		tables, err = readChains(out)
		return err
	}, program+"-save")
	if err != nil {
		return err
	}
	var script bytes.Buffer
	for _, last := range []bool{false, true} {
		for _, t := range tables {
			if (t.table == "nat") == last {
				t.writeRemoval(&script)
			}
		}
	}
	if script.Len() == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, program+"-restore", "-w", lockWait, "--noflush")
	cmd.Stdin = &script
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s-restore: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return nil
}

// save has read read what a program such as iptables-save prints.
func save(ctx context.Context, read func(io.Reader) error, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	err = read(out)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}

// readChains reads what iptables-save prints of all tables in use.
func readChains(r io.Reader) ([]chains, error) {
	var out []chains
	var t *chains
	var hooked map[string]bool // the chains of the kernel, which have a policy
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 0 || t == nil && words[0][0] != '*':
		case words[0][0] == '*':
			out = append(out, chains{table: words[0][1:]})
			t, hooked = &out[len(out)-1], map[string]bool{}
		case words[0][0] == ':':
			name := words[0][1:]
			hooked[name] = words[1] != "-"
			if ownChain.MatchString(name) {
				t.own = append(t.own, name)
			}
		case words[0] == "-A" && !ownChain.MatchString(words[1]):
			target := jumpsTo(words)
			if hooked[words[1]] && ownChain.MatchString(target) {
				t.jumps = append(t.jumps, lines.Text())
			}
			t.plugins = t.plugins || !hooked[words[1]] && target == markChain
		}
	}
	return out, lines.Err()
}

// jumpsTo returns the chain that a rule jumps to, which is the last word; empty: none.
func jumpsTo(words []string) string {
	if n := len(words); n >= 4 && (words[n-2] == "-j" || words[n-2] == "-g") {
		return words[n-1]
	}
	return ""
}

// writeRemoval writes the input of iptables-restore that removes what kube-proxy has in the
// table. Declared chains are emptied. They are in descending order: iptables-nft inserts each
// into a sorted list, which it searches from the front.
func (t chains) writeRemoval(w *bytes.Buffer) {
	stays := func(name string) bool { return t.plugins && (name == markChain || name == masqueradeChain) }
	own := slices.DeleteFunc(slices.Clone(t.own), stays)
	if len(own) == 0 {
		return
	}
	slices.SortFunc(own, func(a, b string) int { return strings.Compare(b, a) })
	fmt.Fprintf(w, "*%s\n", t.table)
	for _, name := range own {
		fmt.Fprintf(w, ":%s - [0:0]\n", name)
	}
	for _, rule := range t.jumps {
		if !stays(jumpsTo(strings.Fields(rule))) {
			fmt.Fprintf(w, "-D%s\n", strings.TrimPrefix(rule, "-A"))
		}
	}
	for _, name := range own {
		fmt.Fprintf(w, "-X %s\n", name)
	}
	w.WriteString("COMMIT\n")
}
