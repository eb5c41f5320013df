// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Join makes the socket a member of multicast groups, such as unix.RTNLGRP_IPV4_IFADDR. It
// may be called while another goroutine listens.
func (c *Conn) Join(groups ...int) error {
	return c.membership("join", unix.NETLINK_ADD_MEMBERSHIP, groups)
}

// Leave ends the membership.
func (c *Conn) Leave(groups ...int) error {
	return c.membership("leave", unix.NETLINK_DROP_MEMBERSHIP, groups)
}

func (c *Conn) membership(verb string, option int, groups []int) error {
	for _, group := range groups {
		if err := c.sock.SetsockoptInt(unix.SOL_NETLINK, option, group); err != nil {
			return fmt.Errorf("%s netlink group %d: %w", verb, group, err)
		}
	}
	return nil
}

// Listen calls changed for notifications for which concern returns true, and after the
// kernel dropped some. It returns when ctx ends (nil) or on an error.
func (c *Conn) Listen(ctx context.Context, concern func(messages []byte) bool, changed func()) error {
	for {
		b, err := c.Receive(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EMSGSIZE):
			changed() // a notification was dropped
		case err != nil:
			return fmt.Errorf("receive notifications: %w", err)
		case concern(b):
			changed()
		}
	}
}

// Watcher calls changed for notifications until ctx ends, or until an error.
type Watcher func(ctx context.Context, changed func()) error

// Watch runs watchers until ctx ends, or until one of them returns: then all of them end.
func Watch(ctx context.Context, changed func(), watchers ...Watcher) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	errs := make([]error, len(watchers))
	for i, watch := range watchers {
		group.Go(func() {
			defer cancel()
			errs[i] = watch(ctx, changed)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// Groups returns a Watcher for all notifications of multicast groups of a protocol, in a
// network namespace as in Open.
func Groups(netns, protocol int, groups ...int) Watcher {
	return func(ctx context.Context, changed func()) error {
		c, err := Open(netns, protocol)
		if err != nil {
			return err
		}
		err = c.Join(groups...)
		if err == nil {
			err = c.Listen(ctx, func([]byte) bool { return true }, changed)
		}
		return errors.Join(err, c.Close())
	}
}
