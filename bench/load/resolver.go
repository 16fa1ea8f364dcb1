package main

// Keeps the target's addresses at hand, so that a run measures the service and not the cluster's DNS.

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const resolveEvery = 5 * time.Second

type resolver struct {
	host, port string
	mu         sync.RWMutex
	addresses  []string
	turn       atomic.Uint64
	errors     atomic.Int64
}

// newResolver waits until the name is known: a Service's name can be seconds younger than the run.
func newResolver(ctx context.Context, host, port string, patience time.Duration) (*resolver, error) {
	r := &resolver{host: host, port: port}
	deadline := time.Now().Add(patience)
	for {
		err := r.refresh(ctx)
		if err == nil {
			return r, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, fmt.Errorf("-url: host %q does not resolve (%w); give the name of a Service that exists", host, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (r *resolver) keepFresh(ctx context.Context) {
	ticker := time.NewTicker(resolveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// The last known addresses stay in use; the report says how often a lookup failed.
			if r.refresh(ctx) != nil && ctx.Err() == nil {
				r.errors.Add(1)
			}
		}
	}
}

func (r *resolver) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, r.host)
	if err != nil {
		return err
	}
	slices.Sort(found)
	r.mu.Lock()
	r.addresses = found
	r.mu.Unlock()
	return nil
}

func (r *resolver) next() string { return r.at(r.port) }

func (r *resolver) at(port string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return net.JoinHostPort(r.addresses[r.turn.Add(1)%uint64(len(r.addresses))], port)
}
