// Command drain is the preStop hook of containers without a shell: it ends when nobody is in the middle of anything on
// the pod's ports any more, and at its deadline in any case. The operator copies it into the pods of releases that ask
// for it (spec.preStopHook.waiter); it needs no privilege, no file and no environment.
//
//	drain install /drain/drain            copies itself there (an init container)
//	drain wait -ports 8080,8081 -at-most 20s -settle 3s -until silence
//
// `wait` always waits for -settle first: that long, node proxies may still send new connections to this pod. Then, with
// -until settled, it ends: for applications that say goodbye to their clients by themselves when they get SIGTERM. With
// -until silence it goes on until every connection is silent: its last byte went to the client, and that -settle ago.
// What a connection did is asked of the kernel (sock_diag), per connection of this network namespace.
package main
