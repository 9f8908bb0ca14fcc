package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// One call of a mix.
type mixedCall struct {
	// `package.Service/Method`.
	Method string
	// Encoded.
	Message []byte
}

// opaque hands on messages as they are: what answers cost to decode is their reader's to pay, not the
// load's.
type opaque struct{}

func (opaque) Marshal(value interface{}) ([]byte, error) { return *value.(*[]byte), nil }
func (opaque) Unmarshal(data []byte, value interface{}) error {
	*value.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (opaque) Name() string { return "proto" }

// putMixed makes calls of several methods, each once and in their order, so many at a time: a run of ghz's
// has one method.
func putMixed(j job) (result, error) {
	var connections []*grpc.ClientConn
	for range j.Connections {
		connection, err := grpc.Dial(j.Target, grpc.WithInsecure(), grpc.WithBlock(), grpc.WithTimeout(10*time.Second))
		if err != nil {
			return result{}, fmt.Errorf("%s: %w", j.Target, err)
		}
		defer connection.Close()
		connections = append(connections, connection)
	}
	tally := result{Statuses: map[string]int{}, Errors: map[string]int{}}
	latencies := make([]float64, len(j.Mixed))
	var lock sync.Mutex
	var next atomic.Int64
	var waiting sync.WaitGroup
	start := time.Now()
	for worker := range int(j.Concurrency) {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			connection := connections[worker%len(connections)]
			for {
				at := int(next.Add(1)) - 1
				if at >= len(j.Mixed) {
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				if len(j.Metadata) > 0 {
					ctx = metadata.NewOutgoingContext(ctx, metadata.New(j.Metadata[at%len(j.Metadata)]))
				}
				var answer []byte
				var header metadata.MD
				began := time.Now()
				err := connection.Invoke(ctx, "/"+j.Mixed[at].Method, &j.Mixed[at].Message, &answer,
					grpc.ForceCodec(opaque{}), grpc.Header(&header))
				latencies[at] = float64(time.Since(began)) / 1e6
				cancel()
				lock.Lock()
				tally.Calls++
				tally.Statuses[status.Code(err).String()]++
				if err != nil {
					tally.Errors[err.Error()]++
				}
				if len(header.Get("age")) > 0 {
					tally.Aged++
				}
				lock.Unlock()
			}
		}()
	}
	waiting.Wait()
	tally.PerS = float64(tally.Calls) / time.Since(start).Seconds()
	tally.P50Ms, tally.P99Ms = percentiles(latencies)
	return tally, nil
}
