// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/podenv"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/security"
)

// file is one file of a volume made of API objects.
type file struct {
	data []byte
	mode fs.FileMode
	// uid and gid own it; -1 leaves root.
	uid, gid int
}

// defaultFileMode is the API's default.
const defaultFileMode = 0o644

// builder collects the files of one volume.
type builder struct {
	set   *Set
	ctx   context.Context
	down  podenv.Downward
	mode  *int32 // the volume's defaultMode
	files map[string]file
}

func (s *Set) files(ctx context.Context, down podenv.Downward, volume *corev1.Volume) (map[string]file, error) {
	b := &builder{set: s, ctx: ctx, down: down, files: map[string]file{}}
	switch {
	case volume.ConfigMap != nil:
		v := volume.ConfigMap
		b.mode = v.DefaultMode
		return b.files, b.configMap(v.Name, v.Items, v.Optional)
	case volume.Secret != nil:
		v := volume.Secret
		b.mode = v.DefaultMode
		return b.files, b.secret(v.SecretName, v.Items, v.Optional)
	case volume.DownwardAPI != nil:
		b.mode = volume.DownwardAPI.DefaultMode
		return b.files, b.downward(volume.DownwardAPI.Items)
	case volume.Projected != nil:
		b.mode = volume.Projected.DefaultMode
		for _, source := range volume.Projected.Sources {
			if err := b.projection(source); err != nil {
				return nil, err
			}
		}
		return b.files, nil
	}
	return nil, errUnsupported
}

func (b *builder) projection(source corev1.VolumeProjection) error {
	switch {
	case source.ConfigMap != nil:
		return b.configMap(source.ConfigMap.Name, source.ConfigMap.Items, source.ConfigMap.Optional)
	case source.Secret != nil:
		return b.secret(source.Secret.Name, source.Secret.Items, source.Secret.Optional)
	case source.DownwardAPI != nil:
		return b.downward(source.DownwardAPI.Items)
	case source.ServiceAccountToken != nil:
		return b.token(source.ServiceAccountToken)
	}
	return errUnsupported
}

func (b *builder) configMap(name string, items []corev1.KeyToPath, optional *bool) error {
	found, err := b.set.Objects.ConfigMap(b.ctx, b.down.Pod.Namespace, name)
	if err != nil {
		return unlessOptional(err, optional)
	}
	data := map[string][]byte{}
	for key, value := range found.Data {
		data[key] = []byte(value)
	}
	for key, value := range found.BinaryData {
		data[key] = value
	}
	if err := b.keys(data, items, optional); err != nil {
		return fmt.Errorf("ConfigMap %s: %w", name, err)
	}
	return nil
}

func (b *builder) secret(name string, items []corev1.KeyToPath, optional *bool) error {
	found, err := b.set.Objects.Secret(b.ctx, b.down.Pod.Namespace, name)
	if err != nil {
		return unlessOptional(err, optional)
	}
	if err := b.keys(found.Data, items, optional); err != nil {
		return fmt.Errorf("Secret %s: %w", name, err)
	}
	return nil
}

func unlessOptional(err error, optional *bool) error {
	if optional != nil && *optional && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// keys adds all keys, or those that items choose.
func (b *builder) keys(data map[string][]byte, items []corev1.KeyToPath, optional *bool) error {
	if len(items) == 0 {
		for key, value := range data {
			b.add(key, value, nil)
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf("key %q not found", item.Key)
		}
		b.add(item.Path, value, item.Mode)
	}
	return nil
}

func (b *builder) downward(items []corev1.DownwardAPIVolumeFile) error {
	for _, item := range items {
		var value string
		err := errors.New("neither fieldRef nor resourceFieldRef")
		switch {
		case item.FieldRef != nil:
			value, err = b.down.Field(item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = b.down.Resource(item.ResourceFieldRef, nil)
		}
		if err != nil {
			return fmt.Errorf("downward API file %s: %w", item.Path, err)
		}
		b.add(item.Path, []byte(value), item.Mode)
	}
	return nil
}

func (b *builder) add(name string, data []byte, mode *int32) {
	f := file{data: data, mode: defaultFileMode, uid: -1, gid: fsGroup(b.down.Pod)}
	for _, given := range []*int32{b.mode, mode} {
		if given != nil {
			f.mode = fs.FileMode(*given) & fs.ModePerm
		}
	}
	if f.gid >= 0 {
		f.mode |= 0o440
	}
	b.files[path.Clean(name)] = f
}

// token adds a ServiceAccount token. It is renewed after 80 % of its
// life, as the kubelet does.
func (b *builder) token(source *corev1.ServiceAccountTokenProjection) error {
	seconds := int64(3600)
	if source.ExpirationSeconds != nil {
		seconds = *source.ExpirationSeconds
	}
	key := fmt.Sprintf("%s %d", source.Audience, seconds)
	current, ok := b.set.tokens[key]
	if !ok || time.Now().After(current.renew) {
		value, expires, err := b.set.Objects.Token(b.ctx, b.down.Pod, source.Audience, seconds)
		if err != nil {
			return fmt.Errorf("ServiceAccount token: %w", err)
		}
		current = token{value: value, renew: time.Now().Add(time.Until(expires) * 4 / 5)}
		if b.set.tokens == nil {
			b.set.tokens = map[string]token{}
		}
		b.set.tokens[key] = current
	}
	b.add(source.Path, []byte(current.value), nil)
	f := b.files[path.Clean(source.Path)]
	f.mode = 0o600
	if f.gid >= 0 {
		f.mode = 0o640
	} else if uid, same := commonUser(b.down.Pod); same {
		f.uid = uid
	} else {
		f.mode = 0o644
	}
	b.files[path.Clean(source.Path)] = f
	return nil
}

// commonUser is the user that all containers run as.
func commonUser(pod *corev1.Pod) (uid int, same bool) {
	uid = -1
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			own := int(security.User(pod, &list[i]).UID)
			if uid >= 0 && own != uid {
				return 0, false
			}
			uid = own
		}
	}
	return uid, uid >= 0
}
