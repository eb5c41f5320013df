// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// giantCommand measures only the modes on a node with an oversized Service; measureGiantCommand
// measures one of them.
const (
	giantCommand        = "giant"
	measureGiantCommand = "measure-giant"
)

const (
	giantName      = "giant"
	giantAddresses = 256 // external ones
	giantPorts     = 100
	giantEndpoints = 1000

	// besideGiant is the number of other Services.
	besideGiant = 1000
)

// giantModes are the modes to measure, and their variants: of iptables, or uncut.
var giantModes = []struct {
	mode    v1alpha1.ProxyMode
	variant string
}{
	{v1alpha1.ModeNFTables, ""}, {v1alpha1.ModeNFTables, uncut},
	{v1alpha1.ModeIPTables, "nft"}, {v1alpha1.ModeIPTables, "legacy"},
	{v1alpha1.ModeUserspace, ""}, {v1alpha1.ModeUserspace, uncut},
}

// uncut is the variant in which the node gets all addresses, as if the controller did not
// cut them.
const uncut = "uncut"

const giantText = `
## An oversized Service

A Service with %d external addresses, %d ports and %d endpoints among %d Services of %d endpoints, through the agent's loop
without the API. The controller cuts the addresses to 10 and writes an event (rules/compile/bounds.go); "uncut" is a node
that gets all of them. IPTables uses 32 endpoints of each port. "Others" are changes of one endpoint of another Service,
one every %s: the longest time from the agent's copy of the slices to the kernel; "alone" is without the large Service.
"CPU" is the processor time of the longest step of the loop, with the programs that it runs: the others wait for one step, so
this is about what they wait for on an idle machine. "Load" is the load average of the machine.

| mode | load | alone | CPU | frontends | created | others | CPU | one endpoint | others | CPU | deleted | others | CPU | limitations |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|
`

// printGiants prints only that part of the page.
func (o options) printGiants(ctx context.Context) error {
	text, err := o.measureGiants(ctx)
	if err != nil {
		return err
	}
	return o.print(text)
}

// measureGiants measures an oversized Service in each mode.
func (o options) measureGiants(ctx context.Context) (string, error) {
	var page strings.Builder
	fmt.Fprintf(&page, giantText, giantAddresses, giantPorts, giantEndpoints, besideGiant, endpointsEach, otherPause)
	for _, m := range giantModes {
		fmt.Fprintln(os.Stderr, "measuring an oversized Service:", m.mode, m.variant)
		var r giantResult
		if err := o.apart(ctx, &r, measureGiantCommand, string(m.mode), m.variant); err != nil {
			return "", fmt.Errorf("%s %s: %w", m.mode, m.variant, err)
		}
		row(&page, strings.TrimSpace(string(m.mode)+" "+m.variant), r.Load, r.Alone.Longest, r.Alone.Step, r.Frontends,
			r.Created.Took, r.Created.Longest, r.Created.Step, r.Endpoint.Took, r.Endpoint.Longest, r.Endpoint.Step,
			r.Deleted.Took, r.Deleted.Longest, r.Deleted.Step,
			strings.Join(r.Limitations, ", "))
	}
	return page.String(), nil
}

// giantResult are the measurements of a mode.
type giantResult struct {
	Load                              string // average of the machine before
	Frontends                         int
	Alone, Created, Endpoint, Deleted giantPhase
	Limitations                       []string // of the node with the Service
}

// giantPhase is a change of the oversized Service, or none.
type giantPhase struct {
	Took    time.Duration
	Others  distribution
	Longest time.Duration // of the others
	Step    time.Duration // processor time of the longest step of the loop
}

// measureGiant measures a mode and prints the result as JSON. This process has a network
// namespace of its own.
func (o options) measureGiant(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("want a mode and a variant of iptables")
	}
	var err error
	if args[1] == "" || args[1] == uncut {
		err = loopbackUp()
	} else {
		err = makeLocalNode(args[1])
	}
	if err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	n, err := startGiantNode(ctx, v1alpha1.ProxyMode(args[0]))
	if err != nil {
		return err
	}
	r := giantResult{Load: strings.Fields(string(load))[0]}
	err = errors.Join(n.run(ctx, &r, args[1] == uncut, o.patience), n.stop())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// run measures all phases.
func (n *giantNode) run(ctx context.Context, r *giantResult, all bool, patience time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, after := giantSlices(0, all), giantSlices(1, all)
	if r.Frontends, err = giantFrontends(before); err != nil {
		return err
	}
	if r.Alone, err = n.phase(ctx, 0, func() { time.Sleep(2 * time.Second) }); err != nil {
		return err
	}
	if r.Created, err = n.phase(ctx, r.Frontends, func() { n.set(before, 0) }); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	r.Limitations = n.limitations()
	changed := slices.DeleteFunc(slices.Clone(after), func(s compile.Slice) bool {
		return slices.ContainsFunc(before, func(o compile.Slice) bool { return o.Name == s.Name && o.Spec.Digest == s.Spec.Digest })
	})
	if r.Endpoint, err = n.phase(ctx, r.Frontends, func() { n.set(changed, 1) }); err != nil {
		return fmt.Errorf("replace an endpoint: %w", err)
	}
	if r.Deleted, err = n.phase(ctx, r.Frontends, func() { n.remove(after) }); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// giantSlices returns the compiled rules of the oversized Service, in the order in which
// the controller writes them. A version has one endpoint that the previous one does not
// have. all: with all addresses.
func giantSlices(version int, all bool) []compile.Slice {
	s := (&cluster{}).service(besideGiant)
	s.Name, s.Spec.Ports = giantName, nil
	for i := range giantAddresses {
		s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, nth("198.19.0.0", i+1))
	}
	in := compile.Input{Service: s}
	var ports []discoveryv1.EndpointPort
	for i := range int32(giantPorts) {
		name, number, protocol := fmt.Sprint("p", i), 8000+i, corev1.ProtocolTCP
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: name, Protocol: protocol, Port: 1 + i, TargetPort: intstr.FromInt32(number)})
		ports = append(ports, discoveryv1.EndpointPort{Name: &name, Port: &number, Protocol: &protocol})
	}
	const each = 100 // endpoints of an EndpointSlice
	for i := range giantEndpoints / each {
		slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: ports, ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprint(giantName, "-", i), Labels: map[string]string{discoveryv1.LabelServiceName: giantName}}}
		for j := range each {
			number, ready, node := i*each+j, true, fmt.Sprint("node-", j)
			if number == 0 {
				number = giantEndpoints + version
			}
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{nth("10.200.0.0", number)}, NodeName: &node,
				Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
		}
		in.EndpointSlices = append(in.EndpointSlices, slice)
	}
	compiled := compile.Service(in)
	for _, p := range compiled.Problems {
		if version == 0 {
			fmt.Fprintln(os.Stderr, "the controller says:", p)
		}
	}
	for i := range compiled.Slices {
		if spec := &compiled.Slices[i].Spec; all {
			spec.ExternalIPs = s.Spec.ExternalIPs
			spec.Digest = model.Digest(*spec)
		}
	}
	return compiled.Slices
}

// raiseFiles allows the process as many open files as it may have, as a Go program does
// that opens files. It returns how many these are.
func raiseFiles() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	return limit.Max, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}
