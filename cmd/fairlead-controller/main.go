// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command fairlead-controller compiles Services into ServiceRuleSlices and
// ProxyConfigs into NodeRuleSets. Where OLM has installed it, it also installs the agents.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-proxy/fairlead/controllers"
	"github.com/fairlead-proxy/fairlead/kubeclient"
	"github.com/fairlead-proxy/fairlead/version"
)

type options struct {
	apiservers     kubeclient.Addresses
	namespace      string
	leaderElect    bool
	metricsAddress string
	probeAddress   string
	agentImage     string
	version        bool
	zap            zap.Options
}

func main() {
	opts, err := parseFlags(flag.CommandLine, os.Args[1:])
	if err == nil && opts.version {
		fmt.Println(version.Version)
		return
	}
	if err == nil {
		log := zap.New(zap.UseFlagOptions(&opts.zap))
		ctrl.SetLogger(log)
		klog.SetLogger(log)
		err = run(ctrl.SetupSignalHandler(), opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fairlead-controller:", err)
		os.Exit(1)
	}
}

// parseFlags reads the flags into a flag set that has --kubeconfig already.
func parseFlags(fs *flag.FlagSet, args []string) (*options, error) {
	opts := &options{}
	fs.Var(&opts.apiservers, "apiserver", "address of the apiserver, https://host:port, instead of the one in the kubeconfig "+
		"or the Service default/kubernetes; several addresses (repeated flag, or separated by commas) are tried in turn "+
		"(default: environment FAIRLEAD_APISERVERS)")
	fs.StringVar(&opts.namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), "kube-system"),
		"namespace of the leader election lease and of the agents (default: environment POD_NAMESPACE, else kube-system)")
	fs.BoolVar(&opts.leaderElect, "leader-elect", true, "use leader election, which is required for several replicas")
	fs.StringVar(&opts.metricsAddress, "metrics-bind-address", ":8443", "address of /metrics (HTTPS, for authorized clients); 0: disabled")
	fs.StringVar(&opts.probeAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0: disabled")
	fs.StringVar(&opts.agentImage, "agent-image", os.Getenv("RELATED_IMAGE_AGENT"), "create the agent's DaemonSet with this image and keep it "+
		"up to date; empty: it is installed otherwise (default: environment RELATED_IMAGE_AGENT, which OLM's bundle sets)")
	fs.BoolVar(&opts.version, "version", false, "print the version and exit")
	opts.zap.BindFlags(fs)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: only flags are accepted", fs.Arg(0))
	}
	if len(opts.apiservers) == 0 {
		if err := opts.apiservers.Set(os.Getenv("FAIRLEAD_APISERVERS")); err != nil {
			return nil, fmt.Errorf("environment FAIRLEAD_APISERVERS: %w", err)
		}
	}
	return opts, nil
}

func run(ctx context.Context, opts *options) error {
	base, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("load the client configuration: %w", err)
	}
	cfg, err := restConfig(base, opts)
	if err != nil {
		return err
	}
	scheme, err := controllers.Scheme()
	if err != nil {
		return fmt.Errorf("register the API kinds: %w", err)
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	o, err := managerOptions(scheme, cfg, opts, end)
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(cfg, o)
	if err != nil && len(opts.apiservers) == 0 {
		return fmt.Errorf("create the manager: %w (on a cluster without kube-proxy, set the apiserver's own address: "+
			"--apiserver, or the key addresses of the ConfigMap fairlead-apiserver)", err)
	}
	if err != nil {
		return fmt.Errorf("create the manager: %w", err)
	}
	agents := controllers.Agents{Namespace: opts.namespace, Image: opts.agentImage, APIServers: opts.apiservers}
	if err := controllers.Setup(ctx, mgr, agents); err != nil {
		return err
	}
	if err := controllers.AddMetrics(ctx, mgr, ctrlmetrics.Registry); err != nil {
		return err
	}
	if err := addChecks(mgr); err != nil {
		return fmt.Errorf("add the health checks: %w", err)
	}
	if err := mgr.Start(ctx); err != nil {
		return err
	}
	if cause := context.Cause(ctx); errors.Is(cause, controllers.ErrLeaseTaken) {
		return cause
	}
	return nil
}

func restConfig(base *rest.Config, opts *options) (*rest.Config, error) {
	cfg, _, err := kubeclient.Config(base, opts.apiservers)
	if err != nil {
		return nil, err
	}
	cfg.QPS = -1 // no client-side limit: API Priority and Fairness applies
	return cfg, nil
}

func managerOptions(scheme *runtime.Scheme, cfg *rest.Config, opts *options, end context.CancelCauseFunc) (ctrl.Options, error) {
	o := ctrl.Options{
		Scheme: scheme,
		Cache:  controllers.CacheOptions(opts.namespace),
		Metrics: metricsserver.Options{
			BindAddress:    opts.metricsAddress,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		HealthProbeBindAddress: opts.probeAddress,
	}
	if !opts.leaderElect {
		return o, nil
	}
	return o, controllers.ElectLeader(&o, cfg, opts.namespace, end) // run returns right after Start
}

// checked is what a manager is asked by the kubelet.
type checked interface {
	AddHealthzCheck(name string, check healthz.Checker) error
	AddReadyzCheck(name string, check healthz.Checker) error
	GetCache() cache.Cache
}

func addChecks(mgr checked) error {
	return errors.Join(
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", controllers.CachesSynced(mgr.GetCache())),
	)
}
