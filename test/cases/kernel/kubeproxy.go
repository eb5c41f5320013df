// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules"
	"github.com/fairlead-proxy/fairlead/test/cases"
)

// KubeProxy is kube-proxy in the place of the agent: the oracle of the cases.
type KubeProxy struct {
	network               *Network
	program, folder, mode string
	api                   *api
	process               *process
	config, cidrs         string // that it was started with
	round                 int    // of programming
}

// NewKubeProxy prepares to run the program of kube-proxy in a mode.
func (n *Network) NewKubeProxy(program, folder, mode string) (*KubeProxy, error) {
	k := &KubeProxy{network: n, program: program, folder: folder, mode: mode}
	var err error
	if k.api, err = n.serveAPI(func(string, []byte) {}); err != nil {
		return nil, err
	}
	if err := k.api.writeKubeconfig(k.file("kubeconfig")); err != nil {
		return nil, errors.Join(err, k.api.listener.Close())
	}
	return k, nil
}

func (k *KubeProxy) file(name string) string { return filepath.Join(k.folder, name) }

// LogFile is where kube-proxy writes what it has to say.
func (k *KubeProxy) LogFile() string { return k.file("kube-proxy.log") }

// Restart ends the process and starts another one.
func (k *KubeProxy) Restart() error {
	if k.process != nil {
		if err := k.process.end(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(k.file("config.yaml"), []byte(k.config), 0o600); err != nil {
		return err
	}
	var err error
	k.process, err = k.network.startProcess(k.LogFile(), k.program, "--config", k.file("config.yaml"), "-v2")
	return err
}

// Stop ends the process and what serves it.
func (k *KubeProxy) Stop() error {
	err := k.api.listener.Close()
	if k.process == nil {
		return err
	}
	return errors.Join(err, k.process.end())
}

// Program gives kube-proxy the objects of a cluster, and returns when it has
// programmed them. Its parameters are fixed when it starts: it is restarted for
// others.
func (k *KubeProxy) Program(c *cases.Cluster) error {
	k.round++
	k.write(c)
	config, err := k.configOf(c.Compile().Node.Spec)
	if err != nil {
		return err
	}
	// It looks at ServiceCIDRs when it starts, and then once an hour.
	cidrs := strings.Join(c.ServiceCIDRs, ",")
	if k.process == nil || config != k.config || cidrs != k.cidrs {
		k.config, k.cidrs = config, cidrs
		if err := k.Restart(); err != nil {
			return err
		}
	}
	return k.settle()
}

func (k *KubeProxy) write(c *cases.Cluster) {
	replace(k.api, nodes, map[string]*corev1.Node{c.Node.Name: c.Node.DeepCopy()})
	cidrs := map[string]*networkingv1.ServiceCIDR{}
	if len(c.ServiceCIDRs) > 0 {
		cidrs["kubernetes"] = &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"},
			Spec:       networkingv1.ServiceCIDRSpec{CIDRs: c.ServiceCIDRs},
		}
	}
	replace(k.api, serviceCIDRs, cidrs)
	allServices, allSlices := k.rounds()
	for name, svc := range c.Services {
		allServices[name] = svc.DeepCopy()
	}
	for name, slice := range c.EndpointSlices {
		// The address type of a slice never changes: the twin's is another slice.
		name += "-" + strings.ToLower(string(slice.AddressType))
		allSlices[name] = slice.DeepCopy()
		allSlices[name].Name = name
	}
	replace(k.api, services, allServices) // a controller writes the slices after them
	replace(k.api, endpointSlices, allSlices)
}

// configOf says in kube-proxy's words what a node's policy says.
func (k *KubeProxy) configOf(spec v1alpha1.NodeRuleSetSpec) (string, error) {
	words := map[string]string{v1alpha1.NodePortPrimary: "primary", v1alpha1.NodePortAll: "all", v1alpha1.NodePortLocalhost: "localhost"}
	var nodePorts []string
	for _, a := range spec.NodePort.Addresses {
		if word, known := words[a]; known {
			a = word
		}
		nodePorts = append(nodePorts, a)
	}
	settings, err := rules.Settings(spec)
	if err != nil {
		return "", err
	}
	var podCIDRs []string
	for _, p := range settings.PodCIDRs {
		podCIDRs = append(podCIDRs, p.String())
	}
	detect := map[string]any{"detectLocalMode": "ClusterCIDR", "clusterCIDR": strings.Join(podCIDRs, ",")}
	if settings.PodInterfacePrefix {
		detect["detectLocalMode"] = "InterfaceNamePrefix"
		detect["detectLocal"] = map[string]any{"interfaceNamePrefix": settings.PodInterface}
	}
	all := spec.Masquerade.All != nil && *spec.Masquerade.All
	// The names of the fields are kube-proxy's. Nothing of conntrack is set: a
	// namespace may not.
	config := map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": k.mode, "hostnameOverride": cases.NewCluster().Node.Name,
		"clientConnection": map[string]any{
			"kubeconfig": k.file("kubeconfig"), "contentType": "application/json", "acceptContentTypes": "application/json",
		},
		"nodePortAddresses": nodePorts, "healthzBindAddress": "0.0.0.0:10256",
		"iptables":  map[string]any{"minSyncPeriod": "1ms", "masqueradeAll": all, "localhostNodePorts": settings.NodePortLocalhost},
		"nftables":  map[string]any{"minSyncPeriod": "1ms", "masqueradeAll": all},
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
	for key, value := range detect {
		config[key] = value
	}
	text, err := json.Marshal(config)
	return string(text), err
}

// A Service of its own, on another port and with another endpoint in each round,
// tells when kube-proxy has programmed all that was written before: it is the last
// in each of the two watches.
var (
	roundVIP      = netip.MustParseAddr("172.30.255.254")
	roundEndpoint = netip.MustParseAddr("10.255.255.2")
)

func (k *KubeProxy) roundPort() uint16 { return uint16(10000 + k.round%50000) }

func (k *KubeProxy) rounds() (map[string]*corev1.Service, map[string]*discoveryv1.EndpointSlice) {
	const name = "zz-round"
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	svc.Spec.Type, svc.Spec.SessionAffinity = corev1.ServiceTypeClusterIP, corev1.ServiceAffinityNone
	svc.Spec.Ports = []corev1.ServicePort{{Port: int32(k.roundPort()), Protocol: corev1.ProtocolTCP}}
	slicesOf := map[string]*discoveryv1.EndpointSlice{}
	portName, protocol, port := "", corev1.ProtocolTCP, int32(k.roundPort())
	for i, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		svc.Spec.ClusterIPs = append(svc.Spec.ClusterIPs, bothFamilies(roundVIP)[i].String())
		svc.Spec.IPFamilies = append(svc.Spec.IPFamilies, family)
		sliceName := fmt.Sprintf("%s-%d", name, i)
		slicesOf[sliceName] = &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: sliceName, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			AddressType: discoveryv1.AddressType(family),
			Ports:       []discoveryv1.EndpointPort{{Name: &portName, Protocol: &protocol, Port: &port}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{bothFamilies(roundEndpoint)[i].String()}}},
		}
	}
	svc.Spec.ClusterIP = svc.Spec.ClusterIPs[0]
	return map[string]*corev1.Service{name: svc}, slicesOf
}

// settle waits until the Service of this round answers in both families.
func (k *KubeProxy) settle() error {
	m, err := k.network.at(roundEndpoint)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(10 * time.Second)
	for i, vip := range bothFamilies(roundVIP) {
		server, err := m.listen(rules.TCP, netip.AddrPortFrom(bothFamilies(roundEndpoint)[i], k.roundPort()))
		if err != nil {
			return err
		}
		defer server.Close()
		c := &client{machine: k.network.node, timeout: 50 * time.Millisecond, packet: cases.Packet{
			Client: cases.FromHost, Source: bothFamilies(cases.NodeAddress)[i],
			Destination: netip.AddrPortFrom(vip, k.roundPort()), Protocol: rules.TCP,
		}}
		for {
			r, err := c.ask()
			if err == nil && r.verdict == cases.Forwarded {
				break
			}
			select {
			case ended := <-k.process.ended:
				k.process = nil
				return fmt.Errorf("kube-proxy has ended in round %d: %w", k.round, ended)
			case <-time.After(2 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				return errors.Join(fmt.Errorf("kube-proxy has not programmed round %d: %s", k.round, r.verdict), err)
			}
		}
	}
	return nil
}
