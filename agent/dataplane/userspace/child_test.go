// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// childEnv turns the test binary into a separate proxy, with its own file descriptors and
// memory. Its value is the limit of open files.
const childEnv = "FAIRLEAD_TEST_PROXY_FILES"

const childVIP = "10.96.0.1:80"

// othersEnv is the number of Services that a child has besides.
const othersEnv = "FAIRLEAD_TEST_PROXY_OTHERS"

func otherVIP(i int) string { return fmt.Sprintf("10.96.1.%d:80", 1+i) }

// allLeading returns the frontends of a child.
func allLeading(to ...string) []*model.Frontend {
	out := []*model.Frontend{leading(childVIP, model.TCP, to...)}
	others, _ := strconv.Atoi(os.Getenv(othersEnv)) // none without it
	for i := range others {
		out = append(out, leading(otherVIP(i), model.TCP, to...))
	}
	for i, f := range out {
		f.Service = model.ServiceID{Namespace: "default", Name: fmt.Sprint("web-", i), Family: corev1.IPv4Protocol}
	}
	return out
}

func TestMain(m *testing.M) {
	if files := os.Getenv(childEnv); files != "" {
		if err := runChild(files); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// reply is the state of a child.
type reply struct {
	Goroutines, Files int
	Heap, Memory      uint64 // bytes in use, and taken from the system
	Unsupported       string
	Error             string
}

// runChild proxies for childVIP in its network namespace. A line of its input names
// endpoints, is empty, or is one of the words hoard and release. hoard takes all free file
// descriptors.
func runChild(files string) error {
	n, err := strconv.ParseUint(files, 10, 64)
	if err == nil {
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n})
	}
	if err != nil {
		return err
	}
	d, err := New(Options{Log: logr.Discard()})
	if err != nil {
		return err
	}
	var hoarded []*os.File
	have := allLeading()
	if _, err := d.Sync(context.Background(), desired(have...), nil); err != nil {
		return err
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var r reply
		switch line := lines.Text(); line {
		case "":
		case "hoard":
			for err := error(nil); err == nil; {
				var f *os.File
				if f, err = os.Open(os.DevNull); err == nil {
					hoarded = append(hoarded, f)
				}
			}
		case "release":
			for _, f := range hoarded {
				f.Close()
			}
			hoarded = nil
		default:
			next := allLeading(strings.Fields(line)...)
			if _, err := d.Apply(context.Background(), model.Diff(desired(have...), desired(next...))); err != nil {
				r.Error = err.Error()
			}
			have = next
		}
		r.describe(d, have, len(hoarded) == 0)
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// describe fills in the state of the child. Without a free descriptor the child cannot
// count them.
func (r *reply) describe(d *Dataplane, have []*model.Frontend, count bool) {
	stats, err := d.Sync(context.Background(), desired(have...), nil)
	if err != nil {
		r.Error = err.Error()
	}
	r.Unsupported = desiredtest.Unsupported(stats)
	runtime.GC()
	runtime.GC() // the first run only empties the pools
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.Goroutines, r.Heap, r.Memory = runtime.NumGoroutine(), m.HeapInuse, m.Sys-m.HeapReleased
	if !count {
		return
	}
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		r.Files = len(list)
	}
}

// child is a proxy in a separate process, on the node.
type child struct {
	t       *testing.T
	in      io.Writer
	answers *bufio.Scanner
}

func (n *topology) child(files int, env ...string) *child {
	n.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), env...), fmt.Sprintf("%s=%d", childEnv, files))
	var log bytes.Buffer
	cmd.Stderr = &log
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	netnstest.Do(n.t, n.node, cmd.Start)
	n.t.Cleanup(func() {
		in.Close() // it ends
		if err := cmd.Wait(); err != nil {
			n.t.Errorf("the proxy: %v\n%s", err, log.String())
		}
	})
	return &child{t: n.t, in: in, answers: bufio.NewScanner(out)}
}

// say sends a line to the child and returns its reply.
func (c *child) say(line string) (r reply) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		c.t.Fatal(err)
	}
	if !c.answers.Scan() {
		c.t.Fatal("the proxy has ended")
	}
	if err := json.Unmarshal(c.answers.Bytes(), &r); err != nil {
		c.t.Fatal(err)
	}
	if r.Error != "" {
		c.t.Fatal(r.Error)
	}
	return r
}
