// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"fmt"

	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// note records what is wrong at a port: that it could not be opened, and that
// another Service has it. There is one event of each Service while it lasts.
func (s *Server) note(port resolve.HealthPort, claims []resolve.HealthCheck, listening error) {
	before := s.noted[port]
	now := map[model.ServiceID]string{}
	add := func(service model.ServiceID, text string) {
		now[service] = text
		if before[service] == text {
			return
		}
		select {
		case s.notes <- note{service, text}:
		default:
			delete(now, service) // at the next try
		}
	}
	for i, c := range claims {
		switch {
		case i > 0:
			add(c.Service, fmt.Sprintf("The health check port %d belongs to Service %s/%s, so that balancers get no answer about this one. Give one of them another port",
				port.Number, claims[0].Service.Namespace, claims[0].Service.Name))
		case listening != nil:
			add(c.Service, fmt.Sprintf("The health check port %d cannot be opened, so that balancers take the node as down: %v. It is tried again; end what holds the port",
				port.Number, listening))
		}
	}
	if len(now) == 0 {
		delete(s.noted, port)
	} else {
		s.noted[port] = now
	}
}

// writeNotes writes events until ctx ends. What cannot be written is not tried again: that
// a port is not open shows also in the metrics.
func (s *Server) writeNotes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-s.notes:
			if err := s.event(ctx, n.service, n.text); err != nil && ctx.Err() == nil {
				s.log.Error(err, "Failed to write an event of a health check port", "service", n.service.String(), "note", n.text)
			}
		}
	}
}
