// Hosts a program's services on a port (0 for a free one) over HTTP/2 or, with `http1`, over HTTP/1.1, or as a Lambda
// function's handler.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/aws/aws-lambda-go/lambda"
	restate "github.com/restatedev/sdk-go"
	"github.com/restatedev/sdk-go/server"
)

var programs = map[string]func() []restate.ServiceDefinition{
	"services":   services,
	"relay":      relay,
	"tour":       tour,
	"restarting": restarting,
}

func main() {
	program, where := os.Args[1], os.Args[2]
	endpoint := server.NewRestate().WithLogger(slog.DiscardHandler, true)
	for _, service := range programs[program]() {
		endpoint.Bind(service)
	}
	if key := os.Getenv("IDENTITY_KEY"); key != "" {
		endpoint.WithIdentityV1(key)
	}
	if err := host(endpoint, where); err != nil {
		log.Fatal(err)
	}
}

func host(endpoint *server.Restate, where string) error {
	if where == "lambda" {
		return handleEvents(endpoint)
	}
	handler, err := endpoint.Handler()
	if err != nil {
		return err
	}
	var protocols http.Protocols
	protocols.SetHTTP1(where == "http1")
	protocols.SetUnencryptedHTTP2(where != "http1")
	if where == "http1" {
		where = "0"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+where)
	if err != nil {
		return err
	}
	fmt.Println("listening on", listener.Addr().(*net.TCPAddr).Port)
	return (&http.Server{Handler: handler, Protocols: &protocols}).Serve(listener)
}

// handleEvents gets an event per line of stdin, and writes an answer per line of stdout. Events are handled at once, as
// by concurrent sandboxes.
func handleEvents(endpoint *server.Restate) error {
	handle, err := endpoint.LambdaHandler()
	if err != nil {
		return err
	}
	var writing sync.Mutex
	handler, answers, events := lambda.NewHandler(handle), json.NewEncoder(os.Stdout), bufio.NewReader(os.Stdin)
	for decoder := json.NewDecoder(events); decoder.More(); {
		var request struct {
			Call  int             `json:"call"`
			Event json.RawMessage `json:"event"`
		}
		if err := decoder.Decode(&request); err != nil {
			return err
		}
		go func() {
			answer, err := handler.Invoke(context.Background(), request.Event)
			if err != nil {
				answer, _ = json.Marshal(map[string]string{"errorType": fmt.Sprintf("%T", err), "errorMessage": err.Error()})
			}
			writing.Lock()
			defer writing.Unlock()
			_ = answers.Encode(map[string]any{"call": request.Call, "answer": json.RawMessage(answer)})
		}()
	}
	return nil
}
