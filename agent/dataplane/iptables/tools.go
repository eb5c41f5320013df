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

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// kernel is the interface to a variant of iptables, for both families.
type kernel interface {
	// restore runs iptables-restore --noflush with an input: each table of it is changed
	// atomically.
	restore(ctx context.Context, v6 bool, input io.WriterTo) error

	// try is restore with --test: it changes nothing.
	try(ctx context.Context, v6 bool, input io.WriterTo) error

	// save calls line for each line that iptables-save prints of a table, or of all tables
	// that are in use.
	save(ctx context.Context, v6 bool, table string, line func([]byte)) error

	// commits says whether a changed table is a commit to nftables.
	commits() bool

	// generation changes with changes by others, if the kernel counts them.
	generation(ctx context.Context) (nft.Generation, error)
}

// lockWait is how many seconds iptables-legacy waits for the lock (/run/xtables.lock).
// After that it fails, and the agent's loop does other work before it tries again. The nft
// variant has no lock.
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

// errNoIPv6 is returned for IPv6 if it is unsupported.
var errNoIPv6 = dataplane.Unsupported(errors.New("the kernel does not support IPv6, or there is no ip6tables"))

// String returns for example "nft, iptables v1.8.9".
func (t *tools) String() string { return t.variant + ", " + t.version }

// programs are the paths of a program by family.
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

// uses says whether a table is in use. Listing a legacy table would add it.
func (t *tools) uses(v6 bool, table string) (used bool, err error) {
	if t.variant != variantLegacy {
		return true, nil
	}
	text, err := netFile(t.netns, [2]string{"ip_tables_names", "ip6_tables_names"}[index(v6)])
	return slices.Contains(strings.Fields(text), table), err
}

// netFile returns the content of a file of a network namespace; empty if there is no such
// file.
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

// run runs a program in our network namespace, and waits for it.
func (t *tools) run(ctx context.Context, input io.WriterTo, line func([]byte), program string, args ...string) error {
	if program == "" {
		return errNoIPv6
	}
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	talk, err := t.converse(cmd, input, line)
	if file, ok := cmd.Stdin.(*os.File); ok {
		defer func() { _ = file.Close() }()
	}
	if err == nil {
		err = netdev.Do(t.netns, func() error { return t.children.start(cmd) })
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(program), err)
	}
	talked := talk()
	if err := cmd.Wait(); err != nil {
		if errors.Is(talked, unix.EPIPE) {
			talked = nil // it has ended before it has read everything, which its exit status explains
		}
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), errors.Join(err, talked), oneLine(stderr.String()))
	}
	if talked != nil {
		return fmt.Errorf("%s: %w", filepath.Base(program), talked)
	}
	if said := stderr.String(); strings.Contains(said, wrongRevision) {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), errWrongRevision, oneLine(said))
	}
	return nil
}

// errWrongRevision is returned if a program has written rules that the kernel may take for
// others: when it cannot ask which revision of an extension the kernel has, it warns,
// takes any, and succeeds. An address to translate to then becomes another one.
var errWrongRevision = errors.New("the rules may be wrong")

// wrongRevision is a part of that warning.
const wrongRevision = "revision 0 not supported"

// refused says whether a program has ended by itself with an error. One that was killed may
// have done its work before.
func refused(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Exited()
}

// converse returns a function that writes a started program's input, or else reads its
// output line by line.
func (t *tools) converse(cmd *exec.Cmd, input io.WriterTo, line func([]byte)) (func() error, error) {
	if input == nil {
		stdout, err := cmd.StdoutPipe()
		return func() error { return eachLine(stdout, line) }, err
	}
	if t.variant == variantLegacy {
		file, err := memoryFile(input)
		if err == nil {
			cmd.Stdin = file
		}
		return func() error { return nil }, err
	}
	stdin, err := cmd.StdinPipe()
	return func() error {
		_, err := input.WriteTo(stdin)
		return errors.Join(err, stdin.Close())
	}, err
}

// memoryFile returns a file with the whole input of iptables-legacy-restore. That sets an alarm to wait
// for the lock (-w) and never clears it: a second later it interrupts a read of a pipe that is empty
// at that moment, which the program takes for the end of its input ("COMMIT expected"). The read
// of a file waits for nothing.
func memoryFile(input io.WriterTo) (*os.File, error) {
	const name = "iptables-restore"
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err = input.WriteTo(file); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func eachLine(r io.Reader, line func([]byte)) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line(lines.Bytes())
	}
	return lines.Err()
}

// oneLine shortens the output of a program: the rest is a hint about its options.
func oneLine(text string) string {
	text, _, _ = strings.Cut(text, "Try `")
	return strings.Join(strings.Fields(text), " ")
}
