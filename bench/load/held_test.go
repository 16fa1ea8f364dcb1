package main

// Clients that hold their connection, against the real application behind a switch like a Service: a connection goes where
// the switch points when it is opened, and stays there.

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"maestro-conductor.io/bench/load/internal/app"
)

var anyPort = app.Addresses{HTTP: "127.0.0.1:0", H2: "127.0.0.1:0", Grpc: "127.0.0.1:0", Websocket: "127.0.0.1:0"}

func listen(t *testing.T, version string) *app.Servers {
	t.Helper()
	servers, err := app.Listen(version, anyPort)
	if err != nil {
		t.Fatal(err)
	}
	return servers
}

// service leads new connections to one backend at a time.
type service struct {
	backend atomic.Pointer[string]
	port    int
}

func newService(t *testing.T, backend string) *service {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	s := &service{port: listener.Addr().(*net.TCPAddr).Port}
	s.backend.Store(&backend)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.carry(conn.(*net.TCPConn))
		}
	}()
	return s
}

func (s *service) carry(client *net.TCPConn) {
	defer client.Close()
	behind, err := net.Dial("tcp", *s.backend.Load())
	if err != nil {
		client.SetLinger(0)
		return
	}
	defer behind.Close()
	go func() {
		io.Copy(behind, client)
		behind.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(client, behind)
}

// perKind is a service for each port of the application.
type perKind map[clientKind]*service

func front(t *testing.T, servers *app.Servers) perKind {
	t.Helper()
	services := perKind{}
	for kind, backend := range backends(servers) {
		services[kind] = newService(t, backend)
	}
	return services
}

func backends(servers *app.Servers) map[clientKind]string {
	return map[clientKind]string{
		keepAlive: servers.At.HTTP, h2Client: servers.At.H2, grpcClient: servers.At.Grpc, grpcStream: servers.At.Grpc,
		websocketClient: servers.At.Websocket,
	}
}

func (services perKind) lead(servers *app.Servers) {
	for kind, backend := range backends(servers) {
		services[kind].backend.Store(&backend)
	}
}

func (services perKind) plan(clients int, settings *settings) {
	settings.url.Host = "127.0.0.1:" + strconv.Itoa(services[keepAlive].port)
	settings.url.Path = "/version"
	settings.keepAlive, settings.requests, settings.rate = clients, 0, float64(100*clients)
	settings.versionHeader, settings.versionJSON = "", "version"
	settings.eachClient = true
	settings.held = map[clientKind]*heldClients{}
	for _, kind := range heldKinds {
		settings.held[kind] = &heldClients{clients, services[kind].port}
	}
}

func TestEveryKindOfClientIsMovedByAnApplicationThatLeavesAndLosesNothing(t *testing.T) {
	const clients = 4
	old, fresh := listen(t, "1.0.0"), listen(t, "1.1.0")
	services := front(t, old)
	var left atomic.Pointer[string]
	go func() {
		time.Sleep(700 * time.Millisecond)
		services.lead(fresh)
		time.Sleep(300 * time.Millisecond)
		said := old.Leave(5*time.Second, 10*time.Second)
		left.Store(&said)
	}()
	report := load(t, "http://127.0.0.1/", func(s *settings) {
		services.plan(clients, s)
		s.duration = 3 * time.Second
	})
	if report.Failures != 0 {
		t.Fatalf("%d failures: %v %+v", report.Failures, report.FailuresByKind, report.FailureSamples)
	}
	if said := left.Load(); said == nil || *said != "everybody had gone" {
		t.Errorf("the application left with clients on it: %v", said)
	}
	if got := len(report.Clients); got != 5*clients {
		t.Fatalf("%d clients reported, want %d", got, 5*clients)
	}
	for _, client := range report.Clients {
		if len(client.Spans) != 2 || client.Spans[0].Version != "1.0.0" || client.Spans[1].Version != "1.1.0" {
			t.Errorf("%s client %d: not moved once, from 1.0.0 to 1.1.0: %+v", client.Kind, client.Number, client.Spans)
		}
		if client.Connections != 2 {
			t.Errorf("%s client %d opened %d connections, want 2", client.Kind, client.Number, client.Connections)
		}
		if len(client.Gaps) == 0 || client.Gaps[0].Ms > 1000 {
			t.Errorf("%s client %d felt a gap: %+v", client.Kind, client.Number, client.Gaps)
		}
	}
	for _, version := range []string{"1.0.0", "1.1.0"} {
		seen := report.Versions[version]
		for kind, answers := range map[clientKind]*answersOfKind{
			keepAlive: seen.KeepAlive, h2Client: seen.H2, grpcClient: seen.Grpc, grpcStream: seen.GrpcStream,
			websocketClient: seen.Websocket,
		} {
			if answers == nil || answers.Answers == 0 {
				t.Errorf("%s had no answer of %s", kind, version)
			}
		}
	}
	t.Logf("%d requests, connections %+v", report.Requests, report.Connections)
}

func TestADrainSendsClientsAwayAndEndsWithTheLastOfThem(t *testing.T) {
	const clients = 4
	old, fresh := listen(t, "1.0.0"), listen(t, "1.1.0")
	defer old.Leave(0, 0)
	services := front(t, old)
	type drained struct {
		status int
		err    error
		took   time.Duration
	}
	ended := make(chan drained, 1)
	go func() {
		time.Sleep(500 * time.Millisecond)
		services.lead(fresh)
		started := time.Now()
		answer, err := http.Get("http://" + old.At.HTTP + "/drain?seconds=20")
		if err != nil {
			ended <- drained{err: err}
			return
		}
		answer.Body.Close()
		ended <- drained{status: answer.StatusCode, took: time.Since(started)}
	}()
	report := load(t, "http://127.0.0.1/", func(s *settings) {
		services.plan(clients, s)
		s.held = map[clientKind]*heldClients{}
		s.duration = 3 * time.Second
	})
	if report.Failures != 0 {
		t.Fatalf("%d failures: %v %+v", report.Failures, report.FailuresByKind, report.FailureSamples)
	}
	if end := <-ended; end.err != nil || end.status != http.StatusNoContent || end.took > 2*time.Second {
		t.Errorf("the drain was not answered with the last client: %+v", end)
	}
	for _, client := range report.Clients {
		if client.Connections != 2 || client.Told != 1 {
			t.Errorf("client %d was not sent away once: %+v", client.Number, client)
		}
	}
}

func TestAHeldConnectionThatIsCutUnderARequestIsAFailureOfEveryKind(t *testing.T) {
	for _, kind := range heldKinds {
		t.Run(string(kind), func(t *testing.T) {
			servers := listen(t, "1.0.0")
			backend := backends(servers)[kind]
			target := rawServer(t, func(client net.Conn, nth int64) {
				behind, err := net.Dial("tcp", backend)
				if err != nil {
					return
				}
				defer behind.Close()
				go io.Copy(behind, client)
				if nth > 1 {
					io.Copy(client, behind)
					return
				}
				// The first connection is cut when the application begins to answer after a while.
				cutAt := time.Now().Add(200 * time.Millisecond)
				buffer := make([]byte, 4096)
				for {
					count, err := behind.Read(buffer)
					// HTTP/2 says up to 30 bytes beside its answers: a window update and a ping. Cut there, no request is hit.
					if err != nil || count > 30 && time.Now().After(cutAt) {
						break
					}
					client.Write(buffer[:count])
				}
				client.(*net.TCPConn).SetLinger(0)
			})
			report := load(t, target, func(s *settings) {
				s.keepAlive, s.requests, s.rate, s.duration = 0, 0, 100, time.Second
				s.versionHeader, s.versionJSON = "", "version"
				s.url.Path = "/version"
				s.held = map[clientKind]*heldClients{kind: {count: 1}}
			})
			if report.Failures != 1 {
				t.Fatalf("want 1 failure, got %d of %d: %v %+v",
					report.Failures, report.Requests, report.FailuresByKind, report.FailureSamples)
			}
			if report.Connections.Opened != 2 || report.Connections.AskedAgain != 0 {
				t.Errorf("want a second connection and nothing asked twice: %+v", report.Connections)
			}
		})
	}
}

func TestARequestThatAGoAwayLeftBehindIsAskedAgainAndCountedApart(t *testing.T) {
	var served atomic.Int64
	target := rawServer(t, func(conn net.Conn, nth int64) {
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(conn, preface); err != nil {
			return
		}
		framer := http2.NewFramer(conn, conn)
		framer.WriteSettings()
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			headers, ok := frame.(*http2.HeadersFrame)
			if !ok {
				continue
			}
			if nth == 1 {
				framer.WriteGoAway(headers.StreamID-1, http2.ErrCodeNo, nil)
				continue
			}
			served.Add(1)
			// :status 200 from the static table, nothing else.
			framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: headers.StreamID, BlockFragment: []byte{0x88}, EndHeaders: true, EndStream: true,
			})
		}
	})
	report := load(t, target, func(s *settings) {
		s.keepAlive, s.requests, s.versionHeader = 0, 3, ""
		s.held = map[clientKind]*heldClients{h2Client: {count: 1}}
	})
	if report.Failures != 0 || report.Requests != 3 || served.Load() != 3 {
		t.Fatalf("want 3 good requests, got %d, %d failed %+v", report.Requests, report.Failures, report.FailureSamples)
	}
	if report.Connections.AskedAgain != 1 || report.Connections.Opened != 2 {
		t.Errorf("want one request asked again on a second connection: %+v", report.Connections)
	}
}

func TestTheLongestGapsOfAClientAreKeptLongestFirst(t *testing.T) {
	var one record
	from := time.Now()
	for _, ms := range []int{5, 90, 10, 20, 70, 30, 40, 50, 60, 80, 15} {
		one.gap(from, from.Add(time.Duration(ms)*time.Millisecond))
	}
	var kept []int64
	for _, gap := range one.summary().Gaps {
		kept = append(kept, gap.Ms)
	}
	want := []int64{90, 80, 70, 60, 50, 40, 30, 20}
	if len(kept) != len(want) {
		t.Fatalf("kept %v, want %v", kept, want)
	}
	for place := range want {
		if kept[place] != want[place] {
			t.Fatalf("kept %v, want %v", kept, want)
		}
	}
}
