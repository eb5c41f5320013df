// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// TestPace checks that news after a long read wait, all together, and that others do
// not.
func TestPace(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Now())
	p := &pace{clock: clk}
	told := 0
	want := func(n int, when string) {
		t.Helper()
		if told != n {
			t.Errorf("%s: told %d times, want %d", when, told, n)
		}
	}
	tell := func() { p.tell(func() { told++ }) }
	tell()
	want(1, "before the first read")
	begun := clk.Now()
	clk.Step(3 * time.Second)
	p.read(begun)
	tell()
	tell()
	want(1, "right after a read of 3 s")
	clk.Step(11 * time.Second)
	tell()
	want(1, "11 s after it")
	clk.Step(time.Second)
	want(2, "12 s after it")
	tell()
	want(3, "later")
	p.read(clk.Now().Add(-time.Second))
	tell()
	p.forget()
	clk.Step(time.Minute)
	want(3, "after the end")
}
