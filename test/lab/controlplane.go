// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

const (
	etcdURL       = "http://127.0.0.1:2379"
	apiserverPort = "6443"
	clusterDomain = "cluster.local"
	issuer        = "https://kubernetes.default.svc." + clusterDomain
)

// Programs are what the control plane's folder has, and what users and add-ons run.
var Programs = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}

// etcd is reachable only inside its namespace, so it needs no certificates. Its data
// lives as long as the lab: it need not survive a power cut.
func etcd(config Config) component {
	const peer = "http://127.0.0.1:2380"
	return component{"etcd", []string{
		"--name=lab",
		"--data-dir=" + filepath.Join(config.Dir, "etcd"),
		"--unsafe-no-fsync",
		"--listen-client-urls=" + etcdURL,
		"--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=lab=" + peer,
		"--log-level=warn",
	}}
}

func apiserver(config Config, control network.Host) component {
	pki := func(file string) string { return filepath.Join(config.pkiDir(), file) }
	var ranges []string
	for _, cidr := range network.ServiceCIDRs {
		ranges = append(ranges, cidr.String())
	}
	return component{"kube-apiserver", []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=::",
		"--advertise-address=" + control.IPv4.String(),
		"--secure-port=" + apiserverPort,
		"--service-cluster-ip-range=" + strings.Join(ranges, ","),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--client-ca-file=" + pki("ca.crt"),
		"--tls-cert-file=" + pki("apiserver.crt"),
		"--tls-private-key-file=" + pki("apiserver.key"),
		"--service-account-issuer=" + issuer,
		"--service-account-key-file=" + pki("sa.crt"),
		"--service-account-signing-key-file=" + pki("sa.key"),
		"--kubelet-certificate-authority=" + pki("ca.crt"),
		"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
	}}
}

func controllerManager(config Config) component {
	pki := func(file string) string { return filepath.Join(config.pkiDir(), file) }
	silence := 20 * time.Second
	if config.VM != "" {
		silence = 5 * time.Minute // a kubelet that is emulated on a busy machine is late
	}
	return component{"kube-controller-manager", []string{
		"--kubeconfig=" + config.componentKubeconfig("kube-controller-manager"),
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + pki("sa.key"),
		"--root-ca-file=" + pki("ca.crt"),
		// The lab gives the nodes their Pod ranges, since it routes them.
		"--allocate-node-cidrs=false",
		"--node-monitor-period=2s",
		"--node-monitor-grace-period=" + silence.String(),
		// The defaults throttle a test that makes some hundred objects at once.
		"--kube-api-qps=200",
		"--kube-api-burst=400",
	}}
}

func scheduler(config Config) component {
	return component{"kube-scheduler", []string{
		"--kubeconfig=" + config.componentKubeconfig("kube-scheduler"),
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
		"--kube-api-qps=200",
		"--kube-api-burst=400",
	}}
}

func (c Config) componentKubeconfig(name string) string {
	return filepath.Join(c.pkiDir(), name+".kubeconfig")
}
