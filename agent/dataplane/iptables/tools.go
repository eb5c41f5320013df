// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

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
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// kernel is what a variant of iptables does for us, in either family.
type kernel interface {
	// restore carries out the input of iptables-restore --noflush: each table of it
	// as a whole or not at all.
	restore(ctx context.Context, v6 bool, input io.WriterTo) error

	// try does the same without changing anything.
	try(ctx context.Context, v6 bool, input io.WriterTo) error

	// save calls line for each line of what iptables-save prints of a table, or of
	// all that are in use.
	save(ctx context.Context, v6 bool, table string, line func([]byte)) error

	// generation changes with the changes of others, if the kernel counts them.
	generation(ctx context.Context) (nft.Generation, error)
}

// lockWait is how many seconds iptables-legacy waits for whoever else changes its
// tables (/run/xtables.lock), before it is an error and the agent's loop tries again:
// meanwhile that can do other things. The nft variant has no lock.
const lockWait = "1"

// tools are the programs of a variant.
type tools struct {
	variant string // nft or legacy
	version string // as they say, e.g. "iptables v1.8.9"
	programs
	netns    int
	children *children
	nft      *nft.Client
}

// errNoIPv6 is returned of IPv6 where there is none.
var errNoIPv6 = dataplane.Unsupported(errors.New("this kernel has no IPv6, or there is no program of iptables for it"))

// String returns for example "nft, iptables v1.8.9".
func (t *tools) String() string { return t.variant + ", " + t.version }

// programs are paths, by family.
type programs struct {
	restorers, savers [2]string
}

func index(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

func (t *tools) restore(ctx context.Context, v6 bool, input io.WriterTo) error {
	return t.run(ctx, input, nil, t.restorers[index(v6)], "-w", lockWait, "--noflush")
}

func (t *tools) try(ctx context.Context, v6 bool, input io.WriterTo) error {
	return t.run(ctx, input, nil, t.restorers[index(v6)], "-w", lockWait, "--noflush", "--test")
}

func (t *tools) save(ctx context.Context, v6 bool, table string, line func([]byte)) error {
	var args []string
	if table != allTables {
		if used, err := t.uses(v6, table); err != nil || !used {
			return err
		}
		args = []string{"-t", table}
	}
	return t.run(ctx, nil, line, t.savers[index(v6)], args...)
}

// uses says whether a table is in use. The kernel makes a legacy table for who asks
// for its rules.
func (t *tools) uses(v6 bool, table string) (used bool, err error) {
	if t.variant != variantLegacy {
		return true, nil
	}
	text, err := netFile(t.netns, [2]string{"ip_tables_names", "ip6_tables_names"}[index(v6)])
	return slices.Contains(strings.Fields(text), table), err
}

// netFile returns what a file says about a network namespace; nothing if there is no
// such file.
func netFile(netns int, name string) (string, error) {
	var text []byte
	err := netdev.Do(netns, func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/" + name)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// run runs a program in our network namespace, and waits for its end.
func (t *tools) run(ctx context.Context, input io.WriterTo, line func([]byte), program string, args ...string) error {
	if program == "" {
		return errNoIPv6
	}
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	talk, err := converse(cmd, input, line)
	if err == nil {
		err = netdev.Do(t.netns, func() error { return t.children.start(cmd) })
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(program), err)
	}
	talked := talk()
	// Why it has ended says more than that it did not listen any longer.
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, oneLine(stderr.String()))
	}
	if talked != nil {
		return fmt.Errorf("%s: %w", filepath.Base(program), talked)
	}
	return nil
}

// converse prepares to write a program's input, or else to read its output line by
// line, when it has been started.
func converse(cmd *exec.Cmd, input io.WriterTo, line func([]byte)) (func() error, error) {
	if input == nil {
		stdout, err := cmd.StdoutPipe()
		return func() error { return eachLine(stdout, line) }, err
	}
	stdin, err := cmd.StdinPipe()
	return func() error {
		_, err := input.WriteTo(stdin)
		return errors.Join(err, stdin.Close())
	}, err
}

func eachLine(r io.Reader, line func([]byte)) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line(lines.Bytes())
	}
	return lines.Err()
}

// oneLine shortens what a program says: the rest is advice on its options.
func oneLine(text string) string {
	text, _, _ = strings.Cut(text, "Try `")
	return strings.Join(strings.Fields(text), " ")
}
