// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/test/cases"
)

// virtualDevice holds the addresses of Services in the mode IPVS.
const virtualDevice = "kube-ipvs0"

// Agent is the real agent, a process in the node's network namespace.
type Agent struct {
	network         *Network
	mode            v1alpha1.ProxyMode
	program, folder string
	api             *api
	process         *process
	generation      int64
	slices          map[string]*v1alpha1.ServiceRuleSlice // in the API

	mu       sync.Mutex
	status   v1alpha1.NodeRuleSetStatus // as the agent has reported it
	reported chan struct{}              // closed, and replaced, at a report
}

// StartAgent starts the program of the agent in a mode, with a folder for its
// state and log.
func (n *Network) StartAgent(program, folder string, mode v1alpha1.ProxyMode) (*Agent, error) {
	a := &Agent{network: n, mode: mode, program: program, folder: folder, reported: make(chan struct{})}
	var err error
	if a.api, err = n.serveAPI(a.report); err != nil {
		return nil, err
	}
	a.write(cases.NewCluster().Compile())
	err = a.api.writeKubeconfig(a.file("kubeconfig"))
	if err == nil {
		err = a.start()
	}
	if err != nil {
		return nil, errors.Join(err, a.api.listener.Close())
	}
	return a, nil
}

func (a *Agent) file(name string) string { return filepath.Join(a.folder, name) }

// LogFile is where the agent writes what it has to say.
func (a *Agent) LogFile() string { return a.file("agent.log") }

func (a *Agent) start() (err error) {
	a.process, err = a.network.startProcess(a.LogFile(), a.program, "--kubeconfig", a.file("kubeconfig"),
		"--state-dir", a.file("state"), "--node-name", cases.NewCluster().Node.Name)
	return err
}

// Restart ends the process and starts another one.
func (a *Agent) Restart() error {
	if err := a.process.end(); err != nil {
		return err
	}
	return a.start()
}

// Stop ends the process and what serves it.
func (a *Agent) Stop() error { return errors.Join(a.process.end(), a.api.listener.Close()) }

// Settle waits until nothing of deleted Services and inactive modes is left that waits
// for open connections and refuses new ones: virtual servers of IPVS, and addresses of
// the mode Userspace.
func (a *Agent) Settle() error {
	if a.wantNothing() == nil {
		return nil
	}
	if err := a.Program(cases.NewCluster()); err != nil {
		return err
	}
	for deadline := time.Now().Add(longest); ; time.Sleep(rest) {
		err := a.wantNothing()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (a *Agent) wantNothing() error {
	left, err := a.network.proxiedAddresses(nil)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%s are the node's still", left)
	}
	if has, err := netlink.HasFamily(context.Background(), "IPVS"); err != nil || !has {
		return err
	}
	return a.network.node.do(a.wantNoServers)
}

// Proxies says whether the agent proxies by itself.
func (a *Agent) Proxies(c *cases.Cluster) bool {
	return a.modeOf(c.Config.Spec.Mode) == v1alpha1.ModeUserspace
}

// modeOf is the mode of a policy: Auto is the runner's mode.
func (a *Agent) modeOf(policy v1alpha1.ProxyMode) v1alpha1.ProxyMode {
	if policy == v1alpha1.ModeAuto {
		return a.mode
	}
	return policy
}

func (a *Agent) wantNoServers() error {
	const header = 3 // lines
	table, err := os.ReadFile("/proc/net/ip_vs")
	if err != nil {
		return err
	}
	if bytes.Count(table, []byte("\n")) > header {
		return fmt.Errorf("virtual servers are left:\n%s", table)
	}
	if _, err := net.InterfaceByName(virtualDevice); err == nil && a.mode != v1alpha1.ModeIPVS {
		return fmt.Errorf("device %s is left", virtualDevice)
	}
	return nil
}

// report takes the status that the agent writes. Events are of no interest.
func (a *Agent) report(path string, body []byte) {
	var node v1alpha1.NodeRuleSet
	if filepath.Base(path) != "status" || json.Unmarshal(body, &node) != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = node.Status
	close(a.reported)
	a.reported = make(chan struct{})
}

// write writes what the controller would write, the node as a new generation.
func (a *Agent) write(c cases.Compiled) {
	specs := map[string]*v1alpha1.ServiceRuleSlice{}
	for name, spec := range c.Slices {
		specs[name] = &v1alpha1.ServiceRuleSlice{Spec: spec, ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: model.SliceLabels(model.ServiceOf(&spec)),
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: v1alpha1.ControllerName, Operation: metav1.ManagedFieldsOperationApply,
				FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}},
		}}
	}
	// The controller marks a slice before it deletes it. Objects in the API are not changed.
	marked := map[string]*v1alpha1.ServiceRuleSlice{}
	for name, slice := range a.slices {
		marked[name] = slice.DeepCopy()
		if specs[name] == nil {
			marked[name].Annotations = map[string]string{v1alpha1.AnnotationObsolete: "true"}
		}
	}
	replace(a.api, ruleSlices, marked)
	replace(a.api, ruleSlices, specs)
	a.slices = specs
	a.generation++
	c.Node.Spec.Mode = a.modeOf(c.Node.Spec.Mode)
	replace(a.api, nodeRuleSets, map[string]*v1alpha1.NodeRuleSet{c.Node.Name: {
		ObjectMeta: metav1.ObjectMeta{Name: c.Node.Name, UID: "the-node", Generation: a.generation},
		Spec:       c.Node.Spec,
	}})
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
	// Slices and node come by two watches. The agent reports a generation at once,
	// but a late slice only with the next generation.
	for deadline := time.Now().Add(2 * longest); ; {
		a.write(c)
		status, err := a.programmed()
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

// programmed waits until the agent has programmed the newest generation, and
// returns its report.
func (a *Agent) programmed() (v1alpha1.NodeRuleSetStatus, error) {
	deadline := time.After(longest)
	for {
		a.mu.Lock()
		status, reported := a.status, a.reported
		a.mu.Unlock()
		if status.ObservedGeneration == a.generation {
			return status, nil
		}
		select {
		case <-reported:
		case <-deadline:
			return status, fmt.Errorf("the agent has not programmed generation %d: %+v", a.generation, status)
		}
	}
}
