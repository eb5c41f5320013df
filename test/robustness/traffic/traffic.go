// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// Kind is what a Record is about.
type Kind string

const (
	// Connection is a new TCP connection with one line and its answer.
	Connection Kind = "connection"
	// Exchange is a datagram with its answer, sent up to exchangeTries times.
	Exchange Kind = "exchange"
	// Stream is a TCP connection that stays open. Its record is made when it ends.
	Stream Kind = "stream"
)

// Record is one connection.
type Record struct {
	Kind Kind
	// From is the name of the Source.
	From string
	To   Target
	// Via is the node whose rules lead the connection.
	Via string
	// Pod is which one answered, empty if none did.
	Pod string
	// Before is the Pod that answered the Exchange before, of the same flow.
	Before     string
	Start, End time.Time
	// Err is nil if the connection was answered. A Stream that the client has closed has none.
	Err error
}

// Source is where connections start.
type Source struct {
	// Name is that of a node or the client.
	Name, NetNSPath string
	// Node is the node whose rules lead a connection to a cluster IP.
	Node string
}

// Target is a frontend of a Service.
type Target struct {
	// Service is its name, Family that of the address.
	Service string
	Family  corev1.IPFamily
	// Protocol is TCP or UDP. Connections and streams use the TCP ones, flows the UDP ones.
	Protocol corev1.Protocol
	// Address is an address with a port.
	Address string
	// Node has a node port; empty: the one of the source.
	Node string
}

// Load is what Start does, at the same time.
type Load struct {
	Sources []Source
	Targets []Target
	// Rate is how many new connections a second are opened, by all sources together. It is
	// a bound: fewer if they take long.
	Rate int
	// Streams and Flows are the numbers of long-lived TCP connections and of UDP flows, each
	// from each source to each target.
	Streams, Flows int
}

const (
	workersPerSource = 8
	streamPause      = 250 * time.Millisecond
	flowPause        = 200 * time.Millisecond
	exchangeTries    = 5
	exchangeTime     = 300 * time.Millisecond
)

// Generator is a running Load.
type Generator struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	records []Record
}

// Start begins a load, which runs until Stop.
func Start(load Load) *Generator {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Generator{stop: cancel}
	tcp, udp := byProtocol(load.Targets)
	interval := time.Second
	if load.Rate > 0 && len(load.Sources) > 0 {
		interval = time.Second * time.Duration(workersPerSource*len(load.Sources)) / time.Duration(load.Rate)
	}
	for _, from := range load.Sources {
		if load.Rate > 0 && len(tcp) > 0 {
			for range workersPerSource {
				t.work(ctx, from, func(w worker) { w.connect(tcp, interval) })
			}
		}
		for _, to := range tcp {
			for range load.Streams {
				t.work(ctx, from, func(w worker) { w.stream(to) })
			}
		}
		for _, to := range udp {
			for range load.Flows {
				t.work(ctx, from, func(w worker) { w.flow(to) })
			}
		}
	}
	return t
}

func byProtocol(targets []Target) (tcp, udp []Target) {
	for _, t := range targets {
		if t.Protocol == corev1.ProtocolUDP {
			udp = append(udp, t)
		} else {
			tcp = append(tcp, t)
		}
	}
	return tcp, udp
}

// Stop ends the load and waits for the connections under way.
func (t *Generator) Stop() {
	t.stop()
	t.done.Wait()
}

// Take returns the records since the last call.
func (t *Generator) Take() []Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	records := t.records
	t.records = nil
	return records
}

// worker makes connections on a thread that stays in the namespace of its source: entering
// it for each one would cost more than the connection.
type worker struct {
	generator *Generator
	ctx       context.Context
	from      Source
	ports     *ports
}

