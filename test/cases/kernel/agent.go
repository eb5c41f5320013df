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
	network         *Network
	program, folder string
	api             *api
	listener        net.Listener
	process         *process
}

// process is a run of the program.
type process struct {
	cmd   *exec.Cmd
	ended chan error
}

// StartAgent starts the program of the agent, with a folder for its state and log.
func (n *Network) StartAgent(program, folder string) (*Agent, error) {
	a := &Agent{network: n, program: program, folder: folder, api: newAPI()}
	var err error
	if a.listener, err = network.Listen(n.node.path(), "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go a.api.serve(a.listener)
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: cases,
contexts: [{name: cases, context: {cluster: cases}}], clusters: [{name: cases, cluster: {server: "http://%s"}}]}`, a.listener.Addr())
	err = os.WriteFile(a.file("kubeconfig"), []byte(text), 0o600)
	if err == nil {
		err = a.start()
	}
	if err != nil {
		return nil, errors.Join(err, a.listener.Close())
	}
	return a, nil
}

func (a *Agent) file(name string) string { return filepath.Join(a.folder, name) }

// LogFile is where the agent writes what it has to say.
func (a *Agent) LogFile() string { return a.file("agent.log") }

func (a *Agent) start() error {
	log, err := os.OpenFile(a.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	p := &process{ended: make(chan error, 1)}
	p.cmd = exec.Command(a.program, "--kubeconfig", a.file("kubeconfig"), "--state-dir", a.file("state"),
		"--node-name", cases.NewCluster().Node.Name)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // should the test die first
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // whose death would be the process's
		defer log.Close()
		err := network.DoOnThread(a.network.node.path(), p.cmd.Start)
		started <- err
		if err == nil {
			p.ended <- p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	a.process = p
	return nil
}

func (a *Agent) end() error {
	if err := a.process.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end the agent: %w", err)
	}
	select {
	case err := <-a.process.ended:
		return err
	case <-time.After(10 * time.Second):
		return errors.Join(errors.New("the agent does not end"), a.process.cmd.Process.Kill())
	}
}

// Restart ends the process and starts another one.
func (a *Agent) Restart() error {
	if err := a.end(); err != nil {
		return err
	}
	return a.start()
}

// Stop ends the process and what serves it.
func (a *Agent) Stop() error { return errors.Join(a.end(), a.listener.Close()) }

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
