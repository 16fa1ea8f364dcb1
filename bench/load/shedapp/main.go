// Command shedapp is the application of the shedding tests: it tells its version over HTTP/1.1, HTTP/2 without TLS, gRPC
// and WebSocket, each on a port of its own, and on SIGTERM sends its clients away as each protocol means it to be done.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"maestro-conductor.io/bench/load/internal/app"
)

func main() {
	var at app.Addresses
	version := flag.String("version", "unknown", "what it answers")
	flag.StringVar(&at.HTTP, "http", ":8080", "HTTP/1.1, metrics and probes")
	flag.StringVar(&at.H2, "h2", ":8081", "HTTP/2 without TLS, by prior knowledge")
	flag.StringVar(&at.Grpc, "grpc", ":8082", "gRPC")
	flag.StringVar(&at.Websocket, "websocket", ":8083", "WebSocket")
	farewell := flag.Duration("farewell", 5*time.Second, "how long HTTP/1.1 clients are answered with Connection: close before the rest is closed")
	grace := flag.Duration("grace", 10*time.Second, "after SIGTERM, end at the latest")
	flag.Parse()

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	servers, err := app.Listen(*version, at)
	if err != nil {
		fmt.Fprintln(os.Stderr, "shedapp:", err)
		os.Exit(1)
	}
	log.Printf("version %s listens", *version)
	<-ctx.Done()
	started := time.Now()
	left := servers.Leave(*farewell, *grace)
	log.Printf("left after %s: %s", time.Since(started).Round(time.Millisecond), left)
}
