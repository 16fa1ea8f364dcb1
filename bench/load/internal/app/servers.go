package app

// The four servers, and how they leave: nobody is cut off who listens to what the protocol tells.

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"

	"maestro-conductor.io/bench/load/internal/echo"
)

const closeLook = 50 * time.Millisecond

// Addresses are where each protocol is offered, as net.Listen takes them.
type Addresses struct{ HTTP, H2, Grpc, Websocket string }

// Servers are an application that listens.
type Servers struct {
	// At is where, with the ports that were given for 0.
	At              Addresses
	app             *application
	http, h2, socks *http.Server
	grpc            *grpc.Server
	open            connections
}

// Listen starts an application of this version.
func Listen(version string, at Addresses) (*Servers, error) {
	a := &application{version: version, leaving: make(chan struct{})}
	s := &Servers{app: a, At: at, grpc: grpc.NewServer()}
	echo.Register(s.grpc, a)

	plain := http.NewServeMux()
	plain.HandleFunc("GET /version", a.tellVersion)
	plain.HandleFunc("GET /readyz", a.ready)
	plain.HandleFunc("GET /drain", s.drain)
	plain.Handle("GET /metrics", promhttp.Handler())
	s.http = &http.Server{Handler: s.sendingAway(plain), ConnState: s.open.change}

	multiplexed := http.NewServeMux()
	multiplexed.HandleFunc("GET /version", a.tellVersion)
	s.h2 = &http.Server{Handler: multiplexed, Protocols: new(http.Protocols)}
	s.h2.Protocols.SetUnencryptedHTTP2(true)

	talking := http.NewServeMux()
	talking.HandleFunc("GET /socket", a.socket)
	s.socks = &http.Server{Handler: talking}

	for _, server := range []struct {
		address *string
		serve   func(net.Listener) error
	}{{&s.At.HTTP, s.http.Serve}, {&s.At.H2, s.h2.Serve}, {&s.At.Grpc, s.grpc.Serve}, {&s.At.Websocket, s.socks.Serve}} {
		listener, err := net.Listen("tcp", *server.address)
		if err != nil {
			return nil, err
		}
		*server.address = listener.Addr().String()
		go func() {
			if err := server.serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
				log.Printf("%s: %v", listener.Addr(), err)
			}
		}()
	}
	return s, nil
}

// sendingAway: an HTTP/1.1 client that is told in an answer to open another connection loses nothing.
func (s *Servers) sendingAway(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.app.parting.Load() {
			w.Header().Set("Connection", "close")
		}
		inner.ServeHTTP(w, r)
	})
}

// drain is a preStop hook: HTTP/1.1 clients are sent away from now on, and it is answered once the one that asks for it is
// the last, at the latest after so many seconds. The other protocols say goodbye at SIGTERM.
func (s *Servers) drain(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.Atoi(r.URL.Query().Get("seconds"))
	if err != nil || seconds < 0 {
		http.Error(w, "seconds: give a whole number, as in /drain?seconds=20", http.StatusBadRequest)
		return
	}
	s.app.parting.Store(true)
	patience, cancel := context.WithTimeout(r.Context(), time.Duration(seconds)*time.Second)
	defer cancel()
	s.open.wait(patience, 1)
	w.WriteHeader(http.StatusNoContent)
}

// Leave ends all of it within grace and tells what had to be cut off.
func (s *Servers) Leave(farewell, grace time.Duration) string {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	s.app.parting.Store(true)
	close(s.app.leaving)
	var mu sync.Mutex
	var cut []string
	var all sync.WaitGroup
	for name, end := range map[string]func(context.Context) error{
		"HTTP/1.1":  func(ctx context.Context) error { return s.leaveHTTP(ctx, farewell) },
		"HTTP/2":    s.h2.Shutdown, // GOAWAY, then it waits for the answers
		"gRPC":      s.leaveGrpc,
		"WebSocket": s.leaveSockets,
	} {
		all.Go(func() {
			if err := end(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				cut = append(cut, name)
			}
		})
	}
	all.Wait()
	if len(cut) > 0 {
		return "cut off what was left of " + strings.Join(cut, ", ")
	}
	return "everybody had gone"
}

func (s *Servers) leaveHTTP(ctx context.Context, farewell time.Duration) error {
	patience, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	s.open.wait(patience, 0)
	return s.http.Shutdown(ctx)
}

// leaveGrpc: GOAWAY; the streams have ended by themselves, because the application is leaving.
func (s *Servers) leaveGrpc(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		return ctx.Err()
	}
}

func (s *Servers) leaveSockets(ctx context.Context) error {
	err := s.socks.Shutdown(ctx)
	if !s.app.sockets.sayGoodbye() {
		err = errors.Join(err, errors.New("a client did not answer the close frame"))
	}
	return err
}

// connections counts what an HTTP server holds open.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

func (c *connections) change(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[net.Conn]bool{}
	}
	switch state {
	case http.StateNew:
		c.open[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

// wait returns once no more than `most` are open, or the context ends.
func (c *connections) wait(ctx context.Context, most int) {
	ticker := time.NewTicker(closeLook)
	defer ticker.Stop()
	for c.count() > most && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// sockets are the WebSockets that are open.
type sockets struct {
	mu   sync.Mutex
	open map[*websocket.Conn]bool
}

func (s *sockets) add(conn *websocket.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*websocket.Conn]bool{}
	}
	s.open[conn] = true
}

func (s *sockets) remove(conn *websocket.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
}

// sayGoodbye sends each client the close frame 1001 and waits for its own; false: one of them did not answer.
func (s *sockets) sayGoodbye() bool {
	s.mu.Lock()
	var all []*websocket.Conn
	for conn := range s.open {
		all = append(all, conn)
	}
	s.mu.Unlock()
	answered := make(chan bool, len(all))
	for _, conn := range all {
		go func() { answered <- conn.Close(websocket.StatusGoingAway, "this version leaves") == nil }()
	}
	everybody := true
	for range all {
		everybody = <-answered && everybody
	}
	return everybody
}
