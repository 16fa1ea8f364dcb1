// Package echo is the gRPC service that the application of the shedding tests offers and the load generator calls:
// which version answers, once by a call and again and again on a stream. Its messages are protobuf's well-known
// types, so that nothing has to be generated.
package echo

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	serviceName = "maestro.echo.Versions"
	// TellMethod is the unary call.
	TellMethod = "/" + serviceName + "/Tell"
	// TalkMethod is the stream: one answer to each message.
	TalkMethod = "/" + serviceName + "/Talk"
)

// Server answers both.
type Server interface {
	Tell(ctx context.Context, asked *emptypb.Empty) (*wrapperspb.StringValue, error)
	Talk(stream TalkServer) error
}

// TalkServer is the server's end of the stream.
type TalkServer = grpc.BidiStreamingServer[emptypb.Empty, wrapperspb.StringValue]

// TalkStream is its description for a client.
var TalkStream = grpc.StreamDesc{StreamName: "Talk", ServerStreams: true, ClientStreams: true}

// Register offers the service.
func Register(registrar grpc.ServiceRegistrar, server Server) {
	talk := TalkStream
	talk.Handler = func(server any, stream grpc.ServerStream) error {
		return server.(Server).Talk(&grpc.GenericServerStream[emptypb.Empty, wrapperspb.StringValue]{ServerStream: stream})
	}
	registrar.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*Server)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Tell", Handler: tell}},
		Streams:     []grpc.StreamDesc{talk},
	}, server)
}

func tell(server any, ctx context.Context, decode func(any) error, around grpc.UnaryServerInterceptor) (any, error) {
	asked := new(emptypb.Empty)
	if err := decode(asked); err != nil {
		return nil, err
	}
	handle := func(ctx context.Context, asked any) (any, error) {
		return server.(Server).Tell(ctx, asked.(*emptypb.Empty))
	}
	if around == nil {
		return handle(ctx, asked)
	}
	return around(ctx, asked, &grpc.UnaryServerInfo{Server: server, FullMethod: TellMethod}, handle)
}
