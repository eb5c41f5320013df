// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"sync"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"
)

// loudOperations is how many operations a commit may have that we listen to. While
// anybody in the namespace listens, the kernel keeps a page and more of memory for
// each changed element until the commit has ended: to program 10,000 Services with
// node ports then takes 4 GB, and five times as long.
const loudOperations = 1000

// news is where Watch hears of changes of the ruleset, except while a large commit
// of ours is under way.
type news struct {
	mu      sync.Mutex
	muted   bool
	sock    *socket.Conn // nil: nobody watches
	changed func()
}

// listen makes a socket hear of changes.
func (n *news) listen(sock *socket.Conn, changed func()) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sock, n.changed = sock, changed
	if n.muted {
		return nil
	}
	err := n.join(unix.NETLINK_ADD_MEMBERSHIP)
	if err != nil {
		n.sock, n.changed = nil, nil
	}
	return err
}

// forget ends that, before the socket is closed.
func (n *news) forget(sock *socket.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sock == sock {
		n.sock, n.changed = nil, nil
	}
}

// mute stops listening until unmute.
func (n *news) mute() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.muted = true
	return n.join(unix.NETLINK_DROP_MEMBERSHIP)
}

// unmute listens again. Whoever calls it finds out by the ruleset's generation
// what was missed, and calls missed then.
func (n *news) unmute() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.muted = false
	return n.join(unix.NETLINK_ADD_MEMBERSHIP)
}

// missed tells Watch's caller that others have changed something meanwhile.
func (n *news) missed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changed != nil {
		n.changed()
	}
}

// join changes the membership of the socket, if there is one.
func (n *news) join(option int) error {
	if n.sock == nil {
		return nil
	}
	if err := n.sock.SetsockoptInt(unix.SOL_NETLINK, option, unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("listening to nftables: %w", err)
	}
	return nil
}
