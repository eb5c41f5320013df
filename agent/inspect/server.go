// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/engine"
)

// patience is how long an answer may take: the loop may be in the middle of a large change.
const patience = 30 * time.Second

// socketOf returns the socket in a state folder. Only root can use it: the folder is an agent's own.
func socketOf(stateDir string) string { return filepath.Join(stateDir, "inspect.sock") }

// Serve answers inspections and observations of modes at sockets in a state folder until ctx ends. Without it the agent
// does all else: the error says that nothing can be inspected.
func Serve(ctx context.Context, stateDir string, wanted func(context.Context) (engine.Wanted, error), modes []dataplane.Mode) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		// One at a time: an answer may be large.
		return listen(ctx, socketOf(stateDir), func(conn net.Conn) {
			if err := answer(ctx, conn, wanted); err != nil {
				logr.FromContextOrDiscard(ctx).V(1).Info("An inspection has ended early", "reason", err.Error())
			}
		})
	})
	group.Go(func() error { return serveFlows(ctx, stateDir, followAll(modes)) })
	return group.Wait()
}

// listen calls serve for each connection to a socket until ctx ends.
func listen(ctx context.Context, path string, serve func(net.Conn)) error {
	// The one that is there is of an agent that has ended: the folder is locked.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the socket of an earlier agent: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("listen for inspections: %w", err)
	}
	listener.SetUnlinkOnClose(false) // by then it may be the next agent's
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("keep others from the socket: %w", err), listener.Close())
	}
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return errors.Join(fmt.Errorf("accept: %w", err), listener.Close())
		}
		serve(conn)
	}
}

// answer answers one question, which is the connection itself.
func answer(ctx context.Context, conn net.Conn, wanted func(context.Context) (engine.Wanted, error)) error {
	defer func() { _ = conn.Close() }() // what matters is written
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		return err
	}
	w, err := wanted(ctx)
	return write(conn, w, err)
}

// ask asks the running agent.
func ask(ctx context.Context, stateDir string) (w engine.Wanted, err error) {
	err = asking(ctx, stateDir, func(answer io.Reader) error {
		w, err = read(answer)
		return err
	})
	return w, err
}

// askChanges asks the running agent whether something has changed. The rest of the answer is not read.
func askChanges(ctx context.Context, stateDir string) (changes uint64, err error) {
	err = asking(ctx, stateDir, func(answer io.Reader) error {
		h, err := readHeader(json.NewDecoder(answer))
		changes = h.Changes
		return err
	})
	return changes, err
}

func asking(ctx context.Context, stateDir string, take func(answer io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socketOf(stateDir))
	if err != nil {
		return fmt.Errorf("ask the running agent: %w", err)
	}
	defer func() { _ = conn.Close() }() // only read from
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	return take(conn)
}
