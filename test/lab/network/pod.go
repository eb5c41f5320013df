// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// The gateway that every Pod sees at the other end of its link. No machine has
// these addresses: the Pod knows the hardware address that belongs to them.
var (
	gatewayV4 = netip.MustParseAddr("169.254.1.1")
	gatewayV6 = netip.MustParseAddr("fe80::1")
)

// Pods of a node are numbered from firstPod to lastPod within its ranges.
const firstPod, lastPod = 2, 254

// PodNet is what AddPod made for one Pod.
type PodNet struct {
	// NetNSPath is the file that holds the Pod's network namespace.
	NetNSPath string
	// IPv4 and IPv6 are the Pod's addresses.
	IPv4, IPv6 netip.Addr
}

// nodePods are the Pods of one node and the numbers they occupy.
type nodePods struct {
	byID    map[string]PodNet
	numbers map[string]int // by id
	used    map[int]bool
	last    int
}

func newNodePods() *nodePods {
	return &nodePods{byID: map[string]PodNet{}, numbers: map[string]int{}, used: map[int]bool{}, last: firstPod - 1}
}

// reserve finds a free number. It goes round, so that the address of a deleted
// Pod is not given to the next one, with connections still on their way to it.
func (p *nodePods) reserve(id string) (int, error) {
	for range lastPod - firstPod + 1 {
		p.last++
		if p.last > lastPod {
			p.last = firstPod
		}
		if !p.used[p.last] {
			p.used[p.last], p.numbers[id] = true, p.last
			return p.last, nil
		}
	}
	return 0, errors.New("no Pod address left")
}

func (p *nodePods) release(id string) {
	delete(p.used, p.numbers[id])
	delete(p.numbers, id)
	delete(p.byID, id)
}

// PodNetNS is the file that holds the network namespace of the Pod that AddPod
// was given this id for.
func (t *Topology) PodNetNS(id string) string { return pathOf(t.prefix + "pod-" + id) }

// AddPod makes the namespace fl-pod-<id> and connects it to the node. Calling
// it again for the same node and id returns the same answer.
func (t *Topology) AddPod(node Node, id string) (PodNet, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pods, ok := t.pods[node.Name]
	if !ok {
		return PodNet{}, fmt.Errorf("node %s is not in this network", node.Name)
	}
	if pod, ok := pods.byID[id]; ok {
		return pod, nil
	}
	number, err := pods.reserve(id)
	if err != nil {
		return PodNet{}, fmt.Errorf("node %s: %w", node.Name, err)
	}
	pod := PodNet{
		NetNSPath: t.PodNetNS(id),
		IPv4:      numbered(node.PodCIDRv4, number), IPv6: numbered(node.PodCIDRv6, number),
	}
	if err := connect(node, pod, vethName(id)); err != nil {
		pods.release(id)
		return PodNet{}, errors.Join(fmt.Errorf("network of Pod %s: %w", id, err), disconnect(node, pod.NetNSPath, vethName(id)))
	}
	pods.byID[id] = pod
	return pod, nil
}

// DelPod undoes AddPod. A Pod that is not there is no error.
func (t *Topology) DelPod(node Node, id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	pods, ok := t.pods[node.Name]
	if !ok {
		return fmt.Errorf("node %s is not in this network", node.Name)
	}
	if err := disconnect(node, t.PodNetNS(id), vethName(id)); err != nil {
		return fmt.Errorf("network of Pod %s: %w", id, err)
	}
	pods.release(id)
	return nil
}

// vethName is the node's end of a Pod's link. Names of links have 15 bytes.
func vethName(id string) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("veth%x", sum[:4])
}

// connect makes the Pod's namespace and a point-to-point link to its node: the
// Pod sends everything to the gateway, the node has a route for each Pod.
func connect(node Node, pod PodNet, veth string) error {
	if err := createNamespace(pod.NetNSPath); err != nil {
		return err
	}
	if err := Do(pod.NetNSPath, setSysctls); err != nil {
		return err
	}
	host, err := open(node.NetNSPath)
	if err != nil {
		return err
	}
	defer host.close()
	inside, err := open(pod.NetNSPath)
	if err != nil {
		return err
	}
	defer inside.close()

	if err := host.addVeth(veth, "eth0", pod.NetNSPath); err != nil {
		return err
	}
	for _, err := range []error{host.up(veth), inside.up("lo"), inside.up("eth0")} {
		if err != nil {
			return err
		}
	}
	hostMAC, err := host.hardwareAddr(veth)
	if err != nil {
		return err
	}
	podMAC, err := inside.hardwareAddr("eth0")
	if err != nil {
		return err
	}
	if err := inside.attach(pod.IPv4, gatewayV4, anyV4, hostMAC); err != nil {
		return err
	}
	if err := inside.attach(pod.IPv6, gatewayV6, anyV6, hostMAC); err != nil {
		return err
	}
	return errors.Join(
		host.addLinkRoute(single(pod.IPv4), node.IPv4, veth), host.addNeighbour(pod.IPv4, podMAC, veth),
		host.addLinkRoute(single(pod.IPv6), node.IPv6, veth), host.addNeighbour(pod.IPv6, podMAC, veth))
}

// attach gives the Pod's end of the link one address and the way out.
func (s *space) attach(addr, gateway netip.Addr, everything netip.Prefix, mac net.HardwareAddr) error {
	if err := s.addAddress("eth0", addr, addr.BitLen()); err != nil {
		return err
	}
	if gateway.Is4() { // a link-local IPv6 gateway is on the link anyway
		if err := s.addLinkRoute(single(gateway), netip.Addr{}, "eth0"); err != nil {
			return err
		}
	}
	if err := s.addRoute(everything, gateway, "eth0"); err != nil {
		return err
	}
	return s.addNeighbour(gateway, mac, "eth0")
}

func (s *space) hardwareAddr(name string) (net.HardwareAddr, error) {
	link, err := s.link(name)
	if err != nil {
		return nil, err
	}
	return link.Attrs().HardwareAddr, nil
}

// disconnect removes the link before the namespace: the kernel takes a deleted
// namespace apart later, and the node's end would stay until then.
func disconnect(node Node, podPath, veth string) error {
	host, err := open(node.NetNSPath)
	if err != nil {
		return err
	}
	defer host.close()
	link, err := host.handle.LinkByName(veth)
	if err == nil {
		err = host.handle.LinkDel(link)
	}
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		err = nil
	}
	return errors.Join(err, deleteNamespace(podPath))
}

func single(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }
