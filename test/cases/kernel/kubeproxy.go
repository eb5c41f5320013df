// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/kubeproxy"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
	"github.com/fairlead-proxy/fairlead/test/cases"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// KubeProxy is kube-proxy in the place of the agent: the oracle of the cases.
type KubeProxy struct {
	network               *Network
	program, folder, mode string
	api                   *api
	process               *process
	config, cidrs, zone   string // that it was started with

	hasUDP       bool // in the last step
	round        int  // of programming
	roundServers []io.Closer
}

// NewKubeProxy prepares to run the program of kube-proxy in a mode.
func (n *Network) NewKubeProxy(program, folder, mode string) (*KubeProxy, error) {
	k := &KubeProxy{network: n, program: program, folder: folder, mode: mode}
	var err error
	if k.api, err = n.serveAPI(func(string, []byte) {}); err != nil {
		return nil, err
	}
	if err := errors.Join(k.api.writeKubeconfig(k.file("kubeconfig")), k.serveRounds()); err != nil {
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

// Found returns what an agent on the node finds of it, and whether it serves the node.
func (k *KubeProxy) Found(ctx context.Context) (found *v1alpha1.KubeProxyStatus, serves bool, err error) {
	node := k.network.node
	err = node.do(func() (err error) {
		found, serves, err = kubeproxy.Look(ctx, network.DialContext(node.path()))
		return err
	})
	return found, serves, err
}

// Settle has nothing to wait for.
func (k *KubeProxy) Settle() error { return nil }

// Proxies says that kube-proxy leaves connections to the kernel.
func (k *KubeProxy) Proxies(*cases.Cluster) bool { return false }

// Stop ends the process and what serves it.
func (k *KubeProxy) Stop() error {
	err := k.api.listener.Close()
	for _, server := range k.roundServers {
		err = errors.Join(err, server.Close())
	}
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
	k.writeServices(c)
	config, err := k.configOf(c.Compile().Node.Spec)
	if err != nil {
		return err
	}
	hadUDP := k.hasUDP
	k.hasUDP = hasUDP(c)
	// It looks at ServiceCIDRs when it starts, and then once an hour. Of a Node that changes
	// nothing says when it has seen it.
	cidrs, zone := strings.Join(c.ServiceCIDRs, ","), c.Node.Labels[corev1.LabelTopologyZone]
	if k.process == nil || config != k.config || cidrs != k.cidrs || zone != k.zone {
		k.config, k.cidrs, k.zone = config, cidrs, zone
		k.writeSlices(c)
		if err := k.Restart(); err != nil {
			return err
		}
		return k.settle(k.round)
	}
	if !hadUDP && !k.hasUDP {
		k.writeSlices(c)
		return k.settle(k.round)
	}
	// kube-proxy cleans up flows of UDP after a change of slices, which a controller
	// writes when it has seen the Service: the order matters.
	if err := k.settle(k.round - 1); err != nil {
		return err
	}
	k.writeSlices(c)
	if err := k.settle(k.round); err != nil {
		return err
	}
	// The clean-up comes after the rules. Both are done when it makes rules again.
	k.round += 2 // the slices stay the same
	k.writeServices(c)
	return k.settle(k.round)
}

func hasUDP(c *cases.Cluster) bool {
	for _, svc := range c.Services {
		if slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Protocol == corev1.ProtocolUDP }) {
			return true
		}
	}
	return false
}

func (k *KubeProxy) writeServices(c *cases.Cluster) {
	replace(k.api, nodes, map[string]*corev1.Node{c.Node.Name: c.Node.DeepCopy()})
	cidrs := map[string]*networkingv1.ServiceCIDR{}
	if len(c.ServiceCIDRs) > 0 {
		cidrs["kubernetes"] = &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"},
			Spec:       networkingv1.ServiceCIDRSpec{CIDRs: c.ServiceCIDRs},
		}
	}
	replace(k.api, serviceCIDRs, cidrs)
	all := map[string]*corev1.Service{roundName: k.roundService()}
	for name, svc := range c.Services {
		all[name] = svc.DeepCopy()
	}
	replace(k.api, services, all)
}

func (k *KubeProxy) writeSlices(c *cases.Cluster) {
	all := k.roundSlices()
	for name, slice := range c.EndpointSlices {
		// The address type of a slice never changes: the twin's is another slice.
		name += "-" + strings.ToLower(string(slice.AddressType))
		all[name] = slice.DeepCopy()
		all[name].Name = name
	}
	replace(k.api, endpointSlices, all)
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
	settings, err := resolve.Settings(spec)
	if err != nil {
		return "", err
	}
	var podCIDRs []string
	for _, p := range settings.PodCIDRs {
		podCIDRs = append(podCIDRs, p.String())
	}
	detect := map[string]any{"detectLocalMode": "ClusterCIDR", "clusterCIDR": strings.Join(podCIDRs, ",")}
	switch {
	case settings.PodInterface == "":
	case settings.PodInterfacePrefix:
		detect = map[string]any{"detectLocalMode": "InterfaceNamePrefix", "detectLocal": map[string]any{"interfaceNamePrefix": settings.PodInterface}}
	default:
		detect = map[string]any{"detectLocalMode": "BridgeInterface", "detectLocal": map[string]any{"bridgeInterface": settings.PodInterface}}
	}
	all := spec.Masquerade.All != nil && *spec.Masquerade.All
	liberal := spec.Conntrack != nil && spec.Conntrack.TCPBeLiberal != nil && *spec.Conntrack.TCPBeLiberal
	// The names of the fields are kube-proxy's. No limit of conntrack is set: a
	// namespace may not.
	config := map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"featureGates": map[string]any{"AllowServiceExternalIPs": spec.ExternalIPs.Policy == v1alpha1.ExternalIPAllow},
		"mode":         k.mode, "hostnameOverride": cases.NewCluster().Node.Name,
		"clientConnection": map[string]any{
			"kubeconfig": k.file("kubeconfig"), "contentType": "application/json", "acceptContentTypes": "application/json",
		},
		"nodePortAddresses": nodePorts, "healthzBindAddress": "0.0.0.0:10256",
		"iptables":  map[string]any{"minSyncPeriod": "1ms", "masqueradeAll": all, "localhostNodePorts": settings.NodePortLocalhost},
		"nftables":  map[string]any{"minSyncPeriod": "1ms", "masqueradeAll": all},
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s", "tcpBeLiberal": liberal},
	}
	for key, value := range detect {
		config[key] = value
	}
	text, err := json.Marshal(config)
	return string(text), err
}
