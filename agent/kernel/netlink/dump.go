// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dumpTries is how often an interrupted dump is tried.
const dumpTries = 10

// Retry calls dump until no change interrupts it, at most dumpTries times. dump starts
// from the beginning each time. It may be a dump of package netlink of another module.
func Retry(dump func() error) error {
	var err error
	for range dumpTries {
		if err = dump(); !interrupted(err) {
			return err
		}
	}
	return fmt.Errorf("interrupted by changes %d times in a row: %w", dumpTries, err)
}

// interrupted says whether an error means that a dump may be incomplete, and may be
// complete next time.
func interrupted(err error) bool {
	return errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, nl.ErrDumpInterrupted)
}

// Dump sends a request with the flag NLM_F_DUMP and calls each for the messages of the
// reply as they arrive; they are valid until each returns. If a change interrupts the dump
// it starts again. It calls restart before each try.
func (c *Conn) Dump(ctx context.Context, request []byte, restart func(), each func(Message) error) error {
	return Retry(func() error {
		restart()
		return c.dumpOnce(ctx, request, each)
	})
}

// dumpOnce is one try of Dump. It returns unix.EINTR if it has to be repeated.
func (c *Conn) dumpOnce(ctx context.Context, request []byte, each func(Message) error) error {
	first, _, err := c.Send(ctx, request)
	if err != nil {
		return err
	}
	c.dumping = first
	// Receive the rest of the dump even after an error of each: otherwise it would stay in
	// the socket.
	var failed error
	incomplete := false
	for {
		b, err := c.Receive(ctx)
		if err != nil {
			return err
		}
		for m := range Messages(b) {
			if m.Seq != first {
				continue // left over from a cancelled call
			}
			incomplete = incomplete || m.Flags&unix.NLM_F_DUMP_INTR != 0
			switch {
			case m.Type == unix.NLMSG_ERROR || m.Type == unix.NLMSG_DONE:
				c.dumping = 0
				if err := m.Err(); err != nil {
					return err
				}
				if incomplete {
					return unix.EINTR
				}
				return failed
			case failed == nil:
				failed = each(m)
			}
		}
	}
}

// drain receives the rest of a cancelled dump.
func (c *Conn) drain(ctx context.Context) error {
	for {
		b, err := c.Receive(ctx)
		if err != nil {
			return err
		}
		for m := range Messages(b) {
			if m.Seq == c.dumping && (m.Type == unix.NLMSG_ERROR || m.Type == unix.NLMSG_DONE) {
				c.dumping = 0
				return nil
			}
		}
	}
}
