// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// reply is a message of a kernel that answers as a test says.
type reply struct {
	kind  uint16 // 0: one of a dump
	flags uint16
	errno unix.Errno
	early uint32 // it answers a request that was so many before this one
}

// scripted returns a socket, and answers each request with the next packets. The other end
// is a seqpacket socket of AF_UNIX, which ignores the address that a message is sent to.
func scripted(t *testing.T, answers ...[][]reply) *Conn {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	sock, err := socket.New(ends[0], "netlink")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, receiveSize)
		for _, packets := range answers {
			if n, err := unix.Read(ends[1], buf); err != nil || n < HeaderLen {
				return // closed
			}
			seq := binary.NativeEndian.Uint32(buf[8:])
			for _, packet := range packets {
				if _, err := unix.Write(ends[1], encode(packet, seq)); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() {
		if err := sock.Close(); err != nil {
			t.Error(err)
		}
		<-done
		if err := unix.Close(ends[1]); err != nil {
			t.Error(err)
		}
	})
	return &Conn{sock: sock, buf: make([]byte, receiveSize), seq: 100}
}

func encode(packet []reply, seq uint32) []byte {
	var w Buffer
	for _, r := range packet {
		start := w.Begin(int(r.kind), 0, 0)
		binary.NativeEndian.PutUint16(w.B[start+6:], r.flags)
		binary.NativeEndian.PutUint32(w.B[start+8:], seq-r.early)
		binary.NativeEndian.PutUint32(w.B[start+HeaderLen:], uint32(-int32(r.errno)))
		w.End(start)
	}
	return w.B
}

func request(flags int) []byte {
	var w Buffer
	w.End(w.Begin(7, 0, flags))
	return w.B
}

const entry = 9 // the type of what is listed

// TestDumpReplies is what becomes of the replies to a dump.
func TestDumpReplies(t *testing.T) {
	item, changed := reply{kind: entry}, reply{kind: entry, flags: unix.NLM_F_DUMP_INTR}
	old, oldDone := reply{kind: entry, early: 1}, reply{kind: unix.NLMSG_DONE, early: 1}
	done, doneChanged := reply{kind: unix.NLMSG_DONE}, reply{kind: unix.NLMSG_DONE, flags: unix.NLM_F_DUMP_INTR}
	always := make([][][]reply, dumpTries)
	for i := range always {
		always[i] = [][]reply{{changed, done}}
	}
	type answers = [][][]reply
	for name, tc := range map[string]struct {
		answers answers
		want    string // the items of each try
		err     error
	}{
		"nothing":                     {answers{{{done}}}, "[0]", nil},
		"in one packet":               {answers{{{item, item, done}}}, "[2]", nil},
		"in several":                  {answers{{{item, item}, {item}, {done}}}, "[3]", nil},
		"changed in the first packet": {answers{{{changed, item}, {item}, {done}}, {{item, done}}}, "[3 1]", nil},
		"changed at the end":          {answers{{{item}, {item, doneChanged}}, {{item, done}}}, "[2 1]", nil},
		"changed always":              {always, "[1 1 1 1 1 1 1 1 1 1]", unix.EINTR},
		"refused":                     {answers{{{{kind: unix.NLMSG_ERROR, errno: unix.EPERM}}}}, "[0]", unix.EPERM},
		"fails at the end":            {answers{{{item}, {{kind: unix.NLMSG_DONE, errno: unix.ENOMEM}}}}, "[1]", unix.ENOMEM},
		"interrupted, says the end":   {answers{{{item}, {{kind: unix.NLMSG_DONE, errno: unix.EINTR}}}, {{done}}}, "[1 0]", nil},
		"after the rest of another":   {answers{{{old, oldDone}, {item, done}}}, "[1]", nil},
		"after an error of another":   {answers{{{{kind: unix.NLMSG_ERROR, errno: unix.EPERM, early: 3}}, {item, done}}}, "[1]", nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := scripted(t, tc.answers...)
			var got []int
			err := c.Dump(t.Context(), request(unix.NLM_F_DUMP), func() { got = append(got, 0) }, func(m Message) error {
				if m.Type != entry {
					t.Errorf("a message of type %d", m.Type)
				}
				got[len(got)-1]++
				return nil
			})
			if diff := cmp.Diff(tc.want, fmt.Sprint(got)); diff != "" || !errors.Is(err, tc.err) {
				t.Errorf("%v, want %v; items of each try (-want +got):\n%s", err, tc.err, diff)
			}
		})
	}
}

