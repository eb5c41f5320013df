// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

const (
	// sandboxBackoff is the first pause after a failure of the network or the
	// volumes; short, because the Node authorizer learns of a Pod's Secrets a
	// moment after the kubelet learns of the Pod.
	sandboxBackoff = 100 * time.Millisecond
	// refreshInterval is how often ConfigMaps, Secrets and tokens are looked at.
	refreshInterval = 20 * time.Second
)

// podSysctls are set in the network namespace of every Pod, as container
// runtimes do: any user may bind low ports and ping.
var podSysctls = map[string]string{
	"net.ipv4.ip_unprivileged_port_start": "0",
	"net.ipv4.ping_group_range":           "0 2147483647",
}

// ensureSandbox makes the Pod's network, files and volumes, and keeps the
// volumes fresh. It reports whether containers can start.
func (w *worker) ensureSandbox(ctx context.Context) bool {
	if time.Now().Before(w.sandboxWait.until) {
		return w.mounts != nil
	}
	if !w.networked {
		if err := w.makeNetwork(); err != nil {
			w.sandboxFailed("FailedCreatePodSandBox", err)
			return false
		}
		w.networked = true
	}
	if w.mounts != nil && time.Now().Before(w.refreshAt) {
		return true
	}
	mounts, err := w.volumes.Prepare(ctx, w.downward())
	if err != nil {
		w.sandboxFailed("FailedMount", err)
		return w.mounts != nil
	}
	w.mounts, w.sandboxWait = mounts, backoff{}
	w.refreshAt = time.Now().Add(refreshInterval)
	return true
}

// sandboxFailed reports why no container starts.
func (w *worker) sandboxFailed(reason string, err error) {
	if w.sandboxWait.pause > 0 {
		// Not for the first failure: that is often the authorizer's delay.
		w.events.Event(w.pod, corev1.EventTypeWarning, reason, err.Error())
	}
	w.sandboxWait.grow(sandboxBackoff)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.containers {
		if c.starts == 0 {
			c.setWaiting(c.state.Waiting.Reason, err.Error())
		}
	}
}

func (w *worker) makeNetwork() error {
	if err := unsupported(w.pod); err != nil {
		return err
	}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return fmt.Errorf("make the Pod's folder: %w", err)
	}
	if w.pod.Spec.HostNetwork {
		w.setNet(network.PodNet{NetNSPath: w.Node.NetNSPath, IPv4: w.Node.IPv4, IPv6: w.Node.IPv6})
		return w.writeNames()
	}
	net, err := w.Network.AddPod(w.Node, shortID(string(w.pod.UID)))
	if err != nil {
		return fmt.Errorf("make the Pod's network: %w", err)
	}
	w.setNet(net)
	if err := w.setSysctls(); err != nil {
		return err
	}
	return w.writeNames()
}

func (w *worker) setNet(net network.PodNet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.net = net
}

func unsupported(pod *corev1.Pod) error {
	shared := pod.Spec.ShareProcessNamespace
	if pod.Spec.HostPID || pod.Spec.HostIPC || shared != nil && *shared {
		return errors.New("hostPID, hostIPC and shareProcessNamespace are not supported by the lab")
	}
	return nil
}

func (w *worker) setSysctls() error {
	return network.Do(w.net.NetNSPath, func() error {
		set := func(name, value string) error {
			file := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
			if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
				return fmt.Errorf("set sysctl %s: %w", name, err)
			}
			return nil
		}
		for name, value := range podSysctls {
			if err := set(name, value); err != nil {
				return err
			}
		}
		if w.pod.Spec.SecurityContext == nil {
			return nil
		}
		for _, sysctl := range w.pod.Spec.SecurityContext.Sysctls {
			if !strings.HasPrefix(sysctl.Name, "net.") {
				return fmt.Errorf("sysctl %s is not one of the Pod's network", sysctl.Name)
			}
			if err := set(sysctl.Name, sysctl.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

// hostname is what the Pod's containers call themselves.
func (w *worker) hostname() string {
	if w.pod.Spec.HostNetwork {
		return w.Node.Name
	}
	name := cmp.Or(w.pod.Spec.Hostname, w.pod.Name)
	return strings.TrimRight(name[:min(len(name), 63)], "-.")
}

// writeNames writes the three files under /etc that every container gets.
func (w *worker) writeNames() error {
	resolv, err := w.resolvConf()
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"hostname": w.hostname() + "\n", "hosts": w.hosts(), "resolv.conf": resolv,
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("write the Pod's %s: %w", name, err)
		}
	}
	return nil
}

func (w *worker) hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	names := w.hostname()
	if sub := w.pod.Spec.Subdomain; sub != "" {
		names = fmt.Sprintf("%s.%s.%s.svc.%s\t%s", names, sub, w.pod.Namespace, w.ClusterDomain, names)
	}
	for _, ip := range []fmt.Stringer{w.net.IPv4, w.net.IPv6} {
		fmt.Fprintf(&b, "%s\t%s\n", ip, names)
	}
	for _, alias := range w.pod.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return b.String()
}

// resolvConf follows the Pod's DNS policy. A Pod on the node's network with the
// policy ClusterFirst gets the node's, as in a real cluster.
func (w *worker) resolvConf() (string, error) {
	spec := &w.pod.Spec
	cluster := spec.DNSPolicy == corev1.DNSClusterFirstWithHostNet ||
		spec.DNSPolicy == corev1.DNSClusterFirst && !spec.HostNetwork
	var b strings.Builder
	var nameservers, searches []string
	options := map[string]string{}
	switch {
	case cluster:
		nameservers = []string{w.ClusterDNS}
		svc := "svc." + w.ClusterDomain
		searches = []string{w.pod.Namespace + "." + svc, svc, w.ClusterDomain}
		options["ndots"] = "5"
	case spec.DNSPolicy != corev1.DNSNone:
		hosts, err := os.ReadFile("/etc/resolv.conf")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("read the node's resolv.conf: %w", err)
		}
		b.Write(hosts)
		if len(hosts) > 0 && hosts[len(hosts)-1] != '\n' {
			b.WriteByte('\n')
		}
	}
	if own := spec.DNSConfig; own != nil {
		nameservers = append(nameservers, own.Nameservers...)
		searches = append(searches, own.Searches...)
		for _, option := range own.Options {
			options[option.Name] = ""
			if option.Value != nil {
				options[option.Name] = *option.Value
			}
		}
	}
	for _, server := range nameservers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(searches, " "))
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(resolverOptions(options), " "))
	}
	return b.String(), nil
}

func resolverOptions(options map[string]string) []string {
	var list []string
	for name, value := range options {
		if value != "" {
			name += ":" + value
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// removeSandbox undoes makeNetwork and the volumes. What it cannot remove is
// said in an event and by Run.
func (w *worker) removeSandbox() {
	var err error
	if w.networked && !w.pod.Spec.HostNetwork {
		err = w.Network.DelPod(w.Node, shortID(string(w.pod.UID)))
	}
	if err = errors.Join(err, os.RemoveAll(w.dir)); err == nil {
		return
	}
	err = fmt.Errorf("clean up after Pod %s/%s: %w", w.pod.Namespace, w.pod.Name, err)
	w.events.Event(w.pod, corev1.EventTypeWarning, "FailedKillPod", err.Error())
	w.kubelet.mu.Lock()
	defer w.kubelet.mu.Unlock()
	w.leftovers = append(w.leftovers, err)
}
