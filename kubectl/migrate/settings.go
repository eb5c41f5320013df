// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// settings are those of a KubeProxyConfiguration, by their path, such as ipvs.scheduler. A list is one value.
type settings map[string]any

// parse reads a KubeProxyConfiguration.
func parse(text string) (settings, error) {
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(text), &fields); err != nil {
		return nil, fmt.Errorf("read the KubeProxyConfiguration: %w", err)
	}
	out := settings{}
	out.add("", fields)
	return out, nil
}

func (s settings) add(prefix string, fields map[string]any) {
	for name, value := range fields {
		if inner, is := value.(map[string]any); is {
			s.add(prefix+name+".", inner)
		} else if value != nil && value != "" {
			s[prefix+name] = value
		}
	}
}

func (s settings) text(path string) string {
	text, _ := s[path].(string)
	return text
}

func (s settings) is(path string, byDefault bool) bool {
	if set, known := s[path].(bool); known {
		return set
	}
	return byDefault
}

func (s settings) list(path string) []string {
	var out []string
	values, _ := s[path].([]any)
	for _, v := range values {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

func (s settings) number(path string) *int32 {
	if n, is := s[path].(float64); is {
		return new(int32(n))
	}
	return nil
}

// seconds returns a duration; nil: it is not set, or is none.
func (s settings) seconds(path string) *int32 {
	d, err := time.ParseDuration(s.text(path))
	if err != nil {
		return nil
	}
	return new(int32(d.Round(time.Second) / time.Second))
}

// unlessZero returns no value for 0, which is the same where a field has no default.
func unlessZero(n *int32) *int32 {
	if n != nil && *n == 0 {
		return nil
	}
	return n
}

// kept are the settings that a ProxyConfig has, and those without an effect on a Service.
var kept = map[string]bool{
	"apiVersion": true, "kind": true, "mode": true, "clusterCIDR": true, "detectLocalMode": true, "detectLocal.bridgeInterface": true,
	"detectLocal.interfaceNamePrefix": true, "nodePortAddresses": true, "iptables.localhostNodePorts": true, "iptables.masqueradeAll": true,
	"nftables.masqueradeAll": true, "ipvs.scheduler": true, "ipvs.strictARP": true, "ipvs.excludeCIDRs": true, "ipvs.tcpTimeout": true,
	"ipvs.tcpFinTimeout": true, "ipvs.udpTimeout": true, "conntrack.maxPerCore": true, "conntrack.min": true,
	"conntrack.tcpEstablishedTimeout": true, "conntrack.tcpCloseWaitTimeout": true, "conntrack.tcpBeLiberal": true,
	"conntrack.udpTimeout": true, "conntrack.udpStreamTimeout": true,
}

// needless are prefixes of settings that Fairlead does without.
var needless = []string{"iptables.", "nftables.", "ipvs.", "clientConnection.", "configSyncPeriod", "bindAddress", "hostnameOverride", "enableProfiling",
	"oomScoreAdj", "portRange", "udpIdleTimeout", "showHiddenMetricsForVersion", "logging.", "winkernel.", "windowsRunAsService", "nodeIPOverride"}

// elsewhere are settings that the agents' DaemonSet has as flags, with kube-proxy's defaults, which are the agents'.
var elsewhere = map[string]struct {
	flag     string
	defaults []string
}{
	"metricsBindAddress": {"--metrics-bind-address", []string{"127.0.0.1:10249", "127.0.0.1"}},
	"healthzBindAddress": {"--healthz-bind-address", []string{"0.0.0.0:10256", "0.0.0.0"}},
}

// lost returns the settings that no ProxyConfig has.
func (s settings) lost() []string {
	var out []string
	for _, path := range slices.Sorted(maps.Keys(s)) {
		value := fmt.Sprint(s[path])
		zero := value == "0" || value == "0s" || value == "false" || value == "[]"
		flag, isFlag := elsewhere[path]
		switch {
		case kept[path] || zero || slices.ContainsFunc(needless, func(prefix string) bool { return strings.HasPrefix(path, prefix) }):
		case isFlag && !slices.Contains(flag.defaults, value):
			out = append(out, fmt.Sprintf("%s: %s: set %s in the agents' DaemonSet", path, value, flag.flag))
		case !isFlag:
			out = append(out, fmt.Sprintf("%s: %s has no counterpart", path, value))
		}
	}
	switch s.text("mode") {
	case "", "iptables", "nftables", "ipvs":
	default:
		out = append(out, "mode: "+s.text("mode")+" has no counterpart")
	}
	return out
}

// modes are kube-proxy's modes; on Linux the default is iptables.
var modes = map[string]v1alpha1.ProxyMode{"": v1alpha1.ModeIPTables, "iptables": v1alpha1.ModeIPTables, "nftables": v1alpha1.ModeNFTables, "ipvs": v1alpha1.ModeIPVS}

// spec returns the policy that has kube-proxy's settings.
func (s settings) spec() v1alpha1.ProxyConfigSpec {
	out := v1alpha1.ProxyConfigSpec{Mode: v1alpha1.ModeAuto}
	if mode, known := modes[s.text("mode")]; known {
		out.Mode = mode
	}
	if s.is("iptables.masqueradeAll", false) && out.Mode != v1alpha1.ModeNFTables || s.is("nftables.masqueradeAll", false) && out.Mode == v1alpha1.ModeNFTables {
		out.Masquerade.All = new(true)
	}
	out.LocalTraffic, out.NodePort.Addresses = s.localTraffic(), s.nodePorts(out.Mode)
	out.Conntrack = &v1alpha1.ConntrackOptions{MaxPerCore: s.number("conntrack.maxPerCore"), Min: s.number("conntrack.min"),
		TCPEstablishedTimeoutSeconds: s.seconds("conntrack.tcpEstablishedTimeout"), TCPCloseWaitTimeoutSeconds: s.seconds("conntrack.tcpCloseWaitTimeout"),
		UDPTimeoutSeconds: unlessZero(s.seconds("conntrack.udpTimeout")), UDPStreamTimeoutSeconds: unlessZero(s.seconds("conntrack.udpStreamTimeout"))}
	if s.is("conntrack.tcpBeLiberal", false) {
		out.Conntrack.TCPBeLiberal = new(true)
	}
	if *out.Conntrack == (v1alpha1.ConntrackOptions{}) {
		out.Conntrack = nil
	}
	if out.Mode == v1alpha1.ModeIPVS {
		out.IPVS = s.ipvs()
	}
	return out
}

func (s settings) ipvs() *v1alpha1.IPVSOptions {
	out := &v1alpha1.IPVSOptions{Scheduler: s.text("ipvs.scheduler"), ExcludeCIDRs: s.list("ipvs.excludeCIDRs")}
	if s.is("ipvs.strictARP", false) {
		out.StrictARP = new(true)
	}
	for path, field := range map[string]*int32{"ipvs.tcpTimeout": &out.TCPTimeoutSeconds, "ipvs.tcpFinTimeout": &out.TCPFinTimeoutSeconds, "ipvs.udpTimeout": &out.UDPTimeoutSeconds} {
		if seconds := s.seconds(path); seconds != nil {
			*field = *seconds
		}
	}
	return out
}

// localTraffic is as kube-proxy detects it; without a clusterCIDR it detects nothing, and each node's own Pod CIDR is the nearest.
func (s settings) localTraffic() v1alpha1.LocalTrafficOptions {
	switch s.text("detectLocalMode") {
	case "BridgeInterface":
		return v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectBridgeInterface, Interface: s.text("detectLocal.bridgeInterface")}
	case "InterfaceNamePrefix":
		return v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectInterfaceNamePrefix, Interface: s.text("detectLocal.interfaceNamePrefix")}
	case "", "ClusterCIDR":
		if cidrs := s.text("clusterCIDR"); cidrs != "" {
			return v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectClusterCIDR, ClusterCIDRs: strings.Split(cidrs, ",")}
		}
	}
	return v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR}
}

// nodePorts are the addresses on which kube-proxy answers node ports.
func (s settings) nodePorts(mode v1alpha1.ProxyMode) []string {
	from := s.list("nodePortAddresses")
	localhost := mode == v1alpha1.ModeIPTables && s.is("iptables.localhostNodePorts", true)
	var out []string
	for _, a := range from {
		switch {
		case strings.HasPrefix(a, "127.") && !localhost: // kube-proxy has none there in this mode
			continue
		case a == "primary":
			a = v1alpha1.NodePortPrimary
		case a == "0.0.0.0/0" || a == "::/0":
			a = v1alpha1.NodePortAll
		case strings.HasPrefix(a, "127."):
			a = v1alpha1.NodePortLocalhost
		}
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	all := slices.Contains(out, v1alpha1.NodePortAll)
	switch {
	case len(from) == 0 && mode == v1alpha1.ModeNFTables, len(from) > 0 && len(out) == 0:
		return []string{v1alpha1.NodePortPrimary}
	case len(from) == 0:
		out, all = []string{v1alpha1.NodePortAll}, true
	}
	if all && localhost {
		out = append(out, v1alpha1.NodePortLocalhost)
	}
	return out
}
