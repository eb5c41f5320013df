// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// restartPause keeps a process that dies at once from keeping the machine busy.
const restartPause = time.Second

// launcher starts processes that the kernel kills when the supervisor dies. The
// kernel means the forking thread by that, and Go ends threads when it likes:
// so one thread forks them all and stays.
type launcher struct {
	forks chan func()
}

func newLauncher() *launcher {
	l := &launcher{forks: make(chan func())}
	go l.run()
	return l
}

func (l *launcher) run() {
	runtime.LockOSThread()
	if os.Getpid() == unix.Gettid() {
		// Go parks the process's first thread instead of ending it, and close
		// wants an end: another thread is to be found while this one is taken.
		other := make(chan struct{})
		go func() { defer close(other); l.run() }()
		<-other
		runtime.UnlockOSThread()
		return
	}
	for fork := range l.forks {
		fork()
	}
}

// close ends the thread, and with it every process that is left.
func (l *launcher) close() { close(l.forks) }

func (l *launcher) start(netnsPath string, cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	result := make(chan error, 1)
	l.forks <- func() { result <- network.DoOnThread(netnsPath, cmd.Start) }
	return <-result
}

// component is one process of the control plane.
type component struct {
	name string
	args []string
}

// controlPlane keeps the components running in one network namespace.
type controlPlane struct {
	config    Config
	netnsPath string
	launcher  *launcher
	changed   func([]ComponentState) error
	fail      context.CancelCauseFunc

	running sync.WaitGroup

	mu     sync.Mutex
	states []ComponentState
}

// start runs the component until ctx ends, and again whenever it ends itself.
// Only when it ends before it was ever any use, see giveUp, that is an error.
func (p *controlPlane) start(ctx context.Context, c component, giveUp func() bool) {
	p.mu.Lock()
	index := len(p.states)
	p.states = append(p.states, ComponentState{Name: c.name, Restarts: -1})
	p.mu.Unlock()
	p.running.Go(func() {
		for ctx.Err() == nil {
			err := p.runOnce(ctx, c, index)
			if ctx.Err() != nil {
				return
			}
			if giveUp() {
				p.fail(fmt.Errorf("%s ended: %w; see %s", c.name, err, p.logFile(c.name)))
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(restartPause):
			}
		}
	})
}

func (p *controlPlane) logFile(name string) string {
	return filepath.Join(p.config.LogDir(), name+".log")
}

// runOnce runs the component until it or ctx ends. It is killed outright:
// nothing that it would clean up outlives the lab.
func (p *controlPlane) runOnce(ctx context.Context, c component, index int) error {
	log, err := os.OpenFile(p.logFile(c.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, filepath.Join(p.config.AssetsDir, c.name), c.args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := p.launcher.start(p.netnsPath, cmd); err != nil {
		return err
	}
	if err := p.note(index, cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	return errors.New("exit status 0")
}

func (p *controlPlane) note(index, pid int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.states[index].PID = pid
	p.states[index].Restarts++
	return p.changed(slices.Clone(p.states))
}

func (p *controlPlane) snapshot() []ComponentState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.states)
}
