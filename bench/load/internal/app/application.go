// Package app is the application of the shedding tests: it tells its version by four protocols, and leaves its clients as
// each protocol means it to be done.
package app

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"maestro-conductor.io/bench/load/internal/echo"
)

// duration has the name and labels of common instrumentation: a request is a request by whichever protocol it came.
var duration = promauto.NewHistogramVec(prometheus.HistogramOpts{
	Name: "http_request_duration_seconds", Help: "Time from a request, call or message to its answer.",
	Buckets: []float64{.001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5},
}, []string{"method", "path", "status"})

// A pod that nobody asked yet stands at 0: of one without series nobody can say that it is silent.
func init() {
	for _, path := range []string{"/version", "/socket", echo.TellMethod, echo.TalkMethod} {
		duration.WithLabelValues(http.MethodGet, path, "200")
	}
}

type application struct {
	version string
	parting atomic.Bool   // HTTP/1.1 clients are told to open another connection
	leaving chan struct{} // closed at SIGTERM
	sockets sockets
}

func (a *application) isLeaving() bool {
	select {
	case <-a.leaving:
		return true
	default:
		return false
	}
}

func observe(path string, started time.Time) {
	duration.WithLabelValues(http.MethodGet, path, "200").Observe(time.Since(started).Seconds())
}

func (a *application) body() []byte {
	pod, _ := os.Hostname()
	text, err := json.Marshal(map[string]string{"version": a.version, "pod": pod})
	if err != nil {
		panic(err) // two strings always marshal
	}
	return text
}

func (a *application) tellVersion(w http.ResponseWriter, r *http.Request) {
	defer observe(r.URL.Path, time.Now())
	body := a.body()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Version", a.version)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

func (a *application) ready(w http.ResponseWriter, _ *http.Request) {
	if a.isLeaving() {
		http.Error(w, "leaving", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// Tell answers one call.
func (a *application) Tell(context.Context, *emptypb.Empty) (*wrapperspb.StringValue, error) {
	defer observe(echo.TellMethod, time.Now())
	return wrapperspb.String(string(a.body())), nil
}

// Talk answers every message until the client or the application leaves; then the stream ends with status OK.
func (a *application) Talk(stream echo.TalkServer) error {
	asked := make(chan error)
	go func() {
		for {
			_, err := stream.Recv()
			select {
			case asked <- err:
			case <-stream.Context().Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case <-a.leaving:
			return nil
		case err := <-asked:
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			started := time.Now()
			if err := stream.Send(wrapperspb.String(string(a.body()))); err != nil {
				return err
			}
			observe(echo.TalkMethod, started)
		}
	}
}

// socket answers every message of one WebSocket until either side closes it.
func (a *application) socket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	a.sockets.add(conn)
	defer a.sockets.remove(conn)
	defer func() { _ = conn.CloseNow() }()
	for {
		if _, _, err := conn.Read(context.Background()); err != nil {
			return
		}
		started := time.Now()
		// A message that crossed the close frame has no answer any more. It is read all the same: a connection that is
		// closed over unread bytes is reset, and the client might lose the close frame.
		if err := conn.Write(context.Background(), websocket.MessageText, a.body()); err == nil {
			observe(r.URL.Path, started)
		}
	}
}
