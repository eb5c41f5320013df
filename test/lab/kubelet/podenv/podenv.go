// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package podenv computes the environment of a container.
package podenv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Objects reads what a Pod refers to, in the Pod's namespace.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Builder computes environments.
type Builder struct {
	Objects Objects
	// Downward answers the Pod's own facts.
	Downward Downward
	// Base comes first: the variables of the cluster's services.
	Base []Variable
}

// Variable is one NAME=value.
type Variable struct{ Name, Value string }

// Build returns the container's environment, in the order of the kubelet: the
// base, envFrom, then env, where later ones win and may use earlier ones as
// $(NAME).
func (b *Builder) Build(ctx context.Context, container *corev1.Container) ([]string, error) {
	env := &environment{values: map[string]string{}}
	for _, variable := range b.Base {
		env.set(variable.Name, variable.Value)
	}
	for _, from := range container.EnvFrom {
		if err := b.addFrom(ctx, env, from); err != nil {
			return nil, err
		}
	}
	for _, variable := range container.Env {
		value, ok, err := b.value(ctx, env, container, variable)
		if err != nil {
			return nil, fmt.Errorf("env %s: %w", variable.Name, err)
		}
		if ok {
			env.set(variable.Name, value)
		}
	}
	return env.list(), nil
}

type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environment) list() []string {
	list := make([]string, 0, len(e.names))
	for _, name := range e.names {
		list = append(list, name+"="+e.values[name])
	}
	return list
}

func (b *Builder) addFrom(ctx context.Context, env *environment, from corev1.EnvFromSource) error {
	data := map[string]string{}
	var err error
	var optional *bool
	switch {
	case from.ConfigMapRef != nil:
		optional = from.ConfigMapRef.Optional
		var found *corev1.ConfigMap
		if found, err = b.Objects.ConfigMap(ctx, b.Downward.Pod.Namespace, from.ConfigMapRef.Name); err == nil {
			data = found.Data
		}
	case from.SecretRef != nil:
		optional = from.SecretRef.Optional
		var found *corev1.Secret
		if found, err = b.Objects.Secret(ctx, b.Downward.Pod.Namespace, from.SecretRef.Name); err == nil {
			for key, value := range found.Data {
				data[key] = string(value)
			}
		}
	}
	if absent(err, optional) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("envFrom: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		// As documented in the API: keys that are not valid names are skipped.
		if name := from.Prefix + key; len(validation.IsEnvVarName(name)) == 0 {
			env.set(name, data[key])
		}
	}
	return nil
}

// value resolves one entry of env; ok is false for an optional one that is
// absent.
func (b *Builder) value(ctx context.Context, env *environment, c *corev1.Container, v corev1.EnvVar) (value string, ok bool, err error) {
	from := v.ValueFrom
	if from == nil {
		return Expand(v.Value, func(name string) (string, bool) { value, ok := env.values[name]; return value, ok }), true, nil
	}
	switch {
	case from.FieldRef != nil:
		value, err = b.Downward.Field(from.FieldRef.FieldPath)
	case from.ResourceFieldRef != nil:
		value, err = b.Downward.Resource(from.ResourceFieldRef, c)
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		found, err := b.Objects.ConfigMap(ctx, b.Downward.Pod.Namespace, ref.Name)
		if err == nil {
			if value, ok = found.Data[ref.Key]; ok {
				return value, true, nil
			}
			err = missingKey("ConfigMap", ref.Name, ref.Key)
		}
		return "", false, unlessAbsent(err, ref.Optional)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		found, err := b.Objects.Secret(ctx, b.Downward.Pod.Namespace, ref.Name)
		if err == nil {
			if data, ok := found.Data[ref.Key]; ok {
				return string(data), true, nil
			}
			err = missingKey("Secret", ref.Name, ref.Key)
		}
		return "", false, unlessAbsent(err, ref.Optional)
	default:
		err = errors.New("this kind of source is not supported by the lab")
	}
	return value, err == nil, err
}

var errMissingKey = errors.New("key not found")

func missingKey(kind, name, key string) error {
	return fmt.Errorf("%s %s: %w: %s", kind, name, errMissingKey, key)
}

func absent(err error, optional *bool) bool {
	return optional != nil && *optional && (apierrors.IsNotFound(err) || errors.Is(err, errMissingKey))
}

func unlessAbsent(err error, optional *bool) error {
	if absent(err, optional) {
		return nil
	}
	return err
}

// Expand replaces $(NAME) by what lookup knows. $$ stands for a single $, and a
// unknown name is not changed.
func Expand(text string, lookup func(string) (string, bool)) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch text[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(text[i:], ')')
			if end < 0 {
				out.WriteString(text[i:])
				return out.String()
			}
			reference := text[i : i+end+1]
			if value, ok := lookup(reference[2:end]); ok {
				out.WriteString(value)
			} else {
				out.WriteString(reference)
			}
			i += end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}

// KubernetesService are the variables by which programs find the apiserver.
func KubernetesService(service *corev1.Service) []Variable {
	host := service.Spec.ClusterIP
	vars := []Variable{{"KUBERNETES_SERVICE_HOST", host}}
	for i, port := range service.Spec.Ports {
		number := strconv.Itoa(int(port.Port))
		protocol := strings.ToLower(string(port.Protocol))
		url := protocol + "://" + net.JoinHostPort(host, number)
		if i == 0 {
			vars = append(vars, Variable{"KUBERNETES_SERVICE_PORT", number}, Variable{"KUBERNETES_PORT", url})
		}
		if port.Name != "" {
			vars = append(vars, Variable{"KUBERNETES_SERVICE_PORT_" + strings.ToUpper(port.Name), number})
		}
		prefix := "KUBERNETES_PORT_" + number + "_" + strings.ToUpper(protocol)
		vars = append(vars, Variable{prefix, url}, Variable{prefix + "_PROTO", protocol},
			Variable{prefix + "_PORT", number}, Variable{prefix + "_ADDR", host})
	}
	return vars
}
