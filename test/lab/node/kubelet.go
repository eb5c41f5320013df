// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
)

const (
	kubeletConfig = "/etc/kubernetes/kubelet.yaml"
	kubeconfig    = "/etc/kubernetes/kubelet.conf"
	clientCA      = "/etc/kubernetes/pki/ca.crt"
	servingCert   = "/etc/kubernetes/pki/kubelet.crt"
	servingKey    = "/etc/kubernetes/pki/kubelet.key"
	resolvConf    = "/etc/kubernetes/resolv.conf"
)

func kubeletArgs(config Config) []string {
	return []string{
		"--config=" + kubeletConfig,
		"--kubeconfig=" + kubeconfig,
		"--hostname-override=" + config.Name,
		"--node-ip=" + config.IPv4.String() + "," + config.IPv6.String(),
		"--root-dir=/var/lib/kubelet",
		"--v=2",
	}
}

func kubeletFiles(config Config) map[string]string {
	return map[string]string{
		kubeconfig: string(config.Kubeconfig), clientCA: string(config.ClientCA),
		servingCert: string(config.ServingCert), servingKey: string(config.ServingKey),
		kubeletConfig: fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://%s
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %s}
authorization: {mode: Webhook}
tlsCertFile: %s
tlsPrivateKeyFile: %s
readOnlyPort: 0
clusterDNS: [%s]
clusterDomain: %s
resolvConf: %s
# The machine's other processes are not to be killed before kubelet.
oomScoreAdj: 0
# Nodes share the memory and the disk of one machine, and have no images to spare.
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
# Tests compare all rules of a node: these would stay, and keep tables that are made for others.
makeIPTablesUtilChains: false
# What a test changes shows soon: files of ConfigMaps, and a container that has ended.
syncFrequency: 5s
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
# One Pod need not wait for others.
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 200
kubeAPIBurst: 400
`, containerdSocket, clientCA, servingCert, servingKey, config.ClusterDNS, config.ClusterDomain, resolvConf),
	}
}
