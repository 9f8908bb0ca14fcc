// Puts load on one method with ghz's runner, each call with the next of the waybills given: what one
// caller sends again and again, header compression would make free of charge. Or makes calls of several
// methods, each once.
//
// Reads a job as JSON from standard input, and writes what came of it to standard output.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bojand/ghz/runner"
	"github.com/golang/protobuf/proto"
	"github.com/jhump/protoreflect/dynamic"
	"google.golang.org/grpc/metadata"
)

type job struct {
	Target      string
	Method      string
	Protoset    string
	Calls       uint
	RPS         uint
	Connections uint
	Concurrency uint
	// One in turn for each call.
	Metadata []map[string]string
	// Encoded; one in turn for each call.
	Messages [][]byte
	// In place of the method, the messages, the number of calls and their pace.
	Mixed []mixedCall
}

type result struct {
	Calls uint64 `json:"calls"`
	// Of them, by status.
	Statuses map[string]int `json:"statuses"`
	Errors   map[string]int `json:"errors"`
	PerS     float64        `json:"perS"`
	P50Ms    float64        `json:"p50Ms"`
	P99Ms    float64        `json:"p99Ms"`
	// Of a mix: answers that came with their age, as kept ones do (RFC 9111 section 5.1).
	Aged uint64 `json:"aged"`
}

func main() {
	// What the load's own collector takes of the cores, those who are measured lack.
	debug.SetGCPercent(800)
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return fmt.Errorf("the job on standard input: %w", err)
	}
	if len(j.Mixed) > 0 {
		mixed, err := putMixed(j)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(mixed)
	}
	// A worker that ghz makes when all calls are done already makes one more, and then panics: so none
	// goes out before there are all workers, each with a call in hand.
	j.Concurrency = min(j.Concurrency, j.Calls)
	j.Connections = min(j.Connections, j.Concurrency)
	var waiting sync.WaitGroup
	waiting.Add(int(j.Concurrency))
	var taken atomic.Int64
	headers := make([]metadata.MD, len(j.Metadata))
	for i, each := range j.Metadata {
		headers[i] = metadata.New(each)
	}
	// Made on first use: only the runner knows the method.
	var messages [][]*dynamic.Message
	options := []runner.Option{
		runner.WithProtoset(j.Protoset),
		runner.WithInsecure(true),
		runner.WithTotalRequests(j.Calls),
		runner.WithConnections(j.Connections),
		runner.WithConcurrency(j.Concurrency),
		runner.WithTimeout(20 * time.Second),
		runner.WithMetadataProvider(func(call *runner.CallData) (*metadata.MD, error) {
			if len(headers) == 0 {
				return &metadata.MD{}, nil
			}
			return &headers[call.RequestNumber%int64(len(headers))], nil
		}),
		runner.WithDataProvider(func(call *runner.CallData) ([]*dynamic.Message, error) {
			// At their time they go one by one, however many workers there are.
			if j.RPS == 0 && taken.Add(1) <= int64(j.Concurrency) {
				waiting.Done()
				waiting.Wait()
			}
			return messages[call.RequestNumber%int64(len(messages))], nil
		}),
	}
	if j.RPS > 0 {
		// At their time, whoever waits.
		options = append(options, runner.WithRPS(j.RPS), runner.WithAsync(true))
	}
	method, err := methodOf(j)
	if err != nil {
		return err
	}
	for _, bytes := range j.Messages {
		message := dynamic.NewMessage(method.GetInputType())
		if err := proto.Unmarshal(bytes, message); err != nil {
			return fmt.Errorf("a message of the job: %w", err)
		}
		messages = append(messages, []*dynamic.Message{message})
	}
	report, err := runner.Run(j.Method, j.Target, options...)
	if err != nil {
		return err
	}
	latencies := make([]float64, 0, len(report.Details))
	for _, each := range report.Details {
		latencies = append(latencies, float64(each.Latency)/1e6)
	}
	p50, p99 := percentiles(latencies)
	return json.NewEncoder(os.Stdout).Encode(result{
		Calls:    report.Count,
		Statuses: report.StatusCodeDist,
		Errors:   report.ErrorDist,
		PerS:     report.Rps,
		P50Ms:    p50,
		P99Ms:    p99,
	})
}

func percentiles(latencies []float64) (p50, p99 float64) {
	if len(latencies) == 0 {
		return 0, 0
	}
	sort.Float64s(latencies)
	at := func(share float64) float64 { return latencies[int(share*float64(len(latencies)-1))] }
	return at(0.5), at(0.99)
}
