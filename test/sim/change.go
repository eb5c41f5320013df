// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// maxServices bounds the Services, so that addresses are used again.
const maxServices = 8

// bigService is how many endpoints a Service gets by growService: enough for the brake on
// mass removal.
const bigService = 150

// change changes the world, and says whether the event is such a change.
func (w *world) change(e event) bool {
	all := w.sorted()
	if e.do == addService {
		if len(all) < maxServices {
			w.addService(e)
		}
		return true
	}
	var svc *service
	if len(all) > 0 {
		svc = all[e.a%len(all)]
	} else {
		svc = &service{}
	}
	switch e.do {
	case removeService:
		w.removeService(svc)
	case moveService:
		svc.port = uint16(80 + e.b%4)
		w.publishService(svc)
	case setLocal:
		svc.local = !svc.local
		w.publishService(svc)
	case setOther:
		svc.other = !svc.other
		w.publishService(svc)
	case addPod:
		w.edit(svc, e.b%2, func(old []endpoint) []endpoint { return append(old, w.pod(e.b)) })
	case removePod:
		w.edit(svc, e.b%2, func(old []endpoint) []endpoint {
			if len(old) == 0 {
				return old
			}
			i := e.b / 2 % len(old)
			return slices.Delete(slices.Clone(old), i, i+1)
		})
	case setPod:
		w.edit(svc, e.b%2, func(old []endpoint) []endpoint {
			if len(old) > 0 {
				old[e.b/2%len(old)].state = podState(e.b / 7 % 3)
			}
			return old
		})
	case replacePods:
		w.edit(svc, e.b%2, func(old []endpoint) []endpoint {
			out := make([]endpoint, len(old))
			for i := range out {
				out[i] = w.pod(e.b + i)
			}
			return out
		})
	case moveSlices:
		w.movePod(svc, e)
	case growService:
		w.edit(svc, 0, func(old []endpoint) []endpoint {
			for len(old) < bigService {
				old = append(old, w.pod(len(old)))
			}
			return old
		})
	default:
		return false
	}
	return true
}

// addAPIServer adds the Service of the apiserver.
func (w *world) addAPIServer() {
	svc := &service{name: model.APIServerService.Name, ip: netip.MustParseAddr("10.96.0.1"), port: 443}
	svc.slices = [][]endpoint{{{at: netip.MustParseAddrPort("192.0.2.1:8080")}}}
	w.services[svc.name] = svc
	w.publishService(svc)
	w.publishSlice(svc, 0)
}

func (w *world) addService(e event) {
	for i := range maxServices {
		name := fmt.Sprintf("service-%d", (e.a+i)%maxServices)
		if w.services[name] != nil {
			continue
		}
		svc := &service{name: name, ip: w.free(e.b), port: uint16(80 + e.b%3), slices: make([][]endpoint, 2)}
		for n := range e.b % 4 {
			svc.slices[n%2] = append(svc.slices[n%2], w.pod(e.b+n))
		}
		w.services[name] = svc
		w.publishService(svc)
		w.publishSlice(svc, 0)
		w.publishSlice(svc, 1)
		return
	}
}

// dominant returns a Service with so many endpoints, for so long, that no agent gives them all up
// without evidence; nil: there is none.
func (w *world) dominant() *service {
	for _, svc := range w.sorted() {
		if long, others := w.oracle.share(svc.name); !svc.other && long > bigService*3/4 && others <= bigService/2 {
			return svc
		}
	}
	return nil
}

func (w *world) removeService(svc *service) {
	if svc.name == "" {
		return
	}
	delete(w.services, svc.name)
	w.oracle.update(w)
	w.server.Remove(cluster, services, svc.namespace()+"/"+svc.name)
	for i := range svc.slices {
		w.server.Remove(cluster, endpointSlices, svc.namespace()+"/"+svc.sliceName(i))
	}
}

// edit changes the endpoints in a slice.
func (w *world) edit(svc *service, i int, change func([]endpoint) []endpoint) {
	if svc.name == "" {
		return
	}
	svc.slices[i] = change(svc.slices[i])
	w.publishSlice(svc, i)
}

// movePod moves an endpoint to the other slice. For a moment it is in both.
func (w *world) movePod(svc *service, e event) {
	from := e.b % 2
	if svc.name == "" || len(svc.slices[from]) == 0 {
		return
	}
	moved := svc.slices[from][0]
	svc.slices[1-from] = append(svc.slices[1-from], moved)
	w.publishSlice(svc, 1-from)
	svc.slices[from] = svc.slices[from][1:]
	w.publishSlice(svc, from)
}

func (w *world) publishService(svc *service) {
	if svc.name == "" {
		return
	}
	w.oracle.update(w)
	w.server.Put(cluster, services, svc.object())
}

func (w *world) publishSlice(svc *service, i int) {
	w.oracle.update(w)
	w.server.Put(cluster, endpointSlices, svc.slice(i))
}
