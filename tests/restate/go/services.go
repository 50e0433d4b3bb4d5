// Services of the contracts that Restate's conformance suite uses, written with its Go SDK.

package main

import (
	"strings"
	"sync/atomic"
	"time"

	restate "github.com/restatedev/sdk-go"
)

func services() []restate.ServiceDefinition {
	return []restate.ServiceDefinition{
		counter(), list(), mapObject(), proxy(), utils(), holder(), waiting(), blocking(), cancelRunner(), singleton(),
		killRunner(), failing(), nondeterministic(), interpreter(), deadlocked(),
	}
}

type none = restate.Void

// --- state ----------------------------------------------------------------------------------------------------------

type update struct {
	OldValue int `json:"oldValue"`
	NewValue int `json:"newValue"`
}

func counter() restate.ServiceDefinition {
	add := func(ctx restate.ObjectContext, value int) (update, error) {
		old, err := restate.Get[int](ctx, "counter")
		if err != nil {
			return update{}, err
		}
		restate.Set(ctx, "counter", old+value)
		return update{old, old + value}, nil
	}
	return restate.NewObject("Counter").
		Handler("add", restate.NewObjectHandler(add)).
		Handler("addThenFail", restate.NewObjectHandler(func(ctx restate.ObjectContext, value int) (none, error) {
			if _, err := add(ctx, value); err != nil {
				return none{}, err
			}
			return none{}, restate.TerminalErrorf("%s", restate.Key(ctx))
		})).
		Handler("get", restate.NewObjectSharedHandler(func(ctx restate.ObjectSharedContext, _ none) (int, error) {
			return restate.Get[int](ctx, "counter")
		})).
		Handler("reset", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) (none, error) {
			restate.Clear(ctx, "counter")
			return none{}, nil
		}))
}

func list() restate.ServiceDefinition {
	get := func(ctx restate.ObjectSharedContext) ([]string, error) {
		values, err := restate.Get[[]string](ctx, "list")
		if err != nil || values == nil {
			return []string{}, err
		}
		return values, nil
	}
	return restate.NewObject("ListObject").
		Handler("append", restate.NewObjectHandler(func(ctx restate.ObjectContext, value string) (none, error) {
			values, err := get(ctx)
			if err != nil {
				return none{}, err
			}
			restate.Set(ctx, "list", append(values, value))
			return none{}, nil
		})).
		Handler("get", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) ([]string, error) { return get(ctx) })).
		Handler("clear", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) ([]string, error) {
			values, err := get(ctx)
			restate.Clear(ctx, "list")
			return values, err
		}))
}

type entry struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func mapObject() restate.ServiceDefinition {
	return restate.NewObject("MapObject").
		Handler("set", restate.NewObjectHandler(func(ctx restate.ObjectContext, it entry) (none, error) {
			restate.Set(ctx, it.Key, it.Value)
			return none{}, nil
		})).
		Handler("get", restate.NewObjectHandler(func(ctx restate.ObjectContext, key string) (string, error) {
			return restate.Get[string](ctx, key)
		})).
		Handler("clearAll", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) ([]entry, error) {
			keys, err := restate.Keys(ctx)
			if err != nil {
				return nil, err
			}
			entries := []entry{}
			for _, key := range keys {
				value, err := restate.Get[string](ctx, key)
				if err != nil {
					return nil, err
				}
				entries = append(entries, entry{key, value})
			}
			restate.ClearAll(ctx)
			return entries, nil
		}))
}

// --- calls ----------------------------------------------------------------------------------------------------------

// A message is a list of numbers, since encoding/json makes base64 of bytes.
type message []int

func messageOf(data []byte) message {
	numbers := make(message, len(data))
	for place, each := range data {
		numbers[place] = int(each)
	}
	return numbers
}

func (m message) bytes() []byte {
	data := make([]byte, len(m))
	for place, each := range m {
		data[place] = byte(each)
	}
	return data
}

type proxyRequest struct {
	ServiceName      string  `json:"serviceName"`
	VirtualObjectKey *string `json:"virtualObjectKey"`
	HandlerName      string  `json:"handlerName"`
	Message          message `json:"message"`
	DelayMillis      int     `json:"delayMillis"`
	IdempotencyKey   string  `json:"idempotencyKey"`
}

func (r proxyRequest) client(ctx restate.Context) restate.Client[any, []byte] {
	if r.VirtualObjectKey != nil {
		return restate.Object[[]byte](ctx, r.ServiceName, *r.VirtualObjectKey, r.HandlerName, restate.WithBinary)
	}
	return restate.Service[[]byte](ctx, r.ServiceName, r.HandlerName, restate.WithBinary)
}

func (r proxyRequest) call(ctx restate.Context) restate.ResponseFuture[[]byte] {
	var options []restate.RequestOption
	if r.IdempotencyKey != "" {
		options = append(options, restate.WithIdempotencyKey(r.IdempotencyKey))
	}
	return r.client(ctx).RequestFuture(r.Message.bytes(), options...)
}

func (r proxyRequest) send(ctx restate.Context) restate.Invocation {
	var options []restate.SendOption
	if r.IdempotencyKey != "" {
		options = append(options, restate.WithIdempotencyKey(r.IdempotencyKey))
	}
	if r.DelayMillis != 0 {
		options = append(options, restate.WithDelay(time.Duration(r.DelayMillis)*time.Millisecond))
	}
	return r.client(ctx).Send(r.Message.bytes(), options...)
}

