// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package lab

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// load opens one connection after the other to each address of the Service: from outside, and from the node itself over IPv4.
// Over IPv6 those of the node may end when IPVS is cleaned up (docs/semantics.md). None may fail.
type load struct {
	m     *machine
	t     *testing.T
	stop  context.CancelFunc
	loops sync.WaitGroup

	mu      sync.Mutex
	since   time.Time
	opened  int // since then
	total   int // before
	slowest time.Duration
}

const (
	// loadPause is between two connections of a loop: an emulated processor has much else to do.
	loadPause = 200 * time.Millisecond
	// loadFile ends the loop on the node.
	loadFile = "/stop"
)

// nodeLoad opens connections until the file is there, and prints their number. None of its programs is started for each one.
const nodeLoad = `opened=0
exec 9<> <(:) # to wait for nothing, without a program
while [[ ! -e ` + loadFile + ` ]]; do
  { echo new >&3 && read -r -t 60 line <&3; } 3<>/dev/tcp/%s/9000 || echo "failed at $(date +%%T)"
  opened=$((opened + 1))
  read -r -t 0.2 -u 9
done
echo "opened $opened"`

func (m *machine) startLoad(ips []string) *load {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{m: m, t: m.t, stop: cancel, since: time.Now()}
	m.inNode("rm -f " + loadFile)
	for _, ip := range ips {
		l.loops.Go(func() { l.connect(ctx, net.JoinHostPort(ip, "9000")) })
	}
	l.loops.Go(func() { l.connectInNode(ips[0]) })
	m.t.Cleanup(l.wait)
	return l
}

func (l *load) connect(ctx context.Context, address string) {
	for ctx.Err() == nil {
		began := time.Now()
		c, err := l.m.dial(address)
		if err == nil {
			err = c.say("new")
			c.Close()
		}
		if err != nil {
			l.t.Errorf("a connection to %s, begun at %s: %v", address, began.Format(time.TimeOnly), err)
		}
		l.count(time.Since(began))
		select {
		case <-ctx.Done():
		case <-time.After(loadPause):
		}
	}
}

// connectInNode returns when the file is there.
func (l *load) connectInNode(ip string) {
	out, err := l.m.run("exec", "control", "--", "kubectl", "exec", "node", "--", "bash", "-c", fmt.Sprintf(nodeLoad, ip))
	failed, opened, _ := strings.Cut(out, "opened ")
	n, convErr := strconv.Atoi(strings.TrimSpace(opened))
	if err != nil || convErr != nil || failed != "" {
		l.t.Errorf("connections of the node: %v:\n%s", err, out)
	}
	l.t.Logf("%d connections of the node itself", n)
	if n == 0 {
		l.t.Error("the node has opened no connection")
	}
}

func (l *load) count(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened++
	l.slowest = max(l.slowest, took)
}

// report logs the connections from outside since the last report.
func (l *load) report(when string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := time.Since(l.since)
	l.t.Logf("%s: %d connections from outside in %s, %.1f a second, the slowest took %s", when, l.opened, took.Round(time.Second),
		float64(l.opened)/took.Seconds(), l.slowest.Round(time.Millisecond))
	// Between the last report and the end there may be no time for one.
	if l.total += l.opened; l.opened == 0 && (l.stop != nil || l.total == 0) {
		l.t.Errorf("%s: no connection", when)
	}
	l.since, l.opened, l.slowest = time.Now(), 0, 0
}

// end ends the load, and reports the rest of it, and how many connections the node has opened.
func (l *load) end(when string) {
	l.wait()
	l.report(when)
}

func (l *load) wait() {
	if l.stop == nil {
		return
	}
	l.stop()
	l.stop = nil
	if out, err := l.m.run("exec", "control", "--", "kubectl", "exec", "node", "--", "touch", loadFile); err != nil {
		l.t.Errorf("end the connections of the node: %v: %s", err, out)
	}
	l.loops.Wait()
}
