// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/fairlead-proxy/fairlead/test/cases"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// Agent is the real agent, a process in the node's network namespace.
type Agent struct {
	api    *api
	listen net.Listener
	stop   chan struct{} // closed to end the process
	ended  chan error
}

// StartAgent starts the program of the agent, with a folder for its state and log.
func (n *Network) StartAgent(program, folder string) (*Agent, error) {
	a := &Agent{api: newAPI(), stop: make(chan struct{}), ended: make(chan error, 1)}
	var err error
	if a.listen, err = network.Listen(n.node.path(), "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go a.api.serve(a.listen)
	kubeconfig := filepath.Join(folder, "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: cases,
contexts: [{name: cases, context: {cluster: cases}}], clusters: [{name: cases, cluster: {server: "http://%s"}}]}`, a.listen.Addr())
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		return nil, errors.Join(err, a.listen.Close())
	}
	log, err := os.Create(filepath.Join(folder, "agent.log"))
	if err != nil {
		return nil, errors.Join(err, a.listen.Close())
	}
	cmd := exec.Command(program, "--kubeconfig", kubeconfig, "--node-name", cases.NewCluster().Node.Name,
		"--state-dir", filepath.Join(folder, "state"), "--zap-devel")
	cmd.Stdout, cmd.Stderr = log, log
	started := make(chan error)
	go func() {
		// The process dies with this thread, should the test die first.
		runtime.LockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := network.DoOnThread(n.node.path(), cmd.Start)
		started <- err
		if err == nil {
			a.ended <- cmd.Wait()
		}
		log.Close()
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start the agent: %w", err), a.listen.Close())
	}
	go func() {
		<-a.stop
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	}()
	return a, nil
}

// Stop ends the process.
func (a *Agent) Stop() error {
	close(a.stop)
	select {
	case err := <-a.ended:
		return errors.Join(err, a.listen.Close())
	case <-time.After(10 * time.Second):
		return errors.Join(errors.New("the agent did not end"), a.listen.Close())
	}
}

// Program gives the agent what the controller would write, and returns when the
// agent has reported that exactly this is in the kernel.
func (a *Agent) Program(cluster *cases.Cluster) error {
	c := cluster.Compile()
	var digest uint64
	for _, spec := range c.Slices {
		n, err := strconv.ParseUint(spec.Digest, 16, 64)
		if err != nil {
			return fmt.Errorf("digest: %w", err)
		}
		digest ^= n
	}
	want := fmt.Sprintf("%016x", digest)
	a.api.setSlices(c.Slices)
	// Slices and node come by two watches. The agent reports a generation at once,
	// but a late slice only with the next generation.
	for deadline := time.Now().Add(20 * time.Second); ; {
		status, err := a.api.reported(a.api.setNode(c), 10*time.Second)
		if err != nil {
			return err
		}
		if status.RulesDigest == want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the agent has programmed other rules than it should: digest %s, not %s: %+v", status.RulesDigest, want, status)
		}
	}
}
