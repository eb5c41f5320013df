// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import "maps"

func init() { maps.Copy(proxyConfigCases, takeoverCases) }

// takeoverCases are the cases of spec.kubeProxy.
var takeoverCases = map[string]proxyConfigCase{
	"the DaemonSet of kube-proxy": {
		`spec: {kubeProxy: {takeOver: true, daemonSet: networking/kube-proxy.arm}}`,
		`spec: {kubeProxy: {takeOver: true, daemonSet: kube-proxy}}`,
		"`daemonSet` must be a namespace and a name, such as kube-system/kube-proxy",
	},
}
