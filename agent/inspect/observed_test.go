// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/conformance"
	"github.com/fairlead-proxy/fairlead/agent/engine"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
	"github.com/fairlead-proxy/fairlead/agent/modes"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

// The addresses of conformance.Node.
const nodeAddress, nodeAddress6 = "192.168.0.2", "fd00:168::2"

// onNodes runs a test on a node for each mode.
func onNodes(t *testing.T, test func(t *testing.T, o *observed)) {
	for _, m := range modes.All() {
		t.Run(string(m.Name), func(t *testing.T) {
			if m.Kind == dataplane.LoadBalancer {
				if has, err := netlink.HasFamily(t.Context(), "IPVS"); err != nil || !has {
					t.Skip("needs a kernel with ip_vs: `make test-vm` has one; error ", err)
				}
			}
			test(t, newObserved(t, m))
		})
	}
}

// observed is a node whose connections are observed.
type observed struct {
	*conformance.Node
	folder    string // of the agent's state
	dataplane dataplane.Dataplane
	filter    ObserveOptions
	interval  time.Duration

	ports atomic.Int32

	mode   dataplane.Mode
	mu     sync.Mutex
	wanted engine.Wanted
}

func newObserved(t *testing.T, m dataplane.Mode) *observed {
	n := conformance.NewNode(t)
	o := &observed{Node: n, folder: t.TempDir(), mode: m, dataplane: n.Open(m.Open), interval: lookInterval}
	if opens(m) {
		serveObservers(t, o.folder, m.Flows.Follow)
	}
	return o
}

// serveObservers serves observers until the end of the test, which may end them before.
func serveObservers(t *testing.T, folder string, flows follow) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- serveFlows(ctx, folder, flows) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	for { // until it listens, after which the mode is changed: the test has a time-out
		if info, err := os.Stat(flowsSocketOf(folder)); err == nil && info.Mode().Perm() == 0o600 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// program programs what is desired, as an agent does.
func (o *observed) program(d model.Desired) {
	o.T.Helper()
	desiredtest.Sync(o.T, o.dataplane, d)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wanted.Mode, o.wanted.Desired = o.mode.Name, d
	o.wanted.Changes++
}

// change replaces the mode.
func (o *observed) change(to dataplane.Mode, d model.Desired) {
	o.T.Helper()
	if err := o.dataplane.Cleanup(o.T.Context()); err != nil {
		o.T.Fatal(err)
	}
	o.mode, o.dataplane = to, o.Open(to.Open)
	o.program(d)
}

// start observes until the test ends. It returns what is printed.
func (o *observed) start() *bufio.Scanner {
	o.T.Helper()
	options := o.filter
	options.Node, options.StateDir, options.Sysctls, options.Modes = "node-1", o.folder, o.Space, modes.All()
	options.Addresses = func() ([]netip.Addr, error) { return netdev.AddressesOf(o.Handle) }
	f := &follower{options: options, interval: o.interval, asks: asks{
		wanted:  func() (engine.Wanted, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.wanted, nil },
		changes: func() (uint64, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.wanted.Changes, nil },
	}}
	ctx, stop := context.WithTimeout(o.T.Context(), 2*time.Minute)
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := observe(ctx, f, int(o.Handle), in)
		in.CloseWithError(err)
		done <- err
	}()
	o.T.Cleanup(func() {
		stop()
		out.Close()
		if err := <-done; err != nil {
			o.T.Error(err)
		}
	})
	lines := bufio.NewScanner(out)
	var start observation.Start
	o.next(lines, &start)
	if want := (observation.Start{Version: observation.Version, Node: "node-1", Mode: o.mode.Name}); start != want {
		o.T.Errorf("the first line is %+v, want %+v", start, want)
	}
	return lines
}

func (o *observed) next(lines *bufio.Scanner, into any) {
	o.T.Helper()
	if !lines.Scan() {
		o.T.Fatal("the output has ended: ", lines.Err())
	}
	if err := json.Unmarshal(lines.Bytes(), into); err != nil {
		o.T.Fatalf("%v: %s", err, lines.Text())
	}
}

// service returns a Service with a frontend of its own, and in addition a node port (0: none).
func service(d *model.Desired, name, vip string, nodePort uint16, b ...model.Backend) {
	desiredtest.Put(d, vip, b...)
	f := d.Frontends[desiredtest.At(vip)]
	f.Kind, f.PortName, f.PortKey = model.KindClusterIP, "dns", f.Key
	f.Service = model.ServiceID{Namespace: "shop", Name: name, Family: model.FamilyOf(f.Key.Address)}
	d.ClusterIPs[f.Key.Address] = struct{}{}
	if nodePort == 0 {
		return
	}
	port := *f
	port.Kind, port.Key = model.KindNodePort, model.FrontendKey{Address: model.Unspecified(f.Service.Family), Protocol: f.Key.Protocol, Port: nodePort}
	d.Frontends[port.Key] = &port
}

func settings() model.Desired {
	d := model.NewDesired()
	d.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr(nodeAddress), netip.MustParseAddr(nodeAddress6)}
	d.Node.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}
	return d
}

// opening is a connection from a namespace and port.
type opening struct {
	from    *netnstest.Space
	network string
	to      netip.AddrPort
	port    uint16
}

// wantEvent checks what is shown of a connection.
func (o *observed) wantEvent(c opening, d model.Desired, got observation.Event) {
	o.T.Helper()
	key := desiredtest.At(c.to.String() + "/" + c.network)
	if slices.Contains(d.Node.NodePortAddresses, key.Address) {
		key = key.NodePort()
	}
	f := d.Frontends[key]
	backend, node := f.Internal, ""
	switch c.from {
	case o.Outside:
		backend = f.External
	case o.Space:
		node = "node-1"
	}
	want := observation.Event{Node: "node-1", ClientNode: node, Service: "shop/" + f.Service.Name, Port: "dns", Kind: f.Kind, Destination: c.to.String() + "/" + c.network}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(observation.Event{}, "Time", "Client", "Endpoint")); diff != "" || got.Time.IsZero() ||
		!strings.HasSuffix(got.Client, fmt.Sprint(":", c.port)) {
		o.T.Fatalf("at %s from %s, port %d: (-want +got)\n%s", got.Time, got.Client, c.port, diff)
	}
	if !slices.ContainsFunc(backend.Endpoints, func(e model.Endpoint) bool { return e.String() == got.Endpoint }) {
		o.T.Errorf("%s from %s goes to %s, want one of %v", c.to, got.Client, got.Endpoint, backend.Endpoints)
	}
}

// knock opens a flow of UDP. It needs no answer.
func (o *observed) knock(from *netnstest.Space, to string) (client netip.AddrPort) {
	o.T.Helper()
	from.Do(func() (err error) {
		client, err = o.send(to)
		return err
	})
	return client
}

// send sends a packet from a port of its own: those that the kernel chooses come again, and then it is no new flow.
func (o *observed) send(to string) (netip.AddrPort, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: 20000 + int(o.ports.Add(1))})
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer conn.Close()
	address := netip.MustParseAddrPort(to)
	_, err = conn.WriteToUDPAddrPort([]byte("?"), address)
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), err
}
