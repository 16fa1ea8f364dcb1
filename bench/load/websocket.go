package main

// A client on a WebSocket: each text message of its is answered by one that tells the version.

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const websocketPath = "/socket"

func dialWebsocket(address string, deadline time.Time, watched attendant, settings settings) (held, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	dialer := net.Dialer{KeepAlive: -1}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	options := &websocket.DialOptions{HTTPClient: client, Host: settings.host}
	conn, _, err := websocket.Dial(ctx, "ws://"+address+websocketPath, options)
	if err != nil {
		return nil, dialFailure(err)
	}
	watched.connected()
	life, end := context.WithCancel(context.Background())
	var once sync.Once
	talk := &conversation{
		say: func() error { return conn.Write(life, websocket.MessageText, []byte("version")) },
		hear: func() (answer, error) {
			_, text, err := conn.Read(life)
			return answer{status: settings.expectStatus, header: http.Header{}, body: text}, err
		},
		inOrder: func(err error) bool {
			code := websocket.CloseStatus(err)
			return code == websocket.StatusGoingAway || code == websocket.StatusServiceRestart
		},
		end: func() {
			once.Do(func() {
				end()
				_ = conn.CloseNow()
				watched.disconnected()
			})
		},
		address: address,
	}
	talk.begin()
	return talk, nil
}
