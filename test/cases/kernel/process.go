// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// process is a program that runs in the node's network namespace.
type process struct {
	cmd   *exec.Cmd
	ended chan error
}

// startProcess starts a program that appends what it has to say to a file.
func (n *Network) startProcess(logFile, program string, args ...string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(program, args...), ended: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // should the test die first
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // whose end would be the process's
		defer log.Close()
		err := network.DoOnThread(n.node.path(), p.cmd.Start)
		started <- err
		if err != nil {
			return // the thread may be in the namespace still: it ends
		}
		p.ended <- p.cmd.Wait()
		runtime.UnlockOSThread()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return p, nil
}

// end asks the process to end, and waits for it.
func (p *process) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end %s: %w", p.cmd.Path, err)
	}
	select {
	case err := <-p.ended:
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
			return nil // it takes the signal as it comes
		}
		return err
	case <-time.After(longest):
		return errors.Join(fmt.Errorf("%s does not end", p.cmd.Path), p.cmd.Process.Kill())
	}
}
