// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/fairlead-proxy/fairlead/test/lab/images"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// clusterDNS is the address of the Service kube-dns, see the add-ons.
const clusterDNS = "10.96.0.10"

// runKubelet runs the kubelet of a node until ctx ends.
func (s *supervisor) runKubelet(ctx context.Context, node network.Node) error {
	client, err := s.credentials.authority.Client("system:node:"+node.Name, "system:nodes")
	if err != nil {
		return err
	}
	serving, err := s.servingTLS(node)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(s.config.LogDir(), "kubelet-"+node.Name+".log"))
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	err = kubelet.Run(ctx, kubelet.Config{
		Node:       node,
		Network:    s.topology,
		RestConfig: s.credentials.restConfig(client, node.NetNSPath),
		StateDir:   filepath.Join(s.config.Dir, "kubelet"),
		Images: images.Set{
			BinDir: s.config.BinDir, EchoPath: s.config.EchoPath(),
			CoreDNSPath: filepath.Join(s.config.AssetsDir, "coredns"), KubeProxyPath: s.config.KubeProxyPath(),
		},
		ServerTLS:  serving,
		ClusterDNS: clusterDNS, ClusterDomain: clusterDomain,
		Log: textLog(log),
	})
	return errors.Join(err, log.Close())
}

// servingTLS lets only the apiserver in, whose certificate comes from the same
// authority: a client can run commands in every Pod.
func (s *supervisor) servingTLS(node network.Node) (*tls.Config, error) {
	pair, err := s.credentials.authority.Server(node.Name, node.Name, node.IPv4.String(), node.IPv6.String())
	if err != nil {
		return nil, err
	}
	serving, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, fmt.Errorf("serving certificate of %s: %w", node.Name, err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(s.credentials.authority.Cert)
	return &tls.Config{
		Certificates: []tls.Certificate{serving}, MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
	}, nil
}

// textLog writes one line for each message.
func textLog(to io.Writer) logr.Logger {
	return funcr.New(func(prefix, args string) {
		// A failed write of the log cannot be reported.
		_, _ = fmt.Fprintln(to, time.Now().Format(time.RFC3339Nano), prefix, args)
	}, funcr.Options{})
}
