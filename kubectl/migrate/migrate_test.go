// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
)

// kubeadm is kube-proxy's configuration as kubeadm writes it.
const kubeadm = `
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection: {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: /var/lib/kube-proxy/kubeconfig.conf, qps: 0}
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null, udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s, tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: ""
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
`

// all has a value in each setting.
const all = `
mode: ipvs
clusterCIDR: 10.244.0.0/16,fd00:244::/32
conntrack: {maxPerCore: 0, min: 65536, tcpBeLiberal: true, tcpCloseWaitTimeout: 30m0s, tcpEstablishedTimeout: 12h0m0s, udpStreamTimeout: 2m0s, udpTimeout: 30s}
iptables: {masqueradeAll: true, masqueradeBit: 14, syncPeriod: 30s}
ipvs: {excludeCIDRs: [192.0.2.0/24], scheduler: lc, strictARP: true, tcpFinTimeout: 2m0s, tcpTimeout: 15m0s, udpTimeout: 5m0s}
nodePortAddresses: [127.0.0.0/8, 198.51.100.0/24]
metricsBindAddress: 0.0.0.0:10249
healthzBindAddress: 0.0.0.0:10256
featureGates: {Some: true}
futureField: x
`

func aNode(name string, addresses ...string) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, a := range append([]string{name}, addresses...) { // the first is a host name
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Address: a})
	}
	return n
}

func aService(name string, port corev1.ServicePort, externalIPs ...string) corev1.Service {
	return corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{port}, ExternalIPs: externalIPs}}
}

func aConfig(change func(*v1alpha1.ProxyConfigSpec)) []v1alpha1.ProxyConfig {
	spec := v1alpha1.ProxyConfigSpec{Mode: v1alpha1.ModeAuto, NodePort: v1alpha1.NodePortOptions{Addresses: []string{v1alpha1.NodePortPrimary}},
		LocalTraffic: v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR}}
	change(&spec)
	return []v1alpha1.ProxyConfig{{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: spec}}
}

// TestReport compares the report and the ProxyConfig of clusters with files.
func TestReport(t *testing.T) {
	nodePort := corev1.ServicePort{Port: 80, NodePort: 30080}
	cases := map[string]struct {
		config string
		change func(*Facts)
	}{
		"kubeadm":           {kubeadm, func(*Facts) {}},
		"node-ports-before": {kubeadm, func(f *Facts) { f.Services = []corev1.Service{aService("web", nodePort)} }},
		"all":               {all, func(f *Facts) { f.Services = []corev1.Service{aService("web", nodePort, "203.0.113.1")} }},
		"nftables": {"mode: nftables\nnftables: {masqueradeAll: true}\ndetectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}", func(f *Facts) {
			f.Services = []corev1.Service{aService("web", nodePort)}
			f.DaemonSet.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"}
		}},
		"other-policy": {kubeadm, func(f *Facts) {
			f.Services = []corev1.Service{aService("web", nodePort), aService("sctp", corev1.ServicePort{Port: 1, Protocol: corev1.ProtocolSCTP})}
			f.Configs = aConfig(func(s *v1alpha1.ProxyConfigSpec) { s.Mode = v1alpha1.ModeUserspace })
			f.Reported = []v1alpha1.NodeRuleSet{{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Status: v1alpha1.NodeRuleSetStatus{
				Capabilities: []v1alpha1.ModeCapability{{Mode: v1alpha1.ModeUserspace, Message: "no"}}}}}
		}},
		"same-policy": {kubeadm, func(f *Facts) {
			f.Services = []corev1.Service{aService("web", nodePort, "203.0.113.1")}
			f.Configs = aConfig(func(s *v1alpha1.ProxyConfigSpec) {
				s.LocalTraffic = v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectClusterCIDR, ClusterCIDRs: []string{"10.244.0.0/16"}}
				s.NodePort.Addresses, s.ExternalIPs.Policy = []string{v1alpha1.NodePortAll, v1alpha1.NodePortLocalhost}, v1alpha1.ExternalIPAllow
			})
		}},
		"no-kube-proxy": {"", func(f *Facts) { f.ConfigMap, f.DaemonSet = nil, nil }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := &Facts{ConfigMap: &corev1.ConfigMap{Data: map[string]string{"config.conf": tc.config}},
				DaemonSet: &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-proxy"}},
				Nodes:     []corev1.Node{aNode("node-1", "192.0.2.1", "203.0.113.5")}}
			tc.change(f)
			f.derive()
			report := Of(f)
			var text bytes.Buffer
			if err := report.Print(&text); err != nil {
				t.Fatal(err)
			}
			text.WriteString("----\n")
			if err := f.PrintProxyConfig(&text); (err != nil) != (tc.config == "") {
				t.Fatal(err)
			}
			kubectltest.Golden(t, name+".txt", text.Bytes())
		})
	}
}

// TestCollect reads a cluster before Fairlead is installed, and one whose kube-proxy has another name.
func TestCollect(t *testing.T) {
	configMap := func(namespace, name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{"config": "mode: ipvs"}}
	}
	config := aConfig(func(s *v1alpha1.ProxyConfigSpec) {
		s.KubeProxy = &v1alpha1.KubeProxyOptions{TakeOver: new(true), DaemonSet: "platform/proxy"}
	})
	node := aNode("node-1")
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "platform", Name: "proxy"}}
	ds.Spec.Template.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "kube-proxy-config"}}}}}
	api := fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t)).WithObjects(&config[0], &node, ds, configMap("platform", "kube-proxy-config")).Build()
	f, err := Collect(t.Context(), api)
	if err != nil || f.problem != nil || f.proposed.Mode != v1alpha1.ModeIPVS || len(f.Nodes) != 1 || f.DaemonSet == nil {
		t.Errorf("%v, %v: %+v", err, f.problem, f.proposed)
	}
	before := fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t)).WithObjects(configMap("kube-system", "kube-proxy")).
		WithInterceptorFuncs(interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			switch list.(type) {
			case *v1alpha1.ProxyConfigList, *v1alpha1.NodeRuleSetList:
				return &meta.NoKindMatchError{}
			}
			return c.List(ctx, list, o...)
		}}).Build()
	if f, err := Collect(t.Context(), before); err != nil || f.DaemonSet != nil || f.problem != nil {
		t.Errorf("before: %v, %+v", err, f)
	}
}

// TestDocs checks that each anchor is a heading.
func TestDocs(t *testing.T) {
	for _, category := range categories {
		for _, c := range category.checks {
			file, anchor, _ := strings.Cut(c.docs, "#")
			text, err := os.ReadFile(filepath.Join("..", "..", file))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.ReplaceAll(strings.ToLower(string(text)), " ", "-"), "#-"+anchor) || c.fix == "" {
				t.Errorf("%s: there is no heading %s, or no fix", c.name, c.docs)
			}
		}
	}
}
