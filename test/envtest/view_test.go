// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers"
	"github.com/fairlead-proxy/fairlead/controllers/servicerules"
)

// view is a client as the manager gives it to reconcilers: it reads by the
// index functions. It reads from the apiserver, so that tests need not wait for
// a cache; hide simulates objects that a cache misses.
type view struct {
	client.WithWatch

	// hide selects the objects that the cache misses.
	hide func(client.Object) bool

	// fail is the error of a write, if any; write is for example "apply web-v4-0",
	// or "mark web-v4-0" for an apply that says that the slice is about to be deleted.
	fail func(write string) error

	// wrote is called after every successful write.
	wrote func(write string)

	writes []string
}

func newView(t *testing.T) *view {
	t.Helper()
	return newViewOf(t, api)
}

func newViewOf(t *testing.T, c client.WithWatch) *view {
	t.Helper()
	v := &view{}
	indexes := map[string]client.IndexerFunc{}
	err := servicerules.Indexes(func(obj client.Object, field string, keys client.IndexerFunc) error {
		indexes[reflect.TypeOf(obj).String()+" "+field] = keys
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	v.WithWatch = interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if err := c.Get(ctx, key, obj, opts...); err != nil {
				return err
			}
			if v.hide != nil && v.hide(obj) {
				return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
			}
			return asCached(obj)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return v.list(ctx, c, list, indexes, opts)
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			name, verb := *obj.(interface{ GetName() *string }).GetName(), "apply "
			if slice, ok := obj.(*apiac.ServiceRuleSliceApplyConfiguration); ok && slice.Annotations[v1alpha1.AnnotationObsolete] != "" {
				verb = "mark "
			}
			return v.write(verb+name, func() error { return c.Apply(ctx, obj, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			name := *obj.(interface{ GetName() *string }).GetName()
			return v.write("apply "+sub+" of "+name, func() error { return c.SubResource(sub).Apply(ctx, obj, opts...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return v.write("create "+obj.GetName(), func() error { return c.Create(ctx, obj, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return v.write("delete "+obj.GetName(), func() error { return c.Delete(ctx, obj, opts...) })
		},
	})
	return v
}

func (v *view) write(what string, do func() error) error {
	if v.fail != nil {
		if err := v.fail(what); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	v.writes = append(v.writes, what)
	if v.wrote != nil {
		v.wrote(what)
	}
	return nil
}

// list lists from the apiserver and then selects by index.
func (v *view) list(ctx context.Context, c client.WithWatch, list client.ObjectList, indexes map[string]client.IndexerFunc, opts []client.ListOption) error {
	options := (&client.ListOptions{}).ApplyOptions(opts)
	fields := options.FieldSelector
	options.FieldSelector = nil
	if err := c.List(ctx, list, options); err != nil {
		return err
	}
	items, err := apimeta.ExtractList(list)
	if err != nil {
		return err
	}
	var kept []runtime.Object
	for _, item := range items {
		obj := item.(client.Object)
		if v.hide != nil && v.hide(obj) {
			continue
		}
		if fields != nil {
			r := fields.Requirements()[0]
			keys, ok := indexes[reflect.TypeOf(obj).String()+" "+r.Field]
			if !ok {
				return fmt.Errorf("no index %s of %T", r.Field, obj)
			}
			if !slices.Contains(keys(obj), r.Value) {
				continue
			}
		}
		kept = append(kept, item)
	}
	return apimeta.SetList(list, kept)
}

// asCached makes of an object what the controller's cache keeps of it.
func asCached(obj client.Object) error {
	for kind, by := range controllers.CacheOptions("").ByObject {
		if reflect.TypeOf(kind) == reflect.TypeOf(obj) && by.Transform != nil {
			_, err := by.Transform(obj)
			return err
		}
	}
	return nil
}
