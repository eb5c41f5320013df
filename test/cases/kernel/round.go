// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/test/cases"
)

// kube-proxy does not say what it has programmed. A Service of the runner's own
// shows it: it has another port in each round, its endpoint has one of two, and
// both come last in their watches.
const roundName = "zz-round"

var (
	roundVIP      = netip.MustParseAddr("172.30.255.254")
	roundEndpoint = netip.MustParseAddr("10.255.255.2")
)

func (k *KubeProxy) roundPort() uint16 { return uint16(10000 + k.round%50000) }

func roundTarget(round int) uint16 { return uint16(1 + round%2) }

func (k *KubeProxy) roundService() *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: roundName}}
	svc.Spec.Type, svc.Spec.SessionAffinity = corev1.ServiceTypeClusterIP, corev1.ServiceAffinityNone
	svc.Spec.Ports = []corev1.ServicePort{{Port: int32(k.roundPort()), Protocol: corev1.ProtocolTCP}}
	for _, vip := range bothFamilies(roundVIP) {
		svc.Spec.ClusterIPs = append(svc.Spec.ClusterIPs, vip.String())
	}
	svc.Spec.ClusterIP = svc.Spec.ClusterIPs[0]
	svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	return svc
}

func (k *KubeProxy) roundSlices() map[string]*discoveryv1.EndpointSlice {
	portName, protocol, port := "", corev1.ProtocolTCP, int32(roundTarget(k.round))
	all := map[string]*discoveryv1.EndpointSlice{}
	for i, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		name := fmt.Sprintf("%s-%d", roundName, i)
		all[name] = &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: roundName},
			},
			AddressType: family,
			Ports:       []discoveryv1.EndpointPort{{Name: &portName, Protocol: &protocol, Port: &port}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{bothFamilies(roundEndpoint)[i].String()}}},
		}
	}
	return all
}

// serveRounds answers for the endpoint of all rounds.
func (k *KubeProxy) serveRounds() error {
	m, err := k.network.at(roundEndpoint)
	if err != nil {
		return err
	}
	for _, a := range bothFamilies(roundEndpoint) {
		for i := range 2 {
			server, err := m.listen(model.TCP, netip.AddrPortFrom(a, roundTarget(i)))
			if err != nil {
				return err
			}
			k.roundServers = append(k.roundServers, server)
		}
	}
	return nil
}

// settle waits until this round's port of the Service leads to a round's port of
// the endpoint, in both families.
func (k *KubeProxy) settle(targetsRound int) error {
	deadline := time.Now().Add(10 * time.Second)
	for i, vip := range bothFamilies(roundVIP) {
		c := &client{machine: k.network.node, timeout: 50 * time.Millisecond, packet: cases.Packet{
			Client: cases.FromHost, Source: bothFamilies(cases.NodeAddress)[i],
			Destination: netip.AddrPortFrom(vip, k.roundPort()), Protocol: model.TCP,
		}}
		for {
			r, err := c.ask()
			if err == nil && r.verdict == cases.Forwarded && r.endpoint.Port() == roundTarget(targetsRound) {
				break
			}
			select {
			case ended := <-k.process.ended:
				k.process = nil
				return fmt.Errorf("kube-proxy has ended in round %d: %w", k.round, ended)
			case <-time.After(2 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				return errors.Join(fmt.Errorf("kube-proxy has not programmed round %d: %s %s", k.round, r.verdict, r.endpoint), err)
			}
		}
	}
	return nil
}
