// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubectl is the plugin `kubectl fairlead`. It reads and writes the API with the rights of
// its user; nothing has to be installed in the cluster for it.
package kubectl

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/version"
)

// NewCommand returns the plugin's command.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	flags := genericclioptions.NewConfigFlags(true)
	root := &cobra.Command{
		Use:     "kubectl-fairlead",
		Short:   "See and steer what Fairlead does with Services.",
		Version: version.Version,
		// An error is printed once, by main, without the help.
		SilenceErrors: true,
		SilenceUsage:  true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl fairlead"},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	flags.AddFlags(root.PersistentFlags())
	p := &plugin{flags: flags, streams: streams}
	root.AddCommand(bundleCommand(p), p.check(), p.diff(), p.drift(), p.explain(), observeCommand(p), p.rollout(), p.rules(), p.status(), testCommand(p), p.wait())
	return root
}

// plugin is what all commands share.
type plugin struct {
	flags   *genericclioptions.ConfigFlags
	streams genericiooptions.IOStreams
}

func (p *plugin) config() (*rest.Config, *runtime.Scheme, error) {
	config, err := p.flags.ToRESTConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("load the client configuration: %w", err)
	}
	config.UserAgent = "kubectl-fairlead/" + version.Version
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, nil, fmt.Errorf("register types: %w", err)
		}
	}
	return config, scheme, nil
}

func (p *plugin) client() (client.WithWatch, error) {
	config, scheme, err := p.config()
	if err != nil {
		return nil, err
	}
	api, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("create the client: %w", err)
	}
	return api, nil
}

// namespace is that of the flags or of the current context.
func (p *plugin) namespace() (string, error) {
	namespace, _, err := p.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("load the client configuration: %w", err)
	}
	return namespace, nil
}
