// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// restartPause keeps a program that ends at once from keeping the machine busy.
const restartPause = time.Second

// program is one that runs for as long as the node does.
type program struct {
	path string
	args []string
	log  *os.File
	// needs is a socket that has to answer first.
	needs string
}

// run starts the program, and again when it ends.
func (p *program) run(children *children) error {
	for {
		p.awaitNeeds()
		ended, err := children.start(p)
		if err != nil {
			return err
		}
		<-ended
		fmt.Fprintln(p.log, "lab: ended; it is started again")
		time.Sleep(restartPause)
	}
}

func (p *program) awaitNeeds() {
	for p.needs != "" {
		conn, err := net.Dial("unix", p.needs)
		if err == nil {
			conn.Close()
			return
		}
		<-tick()
	}
}

// children are those of the node's init: the programs, and, as of the first process of every PID
// namespace, all whose own parent has ended.
type children struct {
	mu    sync.Mutex
	ended map[int]chan struct{}
}

// start runs a program; the channel is closed when it has ended.
func (c *children) start(p *program) (<-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	process, err := os.StartProcess(p.path, append([]string{filepath.Base(p.path)}, p.args...), &os.ProcAttr{
		Dir: "/", Files: []*os.File{nil, p.log, p.log},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	ended := make(chan struct{})
	c.ended[process.Pid] = ended
	return ended, process.Release()
}

// reap waits for children that end, for ever.
func (c *children) reap() {
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if errors.Is(err, unix.ECHILD) {
			<-tick() // all are waiting to be started again
		}
		if err != nil {
			continue
		}
		c.mu.Lock()
		if ended, ok := c.ended[pid]; ok {
			close(ended)
			delete(c.ended, pid)
		}
		c.mu.Unlock()
	}
}

// supervise runs the programs until one cannot be started.
func supervise(programs ...*program) error {
	c := &children{ended: map[int]chan struct{}{}}
	go c.reap()
	failed := make(chan error)
	for _, p := range programs {
		go func() { failed <- p.run(c) }()
	}
	return <-failed
}
