package main

// The TCP connections of this network namespace, as the kernel tells them to anybody in it.

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

type connection struct {
	port     uint16 // on this side
	state    uint8
	unread   uint32 // bytes that the application has not taken yet
	unsent   uint32 // bytes that the client has not acknowledged yet
	received uint64 // bytes of the client in all
	answers  uint32 // segments with data that were sent to the client
	// How long ago the last byte came and went.
	sinceReceived, sinceSent time.Duration
}

// look answers every TCP socket, listening ones included. An incomplete answer is an error.
func look() ([]connection, error) {
	var found []connection
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := netlink.SocketDiagTCPInfo(family)
		if err != nil {
			return nil, fmt.Errorf("sock_diag: %w", err)
		}
		for _, socket := range sockets {
			one := connection{
				port: socket.InetDiagMsg.ID.SourcePort, state: socket.InetDiagMsg.State,
				unread: socket.InetDiagMsg.RQueue, unsent: socket.InetDiagMsg.WQueue,
			}
			if info := socket.TCPInfo; info != nil {
				one.received, one.answers = info.Bytes_received, info.Data_segs_out
				one.sinceReceived = time.Duration(info.Last_data_recv) * time.Millisecond
				one.sinceSent = time.Duration(info.Last_data_sent) * time.Millisecond
			}
			found = append(found, one)
		}
	}
	return found, nil
}
