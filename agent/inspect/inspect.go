// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/engine"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Options are what an inspection needs.
type Options struct {
	Node     string
	StateDir string // of the running agent
	Modes    []dataplane.Mode
	Env      dataplane.Env
	Filter   inspection.Filter
}

// Inspect asks the running agent what is desired, and compares the kernel with it.
func Inspect(ctx context.Context, o Options) (inspection.Report, error) {
	return inspect(ctx, o, func() (engine.Wanted, error) { return ask(ctx, o.StateDir) })
}

// maxLooks is how often to look at a kernel whose rules the agent changes.
const maxLooks = 3

// inspect looks again if the agent has changed something since it was asked: what differs only once was about
// to be programmed. A node whose rules change all the time shows what differs in two looks.
func inspect(ctx context.Context, o Options, ask func() (engine.Wanted, error)) (inspection.Report, error) {
	var seen []inspection.Difference
	for look := 1; ; look++ {
		wanted, err := ask()
		if err != nil {
			return inspection.Report{}, err
		}
		report := inspection.Report{Version: inspection.Version, Node: o.Node, Mode: wanted.Mode, Generation: wanted.Generation,
			RulesDigest: wanted.Digest, Unsettled: wanted.Unsettled}
		found, err := kernel(ctx, o, wanted)
		if err != nil {
			return report, err
		}
		report.Frontends, report.Differences = found.Frontends, found.Differences
		if len(report.Differences) > 0 {
			now, err := ask()
			if err != nil {
				return report, err
			}
			if changed := now.Mode != wanted.Mode || now.Changes != wanted.Changes; changed && look < maxLooks {
				seen = report.Differences
				continue
			} else if changed {
				report.Differences = slices.DeleteFunc(report.Differences, func(d inspection.Difference) bool {
					return !slices.ContainsFunc(seen, func(s inspection.Difference) bool { return reflect.DeepEqual(s, d) })
				})
			}
		}
		report.Differences = o.Filter.Differences(report.Differences)
		report.Sort()
		return report, nil
	}
}

// kernel compares the kernel with what is desired.
func kernel(ctx context.Context, o Options, w engine.Wanted) (out dataplane.Inspection, err error) {
	mode, err := modeOf(o.Modes, w.Mode)
	if err != nil {
		return out, err
	}
	options, err := mode.ParseOptions(w.Rules)
	if err != nil {
		return out, err
	}
	d, err := mode.Open(o.Env)
	if err != nil {
		return out, fmt.Errorf("open the mode %s: %w", w.Mode, err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	inspector, can := d.(dataplane.Inspector)
	if !can {
		return out, fmt.Errorf("the kernel cannot be inspected in the mode %s", w.Mode)
	}
	desired := w.Desired
	if w.NoIPv6 {
		desired = only4(desired)
	}
	return inspector.Inspect(ctx, desired, dataplane.Look{Options: options, NoIPv6: w.NoIPv6, Shows: o.Filter.Shows})
}

func modeOf(modes []dataplane.Mode, name v1alpha1.ProxyMode) (dataplane.Mode, error) {
	i := slices.IndexFunc(modes, func(m dataplane.Mode) bool { return m.Name == name })
	if i < 0 {
		return dataplane.Mode{}, fmt.Errorf("this program has no mode %s", name)
	}
	return modes[i], nil
}

// only4 returns what is desired of IPv4.
func only4(d model.Desired) model.Desired {
	out := model.NewDesired()
	out.Node = d.Node
	for key, f := range d.Frontends {
		if key.Address.Is4() {
			out.Frontends[key] = f
		}
	}
	for a := range d.ClusterIPs {
		if a.Is4() {
			out.ClusterIPs[a] = struct{}{}
		}
	}
	for a := range d.LocalEndpoints {
		if a.Is4() {
			out.LocalEndpoints[a] = struct{}{}
		}
	}
	return out
}
