// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/kubectl/explain"
	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
	"github.com/fairlead-proxy/fairlead/kubectl/observe"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

// observed are the flags of observe.
type observed struct {
	to, from, node, agents, format string
}

func observeCommand(p *plugin) *cobra.Command {
	var o observed
	command := &cobra.Command{
		Use:   "observe",
		Short: "Show new connections to Services as they happen, with the endpoint that gets each.",
		Long: `Show new connections to Services as they happen, until Ctrl-C, or until the next one after the reader of a pipe has
gone: when, on which node, who the client is, to which Service, and which endpoint has got it. Connections that no
endpoint gets are not shown.

It runs a command in the Pods of the agents, which needs the right to exec there. The command reads
events of the kernel, or of the agent in the mode Userspace, and changes nothing.`,
		Example: `  # All connections, on all nodes
  kubectl fairlead observe

  # To a port of a Service, from a Pod
  kubectl fairlead observe -n shop --to web:http --from pod/cart-7d4b9

  # The next three
  kubectl fairlead observe -n shop --to web | head -n 3

  # From processes of a node, and from outside the cluster
  kubectl fairlead observe --from node/worker-1
  kubectl fairlead observe --from external/203.0.113.7 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runObserve(cmd, p, o) },
	}
	command.Flags().StringVar(&o.to, "to", "", "only connections to SERVICE[:PORT]; the port has a name or a number")
	command.Flags().StringVar(&o.from, "from", "", "only connections of a client: pod/NAME, NAMESPACE/NAME of a Pod, node/NAME, or external/ADDRESS")
	command.Flags().StringVar(&o.node, "node", "", "only connections that arrive at this node; default: at that of the client, or all")
	command.Flags().StringVarP(&o.format, "output", "o", "", "json: one object a line; default: text")
	addAgents(command, &o.agents)
	return command
}

func runObserve(cmd *cobra.Command, p *plugin, o observed) error {
	if o.format != "" && o.format != "json" {
		return errors.New("--output must be json")
	}
	namespace, err := p.namespace()
	if err != nil {
		return err
	}
	from, err := explain.ParseClient(o.from, namespace)
	if err == nil && from.Kind == explain.ClientExternal && from.Address == "" {
		err = errors.New("--from: use external/ADDRESS")
	}
	if err != nil {
		return err
	}
	api, err := p.client()
	if err != nil {
		return err
	}
	want, nodes, err := observedOf(cmd.Context(), api, namespace, from, o)
	if err != nil {
		return err
	}
	agents, err := agentsOf(cmd.Context(), p, o.agents)
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		nodes = agents.Nodes()
	}
	// A reader that has seen enough, such as head, ends it like Ctrl-C. By default the signal would kill the process.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	printer := observe.NewPrinter(cmd.OutOrStdout())
	printer.JSON = o.format == "json"
	if err := followPods(ctx, p, api, printer.Names); err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "Pods are not named:", err)
	}
	return observeAll(ctx, agents, nodes, want, printer, cmd)
}

// observeAll observes nodes until ctx ends, the reader of the output has gone, or the last of them has failed.
func observeAll(ctx context.Context, agents *kernel.Agents, nodes []string, want kernel.Observed, printer *observe.Printer, cmd *cobra.Command) error {
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	printer.Started = func(s observation.Start) { say("Observing %s (%s)", s.Node, s.Mode) }
	var group sync.WaitGroup
	for _, node := range nodes {
		group.Go(func() {
			switch err := agents.Observe(ctx, node, want, printer.Node()); {
			case errors.Is(err, syscall.EPIPE):
				stop()
			case err != nil:
				say("%s: %v", node, err)
			}
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("no node is observed")
}

// observedOf reads the flags. No node: all.
func observedOf(ctx context.Context, api client.Reader, namespace string, from explain.Client, o observed) (want kernel.Observed, nodes []string, err error) {
	if o.to != "" {
		name, port, _ := strings.Cut(strings.TrimPrefix(o.to, "service/"), ":")
		want.Filter = inspection.Filter{Service: namespace + "/" + name, Port: port}
		var service corev1.Service
		if err := api.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &service); err != nil {
			return want, nil, fmt.Errorf("read the Service: %w", err)
		}
		if port != "" && !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == port || fmt.Sprint(p.Port) == port }) {
			return want, nil, fmt.Errorf("the Service has no port %s", port)
		}
	}
	if o.from != "" {
		addresses, node, err := clientOf(ctx, api, from)
		if err != nil {
			return want, nil, err
		}
		want.Clients, want.OwnClients = addresses, from.Kind != explain.ClientExternal && len(addresses) == 0
		if node != "" {
			nodes = []string{node}
		}
	}
	if o.node != "" {
		if want.OwnClients && o.node != nodes[0] {
			return want, nil, fmt.Errorf("processes of node %s open their connections there, and not on %s", nodes[0], o.node)
		}
		nodes = []string{o.node}
	}
	return want, nodes, nil
}

// clientOf returns the addresses of a client, and the node that its connections arrive at, if it is known. A process of a node may
// have all addresses of it.
func clientOf(ctx context.Context, api client.Reader, from explain.Client) (addresses []string, node string, err error) {
	switch from.Kind {
	case explain.ClientNode:
		return nil, from.Name, nil
	case explain.ClientExternal:
		return []string{from.Address}, "", nil
	}
	namespace, name, _ := strings.Cut(from.Name, "/")
	var pod corev1.Pod
	if err := api.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &pod); err != nil {
		return nil, "", fmt.Errorf("read the client: %w", err)
	}
	if pod.Spec.HostNetwork { // its connections are those of the node
		return nil, pod.Spec.NodeName, nil
	}
	for _, ip := range pod.Status.PodIPs {
		addresses = append(addresses, ip.IP)
	}
	if len(addresses) == 0 {
		return nil, "", fmt.Errorf("Pod %s has no address yet", from.Name)
	}
	return addresses, pod.Spec.NodeName, nil
}

// followPods keeps the names of Pods until ctx ends. All that are there are known when it returns.
func followPods(ctx context.Context, p *plugin, api client.Reader, names *observe.Names) error {
	// A watch without the right to it tries again for ever.
	if err := api.List(ctx, &corev1.PodList{}, client.Limit(1)); err != nil {
		return err
	}
	config, scheme, err := p.config()
	if err != nil {
		return err
	}
	objects, err := cache.New(config, cache.Options{Scheme: scheme, DefaultTransform: onlyAddresses})
	if err != nil {
		return fmt.Errorf("create the watch: %w", err)
	}
	pods, err := objects.GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch Pods: %w", err)
	}
	set := func(object any) { names.Set(object.(*corev1.Pod)) }
	handled, err := pods.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, object any) { set(object) },
		DeleteFunc: func(object any) {
			if key, err := toolscache.DeletionHandlingObjectToName(object); err == nil {
				names.Delete(types.NamespacedName{Namespace: key.Namespace, Name: key.Name})
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch Pods: %w", err)
	}
	go func() { _ = objects.Start(ctx) }() // which returns no error but of ctx
	toolscache.WaitForCacheSync(ctx.Done(), handled.HasSynced)
	return nil
}

// onlyAddresses drops what names do not need: a cluster may have very many Pods.
func onlyAddresses(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok {
		*pod = corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion},
			Spec:   corev1.PodSpec{NodeName: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork},
			Status: corev1.PodStatus{Phase: pod.Status.Phase, PodIPs: pod.Status.PodIPs}}
	}
	return object, nil
}
