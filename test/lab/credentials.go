// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
	"github.com/fairlead-proxy/fairlead/test/lab/pki"
)

// credentials are the ones that the supervisor itself uses.
type credentials struct {
	authority *pki.Authority
	admin     pki.Pair
	// insideURL is the apiserver's address in the lab's network.
	insideURL string
}

// writeCredentials makes the authority and writes what the components read.
func writeCredentials(config Config, control network.Host) (*credentials, error) {
	authority, err := pki.NewAuthority("fairlead-lab")
	if err != nil {
		return nil, err
	}
	dir := config.pkiDir()
	if err := authority.Write(dir, "ca"); err != nil {
		return nil, err
	}
	signing, err := pki.SigningKey()
	if err != nil {
		return nil, err
	}
	if err := signing.Write(dir, "sa"); err != nil {
		return nil, err
	}
	serving, err := authority.Server("kube-apiserver", apiserverNames(control)...)
	if err != nil {
		return nil, err
	}
	if err := serving.Write(dir, "apiserver"); err != nil {
		return nil, err
	}
	kubeletClient, err := authority.Client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return nil, err
	}
	if err := kubeletClient.Write(dir, "apiserver-kubelet-client"); err != nil {
		return nil, err
	}
	admin, err := authority.Client("kubernetes-admin", "system:masters")
	if err != nil {
		return nil, err
	}
	c := &credentials{
		authority: authority, admin: admin,
		insideURL: "https://" + net.JoinHostPort(control.IPv4.String(), apiserverPort),
	}
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		pair, err := authority.Client("system:" + name)
		if err != nil {
			return nil, err
		}
		if err := c.writeKubeconfig(config.componentKubeconfig(name), c.insideURL, pair); err != nil {
			return nil, err
		}
	}
	return c, c.writeKubeconfig(config.InsideKubeconfig(), c.insideURL, admin)
}

func apiserverNames(control network.Host) []string {
	return []string{
		control.IPv4.String(), control.IPv6.String(),
		// The first address of each Service range is that of the Service kubernetes.
		network.ServiceCIDRs[0].Addr().Next().String(), network.ServiceCIDRs[1].Addr().Next().String(),
		"127.0.0.1", "::1", "localhost",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain,
	}
}

func (c *credentials) writeKubeconfig(path, server string, pair pki.Pair) error {
	if err := clientcmd.WriteToFile(c.kubeconfig(server, pair), path); err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	return nil
}

func (c *credentials) kubeconfig(server string, pair pki.Pair) clientcmdapi.Config {
	const name = "fairlead-lab"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: c.authority.Cert}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	return *config
}

// restConfig is a client's configuration whose connections start in the network
// namespace held by netnsPath.
func (c *credentials) restConfig(pair pki.Pair, netnsPath string) *rest.Config {
	return &rest.Config{
		Host: c.insideURL,
		TLSClientConfig: rest.TLSClientConfig{
			CAData: c.authority.Cert, CertData: pair.Cert, KeyData: pair.Key,
		},
		Dial: network.DialContext(netnsPath),
		QPS:  200, Burst: 400,
		UserAgent: "fairlead-lab",
	}
}
