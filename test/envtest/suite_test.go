// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package envtest tests the API and the reconcilers against a real apiserver.
// It needs kube-apiserver, etcd and kubectl in the folder KUBEBUILDER_ASSETS.
package envtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/fairlead-proxy/fairlead/controllers"
)

// Shared by all tests. config is an administrator's. api has all rights, too, and the name of
// the controller: once a test has installed config/default, admission allows only it to write
// rules, also those that a test writes in its place or damages.
var (
	environment *envtest.Environment
	config      *rest.Config
	api         client.WithWatch
)

func TestMain(m *testing.M) {
	code, err := runSuite(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runSuite(m *testing.M) (code int, err error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return 1, errors.New("KUBEBUILDER_ASSETS is not set: run `make test`, which builds the control plane and sets it")
	}
	// kubectl caches what each apiserver serves, and each run has another address.
	cache, err := os.MkdirTemp("", "fairlead-kubectl-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cache)) }()
	if err := os.Setenv("KUBECACHEDIR", cache); err != nil {
		return 1, err
	}
	ctrl.SetLogger(zap.New(zap.Level(zapcore.ErrorLevel)))
	environment = &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join("..", "..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: 2 * time.Minute,
		ControlPlaneStopTimeout:  time.Minute,
	}
	// Also stop processes of a failed start.
	defer func() { err = errors.Join(err, environment.Stop()) }()
	if config, err = environment.Start(); err != nil {
		return 1, fmt.Errorf("start the control plane: %w", err)
	}
	scheme, err := controllers.Scheme()
	if err != nil {
		return 1, err
	}
	controller := as(serviceAccount("fairlead-controller-manager"), "system:masters")
	if api, err = client.NewWithWatch(controller, client.Options{Scheme: scheme}); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// as returns the configuration of a client with the name of a user, in groups.
func as(user string, groups ...string) *rest.Config {
	cfg := rest.CopyConfig(config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	return cfg
}

// administrator returns a client with all rights that is not the controller: admission does
// not restrict what it writes into DaemonSets.
func administrator(t *testing.T) client.WithWatch {
	t.Helper()
	c, err := client.NewWithWatch(as("kubernetes-admin", "system:masters"), client.Options{Scheme: api.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// create creates objects and deletes them after the test.
func create(t *testing.T, objs ...client.Object) {
	t.Helper()
	for _, obj := range objs {
		status := statusOf(obj)
		if err := api.Create(t.Context(), obj, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
			t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
		}
		if status != nil {
			status.SetResourceVersion(obj.GetResourceVersion())
			if err := api.Status().Update(t.Context(), status); err != nil {
				t.Fatalf("write status of %T %s: %v", obj, obj.GetName(), err)
			}
		}
		cleanUp(t, obj)
	}
}

// cleanUp deletes an object after the test, if it is still there.
func cleanUp(t *testing.T, obj client.Object) {
	t.Cleanup(func() {
		err := api.Delete(context.Background(), obj, client.GracePeriodSeconds(0))
		if client.IgnoreNotFound(err) != nil {
			t.Errorf("delete %T %s: %v", obj, obj.GetName(), err)
		}
	})
}

// statusOf returns a copy of those objects whose status tests set by hand.
func statusOf(obj client.Object) client.Object {
	if node, ok := obj.(*corev1.Node); ok {
		return node.DeepCopy()
	}
	return nil
}

// namespace creates a namespace for one test. Its deletion never completes here, so
// names are never reused.
func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	create(t, ns)
	return ns.Name
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got error %v, want none", err)
	case want != "" && err == nil:
		t.Errorf("got no error, want one with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("got error %v, want one with %q", err, want)
	}
}
