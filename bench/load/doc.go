// Command load plays the users of an application under upgrade and reports every answer that they did
// not get as they should have.
//
// It speaks HTTP/1.1 over net.Conn itself, because the usual clients repeat a lost request in silence,
// and a repeated request would hide just the loss that a run is meant to find. One call is one request
// on the wire: never more.
//
// Two kinds of clients run side by side. A keep-alive client holds one connection and opens another only
// after an answer with "Connection: close", after a failure that it counted, or after the server closed
// the connection while no request was in flight (no failure, counted apart). A one-shot client opens a
// connection per request. All of them form a closed loop with think time: a client starts its next
// request when its turn comes and its last one has ended.
//
// Beside them there can be clients of HTTP/2, gRPC (calls, or one stream) and WebSocket, which hold one connection for as
// long as the server lets them: held.go says what is an orderly end of one and what is a failure.
//
// What counts as a failure stands in outcome.go, the report's shape in summary.go.
package main
