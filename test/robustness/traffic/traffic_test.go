// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package traffic_test

import (
	"context"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/lab/echo"
	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

// TestTraffic asks an echo server on the loopback, also after it has ended.
func TestTraffic(t *testing.T) {
	address := freePort(t)
	ctx, end := context.WithCancel(t.Context())
	server := make(chan error, 1)
	go func() {
		server <- echo.Server{Name: "a", TCP: []string{address}, UDP: []string{address}}.Run(ctx)
	}()
	eventually(t, func() bool { return traffic.Ask("/proc/self/ns/net", address) == nil })
	load := traffic.Load{
		Sources: []traffic.Source{{Name: "here", NetNSPath: "/proc/self/ns/net", Node: "node-1"}},
		Targets: []traffic.Target{
			{Service: "echo", Family: corev1.IPv4Protocol, Protocol: corev1.ProtocolTCP, Address: address},
			{Service: "echo", Family: corev1.IPv4Protocol, Protocol: corev1.ProtocolUDP, Address: address, Node: "node-2"},
		},
		Rate: 100, Streams: 1, Flows: 1,
	}
	begin := time.Now()
	running := traffic.Start(load)
	defer running.Stop()
	got := map[traffic.Kind]int{}
	eventually(t, func() bool {
		for _, r := range running.Take() {
			if r.Err != nil || r.Pod != "a" || r.From != "here" || r.End.Before(r.Start) || r.Start.Before(begin) {
				t.Errorf("record %+v", r)
			}
			if want := map[traffic.Kind]string{traffic.Connection: "node-1", traffic.Exchange: "node-2"}[r.Kind]; r.Via != want {
				t.Errorf("a %s was led by %s, want %s", r.Kind, r.Via, want)
			}
			if first := r.Kind != traffic.Exchange || got[r.Kind] == 0; first != (r.Before == "") {
				t.Errorf("before %+v its flow was at %q", r, r.Before)
			}
			got[r.Kind]++
		}
		return got[traffic.Connection] >= 50 && got[traffic.Exchange] >= 3
	})
	if most := 8 + int(100*time.Since(begin).Seconds()); got[traffic.Connection] > most {
		t.Errorf("%d connections in %v, want at most %d", got[traffic.Connection], time.Since(begin), most)
	}

	end()
	if err := <-server; err != nil {
		t.Error(err)
	}
	// The server's open connections end with its process; here only its listeners do.
	clear(got)
	eventually(t, func() bool {
		for _, r := range running.Take() {
			if r.Err != nil {
				got[r.Kind]++
			}
		}
		return got[traffic.Connection] > 0 && got[traffic.Exchange] > 0
	})
	running.Stop()
	for _, r := range running.Take() {
		if r.Kind == traffic.Stream {
			got[r.Kind]++
			if r.Err != nil || r.Pod != "a" {
				t.Errorf("stream %+v", r)
			}
		}
	}
	if got[traffic.Stream] != 1 {
		t.Errorf("%d streams, want one that the client has closed", got[traffic.Stream])
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 20 s")
		}
	}
}
