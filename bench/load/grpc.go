package main

// Clients of gRPC, by the library that its users have: one that calls, one that keeps a stream open.
//
// The library asks again by itself what the server is known not to have taken, on another connection: that is part of
// the protocol and cannot be switched off. What it does report is a failure here.

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"maestro-conductor.io/bench/load/internal/echo"
)

func grpcChannel(address string, watched attendant) (*grpc.ClientConn, error) {
	dialer := net.Dialer{KeepAlive: -1}
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(connectionWatcher{watched}),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}),
		grpc.WithDisableServiceConfig(),
	)
}

// connectionWatcher tells of the connections that a channel makes and loses by itself.
type connectionWatcher struct{ watched attendant }

func (w connectionWatcher) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return ctx
}
func (w connectionWatcher) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}
func (w connectionWatcher) HandleRPC(context.Context, stats.RPCStats) {}
func (w connectionWatcher) HandleConn(_ context.Context, change stats.ConnStats) {
	switch change.(type) {
	case *stats.ConnBegin:
		w.watched.connected()
	case *stats.ConnEnd:
		w.watched.disconnected()
	}
}

type grpcCalls struct {
	channel  *grpc.ClientConn
	address  string
	expected int
}

func dialGrpc(address string, _ time.Time, watched attendant, settings settings) (held, error) {
	channel, err := grpcChannel(address, watched)
	if err != nil {
		return nil, dialFailure(err)
	}
	return &grpcCalls{channel, address, settings.expectStatus}, nil
}

func (c *grpcCalls) ask(deadline time.Time) (answer, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	told := new(wrapperspb.StringValue)
	if err := c.channel.Invoke(ctx, echo.TellMethod, &emptypb.Empty{}, told); err != nil {
		return answer{}, failureOf(err)
	}
	return versionAnswer(c.expected, told), nil
}

// parted: the channel leaves a connection by itself when the server says GOAWAY.
func (c *grpcCalls) parted() parting { return stillHeld }
func (c *grpcCalls) close()          { _ = c.channel.Close() }
func (c *grpcCalls) peer() string    { return c.address }

func dialGrpcStream(address string, deadline time.Time, watched attendant, settings settings) (held, error) {
	channel, err := grpcChannel(address, watched)
	if err != nil {
		return nil, dialFailure(err)
	}
	life, end := context.WithCancel(context.Background())
	late := time.AfterFunc(time.Until(deadline), end)
	stream, err := channel.NewStream(life, &echo.TalkStream, echo.TalkMethod)
	if err != nil || !late.Stop() {
		end()
		_ = channel.Close()
		if err == nil {
			err = context.DeadlineExceeded
		}
		return nil, failureOf(err)
	}
	var once sync.Once
	talk := &conversation{
		say: func() error { return stream.SendMsg(&emptypb.Empty{}) },
		hear: func() (answer, error) {
			told := new(wrapperspb.StringValue)
			err := stream.RecvMsg(told)
			return versionAnswer(settings.expectStatus, told), err
		},
		inOrder: func(err error) bool { return errors.Is(err, io.EOF) },
		end: func() {
			once.Do(func() {
				end()
				_ = channel.Close()
			})
		},
		address: address,
	}
	talk.begin()
	return talk, nil
}

func versionAnswer(expected int, told *wrapperspb.StringValue) answer {
	return answer{status: expected, header: http.Header{}, body: []byte(told.GetValue())}
}

// failureOf puts an error of gRPC under the kind that the other clients' reports use.
func failureOf(err error) error {
	said, ok := status.FromError(err)
	if !ok {
		return exchangeFailure(err)
	}
	switch {
	case said.Code() == codes.DeadlineExceeded:
		return &wireError{failedTimeout, err}
	case said.Code() != codes.Unavailable:
		return &wireError{failedServer, err}
	case strings.Contains(said.Message(), "while dialing"):
		return &wireError{failedDial, err}
	case strings.Contains(said.Message(), "connection reset by peer"):
		return &wireError{failedReset, err}
	default:
		return &wireError{failedLost, err}
	}
}
