// Stands between two that speak TCP. It counts their bytes, and hands on what each of them sends only
// after a while: DELAY in each direction, so that a round trip takes twice that longer.
//
// Usage: waybill-relay TARGET [DELAY]   DELAY such as 500us; default: none
//
// It writes where it listens as the first line of standard output. For each line on standard input it
// writes one with the bytes so far, to the target and from it. It ends when standard input does.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// What is on its way in one direction of a connection: far more than is ever sent in a DELAY.
const chunksUnderWay = 1024
const chunkBytes = 64 * 1024

var toTarget, fromTarget atomic.Int64

type chunk struct {
	bytes []byte
	due   time.Time
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return fmt.Errorf("expected TARGET and perhaps DELAY")
	}
	var delay time.Duration
	if len(args) == 2 {
		parsed, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		delay = parsed
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go accept(listener, args[0], delay)
	fmt.Println(listener.Addr())
	asked := bufio.NewScanner(os.Stdin)
	for asked.Scan() {
		fmt.Println(toTarget.Load(), fromTarget.Load())
	}
	return asked.Err()
}

func accept(listener net.Listener, target string, delay time.Duration) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", target)
		if err != nil {
			near.Close()
			continue
		}
		go pass(near, far, delay, &toTarget)
		go pass(far, near, delay, &fromTarget)
	}
}

// pass hands on what comes from one to the other until either is gone.
func pass(from, to net.Conn, delay time.Duration, count *atomic.Int64) {
	chunks := make(chan chunk, chunksUnderWay)
	go send(chunks, to, delay > 0)
	for {
		bytes := make([]byte, chunkBytes)
		n, err := from.Read(bytes)
		if n > 0 {
			count.Add(int64(n))
			chunks <- chunk{bytes[:n], time.Now().Add(delay)}
		}
		if err != nil {
			close(chunks)
			return
		}
	}
}

func send(chunks <-chan chunk, to net.Conn, isDelayed bool) {
	if isDelayed {
		// Go's own timers may be a millisecond late: the thread itself sleeps, as exactly as it can.
		runtime.LockOSThread()
		const setTimerSlack = 29
		syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1, 0)
	}
	for next := range chunks {
		if left := time.Until(next.due); left > 0 {
			rest := syscall.NsecToTimespec(left.Nanoseconds())
			syscall.Nanosleep(&rest, nil)
		}
		if _, err := to.Write(next.bytes); err != nil {
			break
		}
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		tcp.CloseWrite()
	}
	for range chunks {
	}
}
