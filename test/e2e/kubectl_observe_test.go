// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/observation"
)

// observes checks that connections are shown as they happen, with an endpoint that `explain` lists, and that nothing
// stays on the node when the user has gone.
func observes(t *testing.T, node string, service *corev1.Service, endpoints []string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, filepath.Join(repo, "bin", "kubectl-fairlead"), "observe", "-n", service.Namespace, "--to", "echo:tcp", "--node", node, "-o", "json")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan observation.Event)
	go func() {
		defer close(shown)
		var e observation.Event
		for decode := json.NewDecoder(out); decode.Decode(&e) == nil; e = (observation.Event{}) {
			shown <- e
		}
	}()
	eventually(t, time.Minute, func() error { return observers(node, 1) })
	knock := time.NewTicker(200 * time.Millisecond) // until the first is seen
	defer knock.Stop()
	for seen := 0; seen < 3; {
		select {
		case <-knock.C:
			if err := ask(node, service.Spec.ClusterIP, echoPort); err != nil {
				t.Fatal(err)
			}
		case e, more := <-shown:
			if !more {
				t.Fatal("observe has ended: ", cmd.Wait(), errOut.String())
			}
			seen++
			if e.Service != service.Namespace+"/echo" || e.Port != "tcp" || e.Node != node || e.ClientNode != node || !slices.Contains(endpoints, e.Endpoint) ||
				!strings.HasPrefix(e.EndpointPod, service.Namespace+"/echo-") {
				t.Errorf("shown: %+v, endpoints %v", e, endpoints)
			}
		}
	}
	stop()
	for range shown { // the rest
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("observe: %v: %s", err, errOut.String())
	}
	eventually(t, time.Minute, func() error { return observers(node, 0) })
}

// observers returns an error unless a number of processes observe a node.
func observers(node string, want int) error {
	space, err := os.Stat(nsPath(node))
	if err != nil {
		return err
	}
	found := 0
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range commands {
		text, _ := os.ReadFile(file) // it may have ended
		its, err := os.Stat(filepath.Join(filepath.Dir(file), "ns", "net"))
		if err == nil && os.SameFile(space, its) && bytes.HasPrefix(text, []byte("/fairlead-agent\x00observe\x00")) {
			found++
		}
	}
	if found != want {
		return fmt.Errorf("%d processes observe %s, want %d", found, node, want)
	}
	return nil
}