type manyCallsRequest struct {
	ProxyRequest  proxyRequest `json:"proxyRequest"`
	OneWayCall    bool         `json:"oneWayCall"`
	AwaitAtTheEnd bool         `json:"awaitAtTheEnd"`
}

func proxy() restate.ServiceDefinition {
	return restate.NewService("Proxy").
		Handler("call", restate.NewServiceHandler(func(ctx restate.Context, request proxyRequest) (message, error) {
			output, err := request.call(ctx).Response()
			return messageOf(output), err
		})).
		Handler("oneWayCall", restate.NewServiceHandler(func(ctx restate.Context, request proxyRequest) (string, error) {
			return request.send(ctx).GetInvocationId(), nil
		})).
		Handler("manyCalls", restate.NewServiceHandler(func(ctx restate.Context, requests []manyCallsRequest) (none, error) {
			var waits []restate.Future
			for _, each := range requests {
				if each.OneWayCall {
					each.ProxyRequest.send(ctx)
				} else if call := each.ProxyRequest.call(ctx); each.AwaitAtTheEnd {
					waits = append(waits, call)
				}
			}
			_, err := all(ctx, waits)
			return none{}, err
		}))
}

type signalRequest struct {
	InvocationID string `json:"invocationId"`
	SignalName   string `json:"signalName"`
	Value        string `json:"value"`
	Reason       string `json:"reason"`
}

func utils() restate.ServiceDefinition {
	return restate.NewService("TestUtilsService").
		Handler("echo", restate.NewServiceHandler(func(_ restate.Context, input string) (string, error) { return input, nil })).
		Handler("uppercaseEcho", restate.NewServiceHandler(func(_ restate.Context, input string) (string, error) {
			return strings.ToUpper(input), nil
		})).
		Handler("echoHeaders", restate.NewServiceHandler(func(ctx restate.Context, _ none) (map[string]string, error) {
			headers := map[string]string{}
			for name, value := range ctx.Request().Headers.Iter() {
				headers[name] = value
			}
			return headers, nil
		})).
		Handler("echoIdempotencyKey", restate.NewServiceHandler(func(ctx restate.Context, _ none) (*string, error) {
			if key := ctx.Request().IdempotencyKey; key != "" {
				return &key, nil
			}
			return nil, nil
		})).
		Handler("rawEcho", restate.NewServiceHandler(func(_ restate.Context, input []byte) ([]byte, error) {
			return input, nil
		}, restate.WithBinary)).
		Handler("countExecutedSideEffects", restate.NewServiceHandler(func(ctx restate.Context, increments int) (int, error) {
			var ran atomic.Int64
			for range increments {
				if _, err := restate.Run(ctx, func(restate.RunContext) (int, error) { return int(ran.Add(1)), nil }); err != nil {
					return 0, err
				}
			}
			return int(ran.Load()), nil
		})).
		Handler("cancelInvocation", restate.NewServiceHandler(func(ctx restate.Context, id string) (none, error) {
			restate.CancelInvocation(ctx, id)
			return none{}, nil
		})).
		Handler("resolveSignal", restate.NewServiceHandler(func(ctx restate.Context, it signalRequest) (none, error) {
			restate.ResolveSignal(ctx, it.InvocationID, it.SignalName, it.Value)
			return none{}, nil
		})).
		Handler("rejectSignal", restate.NewServiceHandler(func(ctx restate.Context, it signalRequest) (none, error) {
			restate.RejectSignal(ctx, it.InvocationID, it.SignalName, restate.TerminalErrorf("%s", it.Reason))
			return none{}, nil
		})).
		Handler("sleepConcurrently", restate.NewServiceHandler(func(ctx restate.Context, millis []int) (none, error) {
			var sleeps []restate.Future
			for _, each := range millis {
				sleeps = append(sleeps, restate.After(ctx, time.Duration(each)*time.Millisecond))
			}
			_, err := all(ctx, sleeps)
			return none{}, err
		}))
}

// --- workflows ------------------------------------------------------------------------------------------------------

func waiting() restate.ServiceDefinition {
	return restate.NewWorkflow("BlockAndWaitWorkflow").
		Handler("run", restate.NewWorkflowHandler(func(ctx restate.WorkflowContext, input string) (string, error) {
			restate.Set(ctx, "state", input)
			output, err := restate.Promise[string](ctx, "unblock").Result()
			if err != nil {
				return "", err
			}
			if peeked, err := restate.Promise[string](ctx, "unblock").Peek(); err != nil || peeked == "" {
				return "", restate.TerminalErrorf("it should be resolved: %v", err)
			}
			return output, nil
		})).
		Handler("unblock", restate.NewWorkflowSharedHandler(func(ctx restate.WorkflowSharedContext, output string) (none, error) {
			return none{}, restate.Promise[string](ctx, "unblock").Resolve(output)
		})).
		Handler("getState", restate.NewWorkflowSharedHandler(func(ctx restate.WorkflowSharedContext, _ none) (string, error) {
			return restate.Get[string](ctx, "state")
		}))
}