func (t *Generator) work(ctx context.Context, from Source, loop func(worker)) {
	w := worker{t, ctx, from, portsIn(from.NetNSPath)}
	t.done.Go(func() {
		begin := time.Now()
		err := network.Do(from.NetNSPath, func() error { loop(w); return nil })
		if err != nil {
			w.record(Record{Kind: Connection, Start: begin, Err: err})
		}
	})
}

func (w worker) record(r Record) {
	r.From, r.Via, r.End = w.from.Name, w.from.Node, time.Now()
	if r.To.Node != "" {
		r.Via = r.To.Node
	}
	w.generator.mu.Lock()
	defer w.generator.mu.Unlock()
	w.generator.records = append(w.generator.records, r)
}

// pause reports whether the load goes on.
func (w worker) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// connect opens one connection after the other.
func (w worker) connect(targets []Target, interval time.Duration) {
	next := time.Now().Add(rand.N(interval))
	for i := rand.IntN(len(targets)); w.pause(time.Until(next)); i++ {
		if next = next.Add(interval); time.Since(next) > interval {
			next = time.Now() // it cannot catch up
		}
		w.once(targets[i%len(targets)])
	}
}

func (w worker) once(to Target) {
	r := Record{Kind: Connection, To: to, Start: time.Now()}
	c, err := w.dial(to)
	if err == nil {
		var answer string
		if answer, err = c.say(answerTime); err == nil {
			r.Pod, err = podOf(answer)
		}
		// Closed by a reset: the kernel then forgets the connection soon, and 500 a second
		// need no more than some thousand entries.
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	r.Err = err
	w.record(r)
}

func (w worker) dial(to Target) (*Conversation, error) {
	conn, err := w.ports.dial(to.Address)
	if err != nil {
		return nil, err
	}
	return &Conversation{Conn: conn, in: bufio.NewReader(conn)}, nil
}

// stream keeps a connection open, and opens another one when it ends.
func (w worker) stream(to Target) {
	for again := w.pause(rand.N(streamPause)); again; again = w.pause(streamPause) {
		r := Record{Kind: Connection, To: to, Start: time.Now()}
		c, err := w.dial(to)
		if err != nil {
			r.Err = err
			w.record(r)
			continue
		}
		r.Kind = Stream
		for again := true; again && err == nil; again = w.pause(streamPause) {
			var answer, pod string
			if answer, err = c.say(answerTime); err != nil {
				break
			}
			if pod, err = podOf(answer); err == nil && r.Pod != "" && pod != r.Pod {
				err = fmt.Errorf("a connection to Pod %s was answered by Pod %s", r.Pod, pod)
			}
			r.Pod = pod
		}
		c.Close()
		r.Err = err
		w.record(r)
	}
}

// flow sends datagrams from one port.
func (w worker) flow(to Target) {
	conn, err := net.Dial("udp", to.Address)
	if err != nil {
		w.record(Record{Kind: Exchange, To: to, Start: time.Now(), Err: err})
		return
	}
	defer conn.Close()
	buffer, before := make([]byte, 256), ""
	for again := w.pause(rand.N(flowPause)); again; again = w.pause(flowPause) {
		r := Record{Kind: Exchange, To: to, Before: before, Start: time.Now()}
		for range exchangeTries {
			if r.Pod, r.Err = exchange(conn, buffer); r.Err == nil || w.ctx.Err() != nil {
				break
			}
		}
		w.record(r)
		before = cmp.Or(r.Pod, before)
	}
}

// exchange sends a datagram and waits for the answer. What is refused is not sent again
// before the answer's time is over either.
func exchange(conn net.Conn, buffer []byte) (pod string, err error) {
	deadline := time.Now().Add(exchangeTime)
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	_, err = conn.Write([]byte("?\n"))
	var n int
	if err == nil {
		n, err = conn.Read(buffer)
	}
	var timeout net.Error
	if err != nil && (!errors.As(err, &timeout) || !timeout.Timeout()) {
		time.Sleep(time.Until(deadline))
	}
	if err != nil {
		return "", err
	}
	return podOf(string(buffer[:n]))
}
