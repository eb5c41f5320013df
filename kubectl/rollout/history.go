// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/table"
	rules "github.com/fairlead-proxy/fairlead/rules/rollout"
)

// History is what a ProxyConfig has had its nodes program, the oldest first.
type History struct {
	Config    string     `json:"config"`
	Revisions []Revision `json:"revisions"`
}

// Revision is a policy of a ProxyConfig.
type Revision struct {
	// Number is the order in which revisions were asked for; 0: the revision is not kept any more,
	// and a node has it.
	Number int64        `json:"number,omitempty"`
	Name   string       `json:"name"`
	Hash   string       `json:"hash"`
	Made   *metav1.Time `json:"created,omitempty"`
	Target bool         `json:"target,omitempty"`
	Stable bool         `json:"stable,omitempty"`
	// Problem says why nothing can be restored from the revision.
	Problem string `json:"problem,omitempty"`
	// Nodes are those whose kernel has it.
	Nodes []string `json:"nodes,omitempty"`

	policy *v1alpha1.ProxyConfig
}

// Input are the objects that a History follows from.
type Input struct {
	Config    *v1alpha1.ProxyConfig
	Revisions []appsv1.ControllerRevision
	Nodes     []v1alpha1.NodeRuleSet
}

// Collect reads the revisions in the controller's namespace and the nodes that run them.
func Collect(ctx context.Context, api client.Reader, config *v1alpha1.ProxyConfig, namespace string) (Input, error) {
	var revisions appsv1.ControllerRevisionList
	var nodes v1alpha1.NodeRuleSetList
	if err := api.List(ctx, &revisions, client.InNamespace(namespace),
		client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ControllerName}); err != nil {
		return Input{}, fmt.Errorf("list ControllerRevisions in the namespace %s: %w", namespace, err)
	}
	if err := api.List(ctx, &nodes); err != nil {
		return Input{}, fmt.Errorf("list NodeRuleSets: %w", err)
	}
	return Input{Config: config, Revisions: revisions.Items, Nodes: nodes.Items}, nil
}

// HistoryOf returns the history of a ProxyConfig.
func HistoryOf(in Input) History {
	config := in.Config
	found := map[string]*Revision{}
	of := func(name string) *Revision {
		if found[name] == nil {
			found[name] = &Revision{Name: name, Hash: name[strings.LastIndex(name, "-")+1:]}
		}
		return found[name]
	}
	for i := range in.Revisions {
		if stored := &in.Revisions[i]; metav1.IsControlledBy(stored, config) {
			r := of(stored.Name)
			r.Number, r.Made = stored.Revision, &stored.CreationTimestamp
			policy, err := rules.Restore(config, stored.Name, stored.Data.Raw)
			if err != nil {
				r.Problem = err.Error()
			}
			r.policy = policy
		}
	}
	for i := range in.Nodes {
		if n := &in.Nodes[i]; n.Spec.Policy.Name == config.Name && n.Status.AppliedRevision != "" {
			r := of(n.Status.AppliedRevision)
			r.Nodes = append(r.Nodes, n.Name)
		}
	}
	out := History{Config: config.Name, Revisions: []Revision{}}
	target := rules.RevisionOf(config).Name
	for _, r := range found {
		r.Target, r.Stable = r.Name == target, r.Name == config.Status.StableRevision
		if r.policy == nil && r.Problem == "" {
			r.Problem = "the revision is not kept any more"
		}
		slices.Sort(r.Nodes)
		out.Revisions = append(out.Revisions, *r)
	}
	slices.SortFunc(out.Revisions, func(a, b Revision) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// shownNodes is how many nodes a table names for a revision.
const shownNodes = 3

// Print shows the history; wide names all nodes.
func (h *History) Print(to io.Writer, wide bool) error {
	p := table.NewPrinter(to)
	p.Line("ProxyConfig %s", h.Config)
	p.Line("NUMBER\tREVISION\tCREATED\tSTATE\tNODES")
	for i := range h.Revisions {
		r := &h.Revisions[i]
		number, created := "-", "-"
		if r.Made != nil {
			number, created = fmt.Sprint(r.Number), r.Made.UTC().Format(time.RFC3339)
		}
		p.Line("%s\t%s\t%s\t%s\t%s", number, r.Name, created, r.state(), nodes(r.Nodes, wide))
	}
	for i := range h.Revisions {
		if r := &h.Revisions[i]; r.Problem != "" {
			p.Line("%s cannot be restored: %s", r.Name, r.Problem)
		}
	}
	return p.End()
}

func (r *Revision) state() string {
	var words []string
	if r.Target {
		words = append(words, "target")
	}
	if r.Stable {
		words = append(words, "stable")
	}
	if r.Problem != "" {
		words = append(words, "unusable")
	}
	return cmp.Or(strings.Join(words, ","), "-")
}

func nodes(names []string, wide bool) string {
	switch {
	case len(names) == 0:
		return "-"
	case wide || len(names) <= shownNodes:
		return strings.Join(names, ",")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shownNodes], ","), len(names)-shownNodes)
}

// Policy returns what a revision has its nodes program, as YAML.
func (r *Revision) Policy() ([]byte, error) {
	if r.policy == nil {
		return nil, fmt.Errorf("revision %s: %s", r.Name, r.Problem)
	}
	out, err := yaml.Marshal(r.policy.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode the policy: %w", err)
	}
	return out, nil
}
