// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// build returns attributes.
func build(f func(w *Buffer)) []byte {
	var w Buffer
	f(&w)
	return w.B
}

func TestMessages(t *testing.T) {
	var w Buffer
	first := w.Begin(7, unix.AF_INET, unix.NLM_F_DUMP)
	w.Text(1, "odd")
	nest := w.Nest(2)
	w.Number(3, 77)
	w.EndNest(nest)
	w.End(first)
	w.End(w.BeginResource(8, 0, 0, 0x0102))
	var got []string
	for m := range Messages(append(w.B, 0xff)) {
		attrs, ok := m.Attrs()
		got = append(got, fmt.Sprintf("%d %x %x %v", m.Type, m.Flags, m.Data[:4], ok))
		for typ, data := range Attrs(attrs) {
			got = append(got, fmt.Sprint(typ.Number(), typ.Nested(), len(data)))
		}
	}
	want := []string{
		fmt.Sprintf("7 %x 02000000 true", unix.NLM_F_DUMP|unix.NLM_F_REQUEST), "1 false 4", "2 true 8",
		fmt.Sprintf("8 %x 00000102 true", unix.NLM_F_REQUEST),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCovers(t *testing.T) {
	sent := build(func(w *Buffer) {
		w.Text(1, "a")
		n := w.Nest(2)
		w.Number(1, 5)
		w.EndNest(n)
		w.Number(3, 1)
		w.Number(3, 2)
	})
	dump := func(five, first, second uint32) []byte {
		return build(func(w *Buffer) {
			w.Number(9, 1) // an attribute that only the kernel sends
			w.Text(1, "a")
			n := w.Nest(2)
			w.Number(1, five)
			w.Number(2, 6)
			w.EndNest(n)
			w.Number(3, first)
			w.Number(3, second)
		})
	}
	for name, c := range map[string]struct {
		dumped []byte
		want   bool
	}{
		"the same and more":    {dump(5, 1, 2), true},
		"another nested value": {dump(6, 1, 2), false},
		"another order":        {dump(5, 2, 1), false},
		"nothing":              {nil, false},
	} {
		if got := Covers(c.dumped, sent); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestErr(t *testing.T) {
	code := func(errno unix.Errno) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno))) }
	text := append(append(code(unix.EPERM), make([]byte, HeaderLen)...), build(func(w *Buffer) { w.Text(unix.NLMSGERR_ATTR_MSG, "not you") })...)
	for name, c := range map[string]struct {
		m    Message
		is   error
		want string
	}{
		"success":      {Message{Data: code(0)}, nil, "<nil>"},
		"too short":    {Message{Data: []byte{1}}, nil, "<nil>"},
		"an error":     {Message{Data: code(unix.ENOENT)}, unix.ENOENT, unix.ENOENT.Error()},
		"with text":    {Message{Data: text, Flags: unix.NLM_F_ACK_TLVS}, unix.EPERM, unix.EPERM.Error() + " (not you)"},
		"without text": {Message{Data: text}, unix.EPERM, unix.EPERM.Error()},
	} {
		if err := c.m.Err(); !errors.Is(err, c.is) || fmt.Sprint(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRetry(t *testing.T) {
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		errs  []error // of each try, the last one of all that follow
		tries int
		want  error
	}{
		"at once":            {[]error{nil}, 1, nil},
		"an error":           {[]error{refused}, 1, refused},
		"interrupted once":   {[]error{unix.EINTR, nil}, 2, nil},
		"of the library":     {[]error{nl.ErrDumpInterrupted, nil}, 2, nil},
		"overrun":            {[]error{fmt.Errorf("receive: %w", unix.ENOBUFS), refused}, 2, refused},
		"interrupted always": {[]error{unix.EINTR}, dumpTries, unix.EINTR},
	} {
		tries := 0
		err := Retry(func() error {
			tries++
			return c.errs[min(tries, len(c.errs))-1]
		})
		if !errors.Is(err, c.want) || tries != c.tries {
			t.Errorf("%s: %v after %d tries", name, err, tries)
		}
	}
}

// TestDumpAfterCancel checks that a socket can be used after a cancelled dump, of which a
// part is left in the kernel.
func TestDumpAfterCancel(t *testing.T) {
	const chains = 2000
	s := netnstest.NewSpace(t)
	script := "add table ip t\n"
	for i := range chains {
		script += fmt.Sprintf("add chain ip t c%d\n", i)
	}
	if out, err := s.Try(script, "nft", "-f", "-"); err != nil {
		t.Fatal(err, out)
	}
	c, err := Open(int(s.Handle), unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dump := func(ctx context.Context, each func()) (n int, err error) {
		var w Buffer
		w.End(w.Begin(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NFPROTO_IPV4, unix.NLM_F_DUMP))
		err = c.Dump(ctx, w.B, func() { n = 0 }, func(Message) error { n++; each(); return nil })
		return n, err
	}
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		if n, err := dump(ctx, cancel); !errors.Is(err, context.Canceled) || n == chains {
			t.Fatalf("cancelled: %d chains, %v", n, err)
		}
		if n, err := dump(t.Context(), func() {}); err != nil || n != chains {
			t.Fatalf("after that: %d chains, %v", n, err)
		}
	}
	refused := errors.New("refused")
	var w Buffer
	w.End(w.Begin(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NFPROTO_IPV4, unix.NLM_F_DUMP))
	if err := c.Dump(t.Context(), w.B, func() {}, func(Message) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("an error of each: %v", err)
	}
	if n, err := dump(t.Context(), func() {}); err != nil || n != chains {
		t.Fatalf("after an error of each: %d chains, %v", n, err)
	}
}

// TestWatch checks that all watchers end with the first one, and that its error is
// returned.
func TestWatch(t *testing.T) {
	failed := errors.New("failed")
	until := func(ctx context.Context, _ func()) error { <-ctx.Done(); return nil }
	fails := func(context.Context, func()) error { return failed }
	if err := Watch(t.Context(), func() {}, until, fails, until); !errors.Is(err, failed) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Watch(ctx, func() {}, until, until); err != nil {
		t.Error(err)
	}
	if _, err := Open(0, 9999); err == nil || !strings.HasPrefix(err.Error(), "open a netlink socket") {
		t.Error(err)
	}
}

// A call that is cancelled at any moment, also when it returns, leaves a socket that can
// be used.
func TestUsableAfterCancel(t *testing.T) {
	c, err := Open(int(netnstest.New(t)), unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(ctx context.Context) error {
		var w Buffer
		w.End(w.Begin(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0))
		return c.Do(ctx, w.B, func(Message) bool { return true })
	}
	for i := range 1000 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range i % 50 {
				runtime.Gosched()
			}
			cancel()
		}()
		_ = ask(ctx)
		<-done
		if err := ask(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
