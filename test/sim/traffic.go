// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// What a client may do in a second of the bubble's time. All changes of a second take less than a
// hundred requests. Two leaders, which there can be for a moment, undo each other's writes: if
// requests never took time, the bubble's time would stand still and none of them would end.
const (
	fastRequests = 200 // take no time
	slowWrite    = 10 * time.Millisecond
	maxRequests  = 5000
)

// maxUnrenewed is how long a leader may work that cannot renew the Lease: before another one leads,
// 15 s after it was renewed.
const maxUnrenewed = 13 * time.Second

// maxShown is how many kinds of requests a message has, the most frequent ones.
const maxShown = 12

// traffic counts the requests of each client in a part of a step, which is a second at most.
type traffic struct {
	fail func(string, ...any)

	mu      sync.Mutex
	clients map[string]int
	kinds   map[string]int // by client, method and path
	jammed  bool           // writes are refused, so that time goes on and the run ends

	start   time.Time
	led     map[string]time.Time // when a client has last written the Lease
	holder  string               // the one that has written it last
	holders []string             // so far, for a message
}

func newTraffic(fail func(string, ...any)) *traffic {
	return &traffic{fail: fail, clients: map[string]int{}, kinds: map[string]int{}, led: map[string]time.Time{}, start: time.Now()}
}

// leads notes which client has written the Lease.
func (t *traffic) leads(client string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.led[client] = time.Now()
	if client == t.holder {
		return
	}
	t.holder, t.holders = client, append(t.holders, fmt.Sprintf("%s since %s", client, time.Since(t.start)))
	t.holders = t.holders[max(0, len(t.holders)-maxShown):]
}

// begin begins a part of a step.
func (t *traffic) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.clients)
	clear(t.kinds)
}

// admit counts a request, and says how long it takes and whether it is refused then.
func (t *traffic) admit(client, method, path string) (pause time.Duration, refused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clients[client]++
	t.kinds[client+" "+method+" "+path]++
	if t.clients[client] > maxRequests && !t.jammed {
		t.jammed = true
		t.fail("%s has made %d requests within a second. The most frequent ones:\n\t%s\n%s",
			client, t.clients[client], strings.Join(t.most(), "\n\t"), t.leaders())
	}
	if method == http.MethodGet {
		return 0, false
	}
	if strings.HasPrefix(client, replicaName) && !strings.Contains(path, leases) && time.Since(t.led[client]) > maxUnrenewed {
		t.fail("%s works on without the Lease: %s %s. %s", client, method, path, t.leaders())
	}
	if t.clients[client] > fastRequests {
		pause = slowWrite
	}
	return pause, t.jammed
}

func (t *traffic) leaders() string {
	return fmt.Sprintf("The Lease was written by %s; it is %s now", strings.Join(t.holders, ", then "), time.Since(t.start))
}

// most returns the most frequent requests.
func (t *traffic) most() (out []string) {
	kinds := slices.SortedFunc(maps.Keys(t.kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.kinds[b], t.kinds[a]), strings.Compare(a, b))
	})
	for _, kind := range kinds[:min(maxShown, len(kinds))] {
		out = append(out, fmt.Sprintf("%d %s", t.kinds[kind], kind))
	}
	return out
}
