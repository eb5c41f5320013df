// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/kernelnews"
	"github.com/fairlead-proxy/fairlead/agent/internal/newstest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestWatchIsDeafToLargeCommits checks that the kernel makes no news of a large
// commit of ours, and that what others do at that moment is told all the same.
func TestWatchIsDeafToLargeCommits(t *testing.T) {
	s := newSpace(t)
	d, small, large := s.dataplane(), several(3, 2), several(200, 10)
	mustSync(t, d, small)
	news := watch(t, s, d)
	before := d.generation(t)
	stats := mustApply(t, d, model.Diff(small, large))
	if stats.Operations <= loudOperations {
		t.Fatalf("%+v is not large", stats)
	}
	news.Want(t, false)
	if got := d.generation(t); got != before+2 { // with the deletion of a chain
		t.Errorf("generation %d, was %d", got, before)
	}

	if err := d.news.Mute(); err != nil {
		t.Fatal(err)
	}
	s.Run("nft", "add", "table", "ip", "other") // not ours: only the generation tells
	mustApply(t, d, model.Diff(large, small))
	news.Want(t, true)
	mustSync(t, d, small)

	s.Run("nft", "flush", "ruleset")
	news.Want(t, true)
}

// TestNewsOfLargeCommits checks who hears of a large commit.
func TestNewsOfLargeCommits(t *testing.T) {
	s := newSpace(t)
	d, ours := s.dataplane(), 0
	mustSync(t, d, several(3, 10))
	port, err := d.conn.port()
	if err != nil {
		t.Fatal(err)
	}
	sock, err := kernelnews.Subscribe(int(s.Handle), unix.NETLINK_NETFILTER, func(sock *socket.Conn) error { return d.news.Listen(sock, func() {}) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.news.Forget(sock); sock.Close() })
	mustSync(t, d, several(200, 10))
	mustSync(t, d, several(199, 10))
	if err := sock.SetReadDeadline(time.Now().Add(newstest.Quiet)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, receiveSize); ; {
		n, _, _, _, err := sock.Recvmsg(t.Context(), buf, nil, 0)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for m := range messages(buf[:n]) {
			if binary.NativeEndian.Uint32(buf[12:]) == port && m.typ != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN {
				ours++
			}
		}
	}
	if ours != 12 {
		t.Errorf("heard of %d changes, want the 12 of the small commit", ours)
	}
}
