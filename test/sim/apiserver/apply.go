// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// patch is a server-side apply. Every client of this project forces it.
type patch struct {
	intent  *Object
	manager string
	status  bool // the subresource
}

// fieldSet is the JSON of a FieldsV1, as far as it is used here.
type fieldSet map[string]map[string]map[string]struct{}

// apply applies a patch to an object, which need not exist. The caller holds mu.
func (s *Server) apply(client string, r *resource, key string, p patch) (*Object, *metav1.Status) {
	s.prune(r, p.intent)
	old := r.objects[key]
	switch {
	case old == nil && p.status:
		return nil, notFound(r, p.intent.Meta.Name)
	case old == nil && (p.intent.Meta.UID != "" || p.intent.Meta.ResourceVersion != ""):
		return nil, conflict(r, p.intent.Meta.Name, "it does not exist")
	case old != nil && p.intent.Meta.UID != "" && p.intent.Meta.UID != old.Meta.UID:
		return nil, conflict(r, p.intent.Meta.Name, "the UID in the precondition is another one")
	case old != nil && p.intent.Meta.ResourceVersion != "" && p.intent.Meta.ResourceVersion != old.Meta.ResourceVersion:
		return nil, conflict(r, p.intent.Meta.Name, "the object has been modified")
	}
	now := &Object{Fields: map[string]json.RawMessage{}}
	if old != nil {
		now.Meta, now.Fields = *old.Meta.DeepCopy(), maps.Clone(old.Fields)
	} else {
		now.Meta.Namespace, now.Meta.Name = p.intent.Meta.Namespace, p.intent.Meta.Name
	}
	owned := p.merge(now)
	now.Meta.ManagedFields = p.own(now.Meta.ManagedFields, owned, old != nil && changed(old, now))
	if old != nil && !changed(old, now) && sameMeta(&old.Meta, &now.Meta) {
		return old, nil
	}
	return s.store(client, r, old, now), nil
}

// merge brings the intent into an object and returns the fields that it owns then.
func (p patch) merge(now *Object) fieldSet {
	if p.status {
		now.Fields["status"] = p.intent.Fields["status"]
		return fieldSet{"f:status": {}}
	}
	before := fieldSet{}
	for _, e := range now.Meta.ManagedFields {
		if p.is(e) {
			before = fieldsOf(e)
		}
	}
	owned := fieldSet{"f:metadata": {}}
	for field, m := range map[string]struct {
		now    *map[string]string
		intent map[string]string
	}{
		"f:labels":      {&now.Meta.Labels, p.intent.Meta.Labels},
		"f:annotations": {&now.Meta.Annotations, p.intent.Meta.Annotations},
	} {
		merged := maps.Clone(*m.now)
		for name := range before["f:metadata"][field] {
			delete(merged, name[len("f:"):])
		}
		keys := map[string]struct{}{}
		for name, value := range m.intent {
			if merged == nil {
				merged = map[string]string{}
			}
			merged[name], keys["f:"+name] = value, struct{}{}
		}
		*m.now, owned["f:metadata"][field] = merged, keys
	}
	if len(p.intent.Meta.OwnerReferences) > 0 {
		now.Meta.OwnerReferences = p.intent.Meta.OwnerReferences
	}
	for name, value := range p.intent.Fields {
		if name != "status" {
			now.Fields[name], owned["f:"+name] = value, map[string]map[string]struct{}{}
		}
	}
	return owned
}

// own returns the managedFields after the patch. A spec that it changes is taken from all
// others.
func (p patch) own(entries []metav1.ManagedFieldsEntry, owned fieldSet, specChanged bool) (out []metav1.ManagedFieldsEntry) {
	mine := metav1.ManagedFieldsEntry{Manager: p.manager, Operation: metav1.ManagedFieldsOperationApply,
		FieldsType: "FieldsV1", FieldsV1: encodeFields(owned)}
	if p.status {
		mine.Subresource = "status"
	}
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	mine.Time = &now
	for _, e := range entries {
		switch {
		case p.is(e):
			if bytes.Equal(e.FieldsV1.GetRawBytes(), mine.FieldsV1.GetRawBytes()) {
				mine.Time = e.Time
			}
			continue
		case specChanged && !p.status && e.Subresource == "":
			if fields := fieldsOf(e); fields["f:spec"] != nil {
				delete(fields, "f:spec")
				e.FieldsV1 = encodeFields(fields)
			}
		}
		out = append(out, e)
	}
	return append(out, mine)
}

func (p patch) is(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == p.manager && e.Operation == metav1.ManagedFieldsOperationApply && (e.Subresource == "status") == p.status
}

func fieldsOf(e metav1.ManagedFieldsEntry) fieldSet {
	out := fieldSet{}
	if e.FieldsV1 != nil {
		_ = json.Unmarshal(e.FieldsV1.GetRawBytes(), &out) // encodeFields has made it
	}
	return out
}

func encodeFields(fields fieldSet) *metav1.FieldsV1 {
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err) // strings always encode
	}
	return metav1.NewFieldsV1(string(text))
}

// changed says whether the fields of an object but for its metadata differ.
func changed(old, now *Object) bool {
	return !maps.EqualFunc(old.Fields, now.Fields, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) })
}

func sameMeta(a, b *metav1.ObjectMeta) bool {
	return maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations) &&
		reflect.DeepEqual(a.OwnerReferences, b.OwnerReferences) &&
		slices.EqualFunc(a.ManagedFields, b.ManagedFields, func(x, y metav1.ManagedFieldsEntry) bool {
			return x.Manager == y.Manager && bytes.Equal(x.FieldsV1.GetRawBytes(), y.FieldsV1.GetRawBytes())
		})
}