// TestDoReplies is what becomes of the replies to other requests.
func TestDoReplies(t *testing.T) {
	ack, answer := reply{kind: unix.NLMSG_ERROR}, reply{kind: entry}
	refused := func(errno unix.Errno, early uint32) reply {
		return reply{kind: unix.NLMSG_ERROR, errno: errno, early: early}
	}
	for name, tc := range map[string]struct {
		packets [][]reply
		want    int // answers
		err     error
	}{
		"acknowledged":                    {[][]reply{{ack}}, 0, nil},
		"refused":                         {[][]reply{{refused(unix.EEXIST, 0)}}, 0, unix.EEXIST},
		"answered":                        {[][]reply{{answer}}, 1, nil},
		"after a refusal of another":      {[][]reply{{refused(unix.EPERM, 1)}, {ack}}, 0, nil},
		"after one of another, at once":   {[][]reply{{refused(unix.EPERM, 2), refused(unix.EEXIST, 0)}}, 0, unix.EEXIST},
		"after an answer to another":      {[][]reply{{{kind: entry, early: 1}}, {answer}}, 1, nil},
		"after an acknowledgement before": {[][]reply{{{kind: unix.NLMSG_ERROR, early: 1}}, {refused(unix.EPERM, 0)}}, 0, unix.EPERM},
	} {
		t.Run(name, func(t *testing.T) {
			c, got := scripted(t, tc.packets), 0
			err := c.Do(t.Context(), request(unix.NLM_F_ACK), func(Message) bool { got++; return true })
			if !errors.Is(err, tc.err) || got != tc.want {
				t.Errorf("%d answers and %v, want %d and %v", got, err, tc.want, tc.err)
			}
		})
	}
}

// TestListenAfterOverrun checks that notifications that the kernel dropped, because too many
// waited, count as a change.
func TestListenAfterOverrun(t *testing.T) {
	s := netnstest.NewSpace(t)
	c, err := Open(int(s.Handle), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.sock.SetsockoptInt(unix.SOL_SOCKET, unix.SO_RCVBUF, 1), c.Join(unix.RTNLGRP_IPV4_IFADDR)); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		s.Run("ip", "address", "add", fmt.Sprintf("192.0.2.%d/32", i+1), "dev", "lo")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	missed := false
	if err := c.Listen(ctx, func([]byte) bool { return false }, func() { missed = true; cancel() }); err != nil {
		t.Error(err)
	}
	if !missed {
		t.Error("dropped notifications are no change")
	}
}

// TestLargeRequest sends more than the socket's buffer takes at first.
func TestLargeRequest(t *testing.T) {
	c, err := Open(int(netnstest.New(t)), unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var w Buffer
	start := w.Begin(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0)
	w.B = append(w.B, make([]byte, 3*bufferSize)...)
	w.End(start)
	if _, _, err := c.Send(t.Context(), w.B); err != nil {
		t.Error(err)
	}
}

// TestDrainOfOneDump checks that the rest of a cancelled dump ends with its own last message, not with
// one of an earlier request.
func TestDrainOfOneDump(t *testing.T) {
	for name, end := range map[string]reply{
		"the end of another dump": {kind: unix.NLMSG_DONE, early: 1},
		"an error of another":     {kind: unix.NLMSG_ERROR, errno: unix.EPERM, early: 2},
	} {
		t.Run(name, func(t *testing.T) {
			const next = 11
			c := scripted(t, [][]reply{{end}, {{kind: entry}}, {{kind: unix.NLMSG_DONE}}, {{kind: next}}})
			if _, seq, err := c.Send(t.Context(), request(unix.NLM_F_DUMP)); err != nil {
				t.Fatal(err)
			} else {
				c.dumping = seq
			}
			if err := c.drain(t.Context()); err != nil || c.dumping != 0 {
				t.Fatalf("dump %d, %v", c.dumping, err)
			}
			b, err := c.Receive(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for m := range Messages(b) {
				if m.Type != next {
					t.Errorf("a message of type %d is left", m.Type)
				}
			}
		})
	}
}

// TestWithoutPrivilege opens a socket in a thread that may not exceed the system's limits of buffers.
func TestWithoutPrivilege(t *testing.T) {
	type result struct {
		size int
		err  error
	}
	results := make(chan result)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		var r result
		defer func() { results <- r }()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if r.err = unix.Capget(&header, &data[0]); r.err != nil {
			return
		}
		data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if r.err = unix.Capset(&header, &data[0]); r.err != nil {
			return
		}
		c, err := Open(0, unix.NETLINK_ROUTE)
		if err != nil {
			r.err = err
			return
		}
		defer c.Close()
		if err := c.sock.SetsockoptInt(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize); !errors.Is(err, unix.EPERM) {
			r.err = fmt.Errorf("the thread is privileged: %w", err)
			return
		}
		r.size, r.err = c.sock.GetsockoptInt(unix.SOL_SOCKET, unix.SO_RCVBUF)
	}()
	limit, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	if err != nil {
		t.Fatal(err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(limit)))
	if err != nil {
		t.Fatal(err)
	}
	// The kernel counts each byte twice, for its own overhead, see socket(7).
	if r, want := <-results, 2*min(most, bufferSize); r.err != nil || r.size != want {
		t.Errorf("a buffer of %d bytes, want %d, %v", r.size, want, r.err)
	}
}
