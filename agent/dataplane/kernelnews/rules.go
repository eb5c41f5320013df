// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernelnews

import (
	"fmt"
	"sync"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"
)

// Rules hears of changes of the ruleset of nftables, except while a large commit of
// ours is under way: while anybody in the namespace listens, the kernel keeps a page
// and more of memory for each changed object until the commit has ended.
type Rules struct {
	mu      sync.Mutex
	muted   bool
	sock    *socket.Conn // nil: nobody watches
	changed func()
}

// Listen makes a socket hear of changes.
func (r *Rules) Listen(sock *socket.Conn, changed func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sock, r.changed = sock, changed
	if r.muted {
		return nil
	}
	err := r.join(unix.NETLINK_ADD_MEMBERSHIP)
	if err != nil {
		r.sock, r.changed = nil, nil
	}
	return err
}

// Forget ends that, before the socket is closed.
func (r *Rules) Forget(sock *socket.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sock == sock {
		r.sock, r.changed = nil, nil
	}
}

// Mute stops listening until Unmute.
func (r *Rules) Mute() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.muted = true
	return r.join(unix.NETLINK_DROP_MEMBERSHIP)
}

// Unmute listens again. Whoever calls it finds out by the ruleset's generation
// what was missed, and calls Missed then.
func (r *Rules) Unmute() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.muted = false
	return r.join(unix.NETLINK_ADD_MEMBERSHIP)
}

// Missed tells Watch's caller that others have changed something meanwhile.
func (r *Rules) Missed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed != nil {
		r.changed()
	}
}

// Watched says whether anybody listens.
func (r *Rules) Watched() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sock != nil
}

// join changes the membership of the socket, if there is one.
func (r *Rules) join(option int) error {
	if r.sock == nil {
		return nil
	}
	if err := r.sock.SetsockoptInt(unix.SOL_NETLINK, option, unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("listening to nftables: %w", err)
	}
	return nil
}
