// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package upstream

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

var (
	proxyFlag = flag.String("proxy", "fairlead", "what proxies the Services: fairlead or kube-proxy")
	modeFlag  = flag.String("mode", "", "the mode of it; empty: one after the other, all that the nodes can")
	suiteFlag = flag.String("suite", "all", "the cases: all, conformance, or a regular expression for their names")
)

var (
	config = lab.Default()
	api    client.Client
)

func TestMain(m *testing.M) {
	flag.Parse()
	labtest.Main("upstream", func() (int, error) { return run(m) })
}

// run runs the tests on a lab that is running, or on one that it starts and stops.
func run(m *testing.M) (code int, err error) {
	var args []string
	if strings.EqualFold(*modeFlag, string(v1alpha1.ModeIPVS)) && !kernelHasIPVS() {
		args = append(args, "--vm")
	}
	started, stop, err := labtest.Start(config, args...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	api = started
	return m.Run(), nil
}

// kernelHasIPVS says whether this machine's kernel has ip_vs, which all nodes but a virtual machine share.
func kernelHasIPVS() bool {
	_, err := os.Stat("/proc/net/ip_vs")
	return err == nil
}

// clusterDNS waits until cluster DNS can be reached as a Service.
func clusterDNS() error {
	return labtest.Command("kubectl", "-n", "kube-system", "wait", "deployment/coredns", "--for=condition=Available", "--timeout=3m")
}

// nodeNames returns the nodes of the lab.
func nodeNames(ctx context.Context) ([]string, error) {
	var nodes corev1.NodeList
	if err := api.List(ctx, &nodes); err != nil {
		return nil, err
	}
	var names []string
	for _, node := range nodes.Items {
		names = append(names, node.Name)
	}
	return names, nil
}
