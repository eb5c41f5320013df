// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nft is a client for nftables in the kernel, over netlink and without the nft
// program. It knows tables, chains, rules, sets and elements, and nothing about Services.
//
// A table is described without the kernel:
//
//	t := nft.NewTable(unix.NFPROTO_IPV4, "mine", "a comment", false)
//	ips := t.NewSet(nft.SetSpec{Name: "ips", Key: []nft.Field{t.DestinationField()}})
//	out := t.NewChain("output", &nft.Hook{Number: unix.NF_INET_LOCAL_OUT, Priority: -100},
//		t.NewRule("why", t.Destination(0), nft.In(ips, 0), nft.Drop()))
//
// A Batch collects changes, which take effect together or not at all:
//
//	b := nft.NewBatch()
//	b.AddTable(t)
//	b.AddSet(ips)
//	b.AddChain(out) // with its rules
//	b.Add(ips).Key(key) // an element; b.Delete(ips).Key(key) deletes it
//	err := client.Commit(ctx, b) // names the object that the kernel refuses
//
// The Read functions return what the kernel holds of a table; HeldSet.Is, HeldChain.Is and
// RulesEqual compare that with a description. ReadElements streams the elements of a set.
// Tests may implement Reader without a Client.
//
// Client.Generation says whether others have changed the ruleset since it was read, so
// that it need not be read again. Client.Watch calls back when they do. Notifications of
// large commits of the client are not received, see Client.Quietly.
//
// Expressions work on registers of 4 bytes, numbered from 0. A field of a key takes as
// many whole registers as it needs.
package nft

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// Client changes and reads the ruleset of a network namespace. One goroutine at a time
// uses it, except for Watch and Watched.
type Client struct {
	netns int
	conn  *netlink.Conn

	commits uint32 // successful ones of this client

	mu       sync.Mutex
	quiet    int           // calls of Quietly in progress
	listener *netlink.Conn // of Watch; nil: not watched
	changed  func()
}

// Dial returns a Client for a network namespace: a file descriptor, which the caller keeps
// open, or 0 for that of the calling thread.
func Dial(netns int) (*Client, error) {
	conn, err := netlink.Open(netns, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	return &Client{netns: netns, conn: conn}, nil
}

// Close closes the socket.
func (c *Client) Close() error { return c.conn.Close() }

// Sent returns how many messages the client has sent, modulo 2^32.
func (c *Client) Sent() uint32 { return c.conn.Sent() }

// Dump implements Reader.
func (c *Client) Dump(ctx context.Context, msgType int, family byte, filter []byte, restart func(), each func(attrs []byte) error) error {
	var w netlink.Buffer
	start := begin(&w, msgType, family, unix.NLM_F_DUMP)
	w.B = append(w.B, filter...)
	w.End(start)
	return c.conn.Dump(ctx, w.B, restart, func(m netlink.Message) error {
		if attrs, ok := m.Attrs(); ok {
			return each(attrs)
		}
		return nil
	})
}

// Aside calls read with a Reader that has a socket of its own: a dump is given up with it.
// On the client's socket the next call would first receive the rest.
func (c *Client) Aside(read func(Reader) error) error {
	aside, err := Dial(c.netns)
	if err != nil {
		return err
	}
	return errors.Join(read(aside), aside.Close())
}

// Commit sends a batch, which the kernel applies as a whole or not at all. It removes the
// messages from the batch. An error names the objects that the kernel rejects.
func (c *Client) Commit(ctx context.Context, b *Batch) error {
	_, err := c.CommitEach(ctx, []*Batch{b})
	return err
}

// CommitEach commits one batch after the other, up to the first error. It returns the
// operations of those that were committed.
func (c *Client) CommitEach(ctx context.Context, batches []*Batch) (operations int, err error) {
	planned := 0
	for _, b := range batches {
		planned += b.Operations()
	}
	err = c.quietly(ctx, planned, func() error {
		for _, b := range batches {
			if err := c.commit(ctx, b); err != nil {
				return err
			}
			c.commits++
			operations += b.Operations()
		}
		return nil
	})
	return operations, err
}

func (c *Client) commit(ctx context.Context, b *Batch) error {
	out, labels := b.Encode()
	first, last, err := c.conn.Send(ctx, out)
	if err != nil {
		return err
	}
	// The kernel has finished when Send returns. It acknowledges the last message before
	// the end, and otherwise sends only errors. An error for the first message of the
	// batch is about the commit as a whole.
	acked := last - 1
	var errs []error
	for {
		buf, err := c.conn.Receive(ctx)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for m := range netlink.Messages(buf) {
			if m.Type != unix.NLMSG_ERROR || m.Seq < first || m.Seq > last {
				continue
			}
			if err := m.Err(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", labels[m.Seq-first], err))
			}
			if m.Seq == acked || m.Seq == first {
				return errors.Join(errs...)
			}
		}
	}
}

// DeleteTable deletes a table with everything in it, if it exists.
func (c *Client) DeleteTable(ctx context.Context, t *Table) error {
	b := NewBatch()
	b.DeleteTable(t)
	err := c.Commit(ctx, b)
	if errors.Is(err, unix.ENOENT) || IsNoFamily(err) { // it does not exist
		return nil
	}
	return err
}

// IsNoFamily says whether an error means that the kernel does not support the address
// family.
func IsNoFamily(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}

// IsUnsupported says whether an error means that the kernel does not support nftables, or not
// the address family.
func IsUnsupported(err error) bool {
	return IsNoFamily(err) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL)
}
