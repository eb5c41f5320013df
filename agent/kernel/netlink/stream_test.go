// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// accept returns a program for all messages, or for none.
func accept(t *testing.T, bytes uint32) []bpf.RawInstruction {
	t.Helper()
	program, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: bytes}})
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func openStream(t *testing.T, s *netnstest.Space, program []bpf.RawInstruction) *Stream {
	t.Helper()
	stream, err := OpenStream(int(s.Handle), unix.NETLINK_ROUTE, program, unix.RTNLGRP_IPV4_IFADDR)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
	})
	return stream
}

// TestStreamIsNotPolled checks that no poller of the process wakes up for a message.
func TestStreamIsNotPolled(t *testing.T) {
	s := netnstest.NewSpace(t)
	polled := func(fd int) bool {
		t.Helper()
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil {
			t.Fatal(err)
		}
		infos, err := filepath.Glob("/proc/self/fdinfo/*")
		if err != nil || len(infos) == 0 {
			t.Fatal("no descriptors", err)
		}
		for _, info := range infos {
			text, err := os.ReadFile(info)
			if err != nil && !errors.Is(err, os.ErrNotExist) { // closed since
				t.Fatal(err)
			}
			if strings.Contains(string(text), "tfd:") && strings.Contains(string(text), fmt.Sprintf(" ino:%x ", stat.Ino)) {
				return true
			}
		}
		return false
	}
	c, err := Open(int(s.Handle), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fd, err := c.copy()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if !polled(fd) {
		t.Error("a Conn is not seen to be polled: this test cannot fail")
	}
	if polled(openStream(t, s, accept(t, 1<<20)).fd) {
		t.Error("a poller has a Stream")
	}
}

// TestStream checks that messages come from the first one on, that a program selects them, and that an error of rest
// and the end of a context end it.
func TestStream(t *testing.T) {
	s := netnstest.NewSpace(t)
	none, all := openStream(t, s, accept(t, 0)), openStream(t, s, accept(t, 1<<20))
	added := 0
	add := func() {
		added++
		s.Run("ip", "address", "add", fmt.Sprintf("10.9.0.%d/32", added), "dev", "lo")
	}
	for range 3 {
		add()
	}
	follow := func(stream *Stream, until int) (messages, rests int) {
		t.Helper()
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		enough := errors.New("enough")
		err := stream.Follow(ctx, time.Millisecond, func(m Message) {
			if m.Type == unix.RTM_NEWADDR {
				messages++
			}
		}, func(dropped uint32) error {
			if rests++; messages < until || dropped != 0 {
				return nil
			}
			return enough
		})
		if !errors.Is(err, enough) {
			t.Fatalf("%d messages: %v", messages, err)
		}
		return messages, rests
	}
	if messages, rests := follow(all, 3); messages != 3 || rests != 1 {
		t.Errorf("%d messages in %d parts, want 3 in one", messages, rests)
	}
	if err := none.Select(accept(t, 1<<20)); err != nil {
		t.Fatal(err)
	}
	add()
	if messages, _ := follow(none, 1); messages != 1 {
		t.Errorf("%d messages, want the one since all are selected", messages)
	}
	ended, end := context.WithCancel(t.Context())
	go end()
	if err := none.Follow(ended, time.Hour, func(Message) {}, func(uint32) error { return nil }); err != nil {
		t.Error(err)
	}
}
