// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package docs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/test/lab"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

const (
	// scriptTime is how long a script may take: most wait for something, with a deadline of their own.
	scriptTime = 15 * time.Minute
	// patience is how long the cluster may take until it shows a change.
	patience = 4 * time.Minute
	// rate is the number of new connections a second.
	rate = 60
)

var config = lab.Default()

// startLab starts a lab for a page, and stops it after the test.
func startLab(t *testing.T) client.Client {
	t.Helper()
	if labtest.IsRunning() {
		t.Fatal("a lab is running, and each page begins with a new one: stop it with `make lab-down`")
	}
	api, stop, err := labtest.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return api
}

// TestMigration follows docs/migration.md on a cluster as kubeadm makes it, with kube-proxy, while every node connects to
// a Service: no connection may fail.
func TestMigration(t *testing.T) {
	api := startLab(t)
	for _, step := range []func() error{
		// The lab makes it, with the apiserver's address, which is a step of the page.
		func() error { return labtest.Command("kubectl", "delete", "namespace", "fairlead-system") },
		func() error { return labtest.StartKubeProxy(config, "iptables", "nft") },
		labtest.AwaitKubeProxy,
		func() error { return labtest.Command("kubectl", "apply", "-f", "testdata/shop.yaml") },
		func() error {
			return labtest.Command("kubectl", "-n", "shop", "rollout", "status", "deployment/web", "--timeout=4m")
		},
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	shop := connect(t, api)
	follow(t, "docs/migration.md")
	shop.Stop()
	total := 0
	for _, r := range shop.Take() {
		if total++; r.Err != nil {
			t.Errorf("%s: a connection from %s to %s: %v", r.Start.Format(time.TimeOnly), r.From, r.To.Address, r.Err)
		}
	}
	t.Logf("%d connections", total)
	if total < 1000 {
		t.Errorf("only %d connections", total)
	}
}

// TestRollouts follows docs/rollouts.md on a cluster with Fairlead.
func TestRollouts(t *testing.T) {
	startLab(t)
	if err := labtest.Install(); err != nil {
		t.Fatal(err)
	}
	follow(t, "docs/rollouts.md")
}

// TestInstallation follows docs/installation.md on a cluster without kube-proxy: manifests, and then Helm.
func TestInstallation(t *testing.T) {
	startLab(t)
	if err := labtest.Command("kubectl", "delete", "namespace", "fairlead-system"); err != nil { // as in TestMigration
		t.Fatal(err)
	}
	inside, err := clientcmd.LoadFromFile(config.InsideKubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	apiserver := inside.Clusters[inside.Contexts[inside.CurrentContext].Cluster].Server
	addHelm(t)
	const page, chart = "docs/installation.md", "charts/fairlead/README.md"
	for _, part := range []struct{ page, section string }{
		{page, "The apiserver's address"}, {page, "Manifests"}, {page, "Is it well"}, {page, "Uninstall"},
		{page, "The apiserver's address"}, {page, "Helm"}, {page, "Is it well"}, {chart, "Upgrade"}, {page, "Is it well"}, {chart, "Uninstall"},
	} {
		var scripts []block
		for _, b := range scriptsOf(t, part.page) {
			if b.section == part.section {
				b.script = strings.ReplaceAll(b.script, "https://192.0.2.10:6443", apiserver)
				scripts = append(scripts, b)
			}
		}
		if len(scripts) == 0 {
			t.Fatalf("%s has no scripts in the section %q", part.page, part.section)
		}
		run(t, part.page, scripts)
	}
}

// addHelm adds Helm to the PATH, with folders of its own.
func addHelm(t *testing.T) {
	t.Helper()
	path, err := exec.CommandContext(t.Context(), filepath.Join(labtest.Repo, "hack", "helm.sh")).Output()
	if err != nil {
		t.Fatalf("build helm: %v", err)
	}
	dir := t.TempDir()
	if err := os.Symlink(strings.TrimSpace(string(path)), filepath.Join(dir, "helm")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, folder := range []string{"HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"} {
		t.Setenv(folder, dir)
	}
}

// follow runs all scripts of a page.
func follow(t *testing.T, page string) {
	t.Helper()
	run(t, page, scriptsOf(t, page))
}

func scriptsOf(t *testing.T, page string) []block {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(labtest.Repo, page))
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := blocks(content)
	if err != nil || len(scripts) == 0 {
		t.Fatalf("%s: %d scripts, %v", page, len(scripts), err)
	}
	return scripts
}

// run runs scripts of a page, each in a shell of its own, from the root of the repository.
func run(t *testing.T, page string, scripts []block) {
	t.Helper()
	for _, b := range scripts {
		fmt.Printf("==== %s:%d (%s)\n%s", page, b.line, time.Now().Format(time.TimeOnly), b.script)
		output, err := runScript(t.Context(), b.script)
		if err == nil && b.output != "" {
			err = differs(b.output, output)
		}
		if err != nil {
			t.Fatalf("%s:%d: %v", page, b.line, err)
		}
	}
}

// runScript returns what a script prints, and shows it.
func runScript(ctx context.Context, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, scriptTime)
	defer cancel()
	bin, err := filepath.Abs(filepath.Join(labtest.Repo, "bin"))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = labtest.Repo
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH")) // kubectl-fairlead
	cmd.WaitDelay = 10 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&output, os.Stdout), os.Stderr
	err = cmd.Run()
	return output.String(), err
}

// connect starts connections from every node to the cluster IP of the Service web, once all nodes reach it.
func connect(t *testing.T, api client.Reader) *traffic.Generator {
	t.Helper()
	svc := &corev1.Service{}
	if err := api.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "web"}, svc); err != nil {
		t.Fatal(err)
	}
	to := traffic.Target{Service: svc.Name, Family: corev1.IPv4Protocol, Protocol: corev1.ProtocolTCP,
		Address: net.JoinHostPort(svc.Spec.ClusterIP, "9000")}
	load := traffic.Load{Targets: []traffic.Target{to}, Rate: rate}
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		from := traffic.Source{Name: node, Node: node, NetNSPath: filepath.Join("/run/netns", config.Prefix+node)}
		if err := labtest.Eventually(t.Context(), patience, func() error { return traffic.Ask(from.NetNSPath, to.Address) }); err != nil {
			t.Fatal(err)
		}
		load.Sources = append(load.Sources, from)
	}
	g := traffic.Start(load)
	t.Cleanup(g.Stop)
	return g
}
