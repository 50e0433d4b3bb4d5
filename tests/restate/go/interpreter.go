// The service of the conformance suite that awaits what commands say.

package main

import (
	"strings"
	"time"

	restate "github.com/restatedev/sdk-go"
)

type command struct {
	Type          string    `json:"type"`
	Command       *command  `json:"command"`
	Commands      []command `json:"commands"`
	AwakeableKey  string    `json:"awakeableKey"`
	SignalName    string    `json:"signalName"`
	TimeoutMillis int       `json:"timeoutMillis"`
	Value         string    `json:"value"`
	Reason        string    `json:"reason"`
}

// begun begins an operation that can be awaited.
func (c command) begun(ctx restate.ObjectContext) restate.Future {
	switch c.Type {
	case "createAwakeable":
		return newAwakeable(ctx, c.AwakeableKey)
	case "sleep":
		return restate.After(ctx, time.Duration(c.TimeoutMillis)*time.Millisecond)
	case "createSignal":
		return restate.Signal[string](ctx, c.SignalName)
	case "runReturns":
		return restate.RunAsync(ctx, func(restate.RunContext) (string, error) { return c.Value, nil }, restate.WithName("give"))
	default:
		return restate.RunAsync(ctx, func(restate.RunContext) (string, error) {
			return "", restate.TerminalErrorf("%s", c.Reason)
		}, restate.WithName("fail"))
	}
}

func newAwakeable(ctx restate.ObjectContext, key string) restate.AwakeableFuture[string] {
	awakeable := restate.Awakeable[string](ctx)
	restate.Set(ctx, "awk-"+key, awakeable.Id())
	return awakeable
}

func begun(ctx restate.ObjectContext, commands []command) []restate.Future {
	var futures []restate.Future
	for _, each := range commands {
		futures = append(futures, each.begun(ctx))
	}
	return futures
}

// result waits for what an operation gives.
func result(future restate.Future) (string, error) {
	switch future := future.(type) {
	case restate.AfterFuture:
		return "sleep", future.Done()
	case restate.ResponseFuture[[]byte]:
		output, err := future.Response()
		return string(output), err
	case interface {
		Result() (string, restate.TerminalError)
	}:
		return future.Result()
	default:
		return "", restate.TerminalErrorf("no operation: %T", future)
	}
}

// all waits until all operations have succeeded, or one has failed.
func all(ctx restate.Context, futures []restate.Future) ([]string, error) {
	for future, err := range restate.Wait(ctx, futures...) {
		if err != nil {
			return nil, err
		}
		if _, err := result(future); err != nil {
			return nil, err
		}
	}
	var outputs []string
	for _, each := range futures {
		output, err := result(each)
		if err != nil {
			return nil, err
		}
		outputs = append(outputs, output)
	}
	return outputs, nil
}

func allCompleted(ctx restate.Context, futures []restate.Future) ([]string, error) {
	for _, err := range restate.Wait(ctx, futures...) {
		if err != nil {
			return nil, err
		}
	}
	var outcomes []string
	for _, each := range futures {
		if output, err := result(each); err != nil {
			outcomes = append(outcomes, "err:"+restate.AsTerminalError(err).Message())
		} else {
			outcomes = append(outcomes, "ok:"+output)
		}
	}
	return outcomes, nil
}

func firstSucceeded(ctx restate.Context, futures []restate.Future) (string, error) {
	var last error
	for future, err := range restate.Wait(ctx, futures...) {
		if err != nil {
			return "", err
		}
		output, err := result(future)
		if err == nil {
			return output, nil
		}
		last = err
	}
	return "", last
}

func held(ctx restate.ObjectSharedContext, key string) (string, error) {
	id, err := restate.Get[string](ctx, "awk-"+key)
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", restate.TerminalErrorf("no awakeable is registered")
	}
	return id, nil
}

func resolveHeld(ctx restate.ObjectSharedContext, it command) (none, error) {
	id, err := held(ctx, it.AwakeableKey)
	if err != nil {
		return none{}, err
	}
	restate.ResolveAwakeable(ctx, id, it.Value)
	return none{}, nil
}

func rejectHeld(ctx restate.ObjectSharedContext, it command) (none, error) {
	id, err := held(ctx, it.AwakeableKey)
	if err != nil {
		return none{}, err
	}
	restate.RejectAwakeable(ctx, id, restate.TerminalErrorf("%s", it.Reason))
	return none{}, nil
}

func interpreted(ctx restate.ObjectContext, it command) (string, error) {
	switch it.Type {
	case "awaitOne":
		return result(it.Command.begun(ctx))
	case "awaitAny", "awaitFirstCompleted":
		first, err := restate.WaitFirst(ctx, begun(ctx, it.Commands)...)
		if err != nil {
			return "", err
		}
		return result(first)
	case "awaitAnySuccessful", "awaitFirstSucceededOrAllFailed":
		return firstSucceeded(ctx, begun(ctx, it.Commands))
	case "awaitAllSucceededOrFirstFailed":
		outputs, err := all(ctx, begun(ctx, it.Commands))
		return strings.Join(outputs, "|"), err
	case "awaitAllCompleted":
		outcomes, err := allCompleted(ctx, begun(ctx, it.Commands))
		return strings.Join(outcomes, "|"), err
	case "awaitAwakeableOrTimeout":
		awakeable := newAwakeable(ctx, it.AwakeableKey)
		limit := restate.After(ctx, time.Duration(it.TimeoutMillis)*time.Millisecond)
		first, err := restate.WaitFirst(ctx, awakeable, limit)
		if err != nil {
			return "", err
		}
		if first == limit {
			return "", restate.TerminalErrorf("await-timeout")
		}
		return result(first)
	case "resolveAwakeable":
		_, err := resolveHeld(ctx, it)
		return "", err
	case "rejectAwakeable":
		_, err := rejectHeld(ctx, it)
		return "", err
	default:
		return "", restate.TerminalErrorf("no command %s", it.Type)
	}
}

func results(ctx restate.ObjectSharedContext, _ none) ([]string, error) {
	kept, err := restate.Get[[]string](ctx, "results")
	if err != nil || kept == nil {
		return []string{}, err
	}
	return kept, nil
}

func interpreter() restate.ServiceDefinition {
	type request struct {
		Commands []command `json:"commands"`
	}
	return restate.NewObject("VirtualObjectCommandInterpreter").
		Handler("interpretCommands", restate.NewObjectHandler(func(ctx restate.ObjectContext, it request) (string, error) {
			output := ""
			for _, each := range it.Commands {
				var err error
				if output, err = interpreted(ctx, each); err != nil {
					return "", err
				}
				kept, err := results(ctx, none{})
				if err != nil {
					return "", err
				}
				restate.Set(ctx, "results", append(kept, output))
			}
			return output, nil
		})).
		Handler("resolveAwakeable", restate.NewObjectSharedHandler(resolveHeld)).
		Handler("rejectAwakeable", restate.NewObjectSharedHandler(rejectHeld)).
		Handler("hasAwakeable", restate.NewObjectSharedHandler(func(ctx restate.ObjectSharedContext, key string) (bool, error) {
			id, err := restate.Get[string](ctx, "awk-"+key)
			return id != "", err
		})).
		Handler("getResults", restate.NewObjectSharedHandler(results))
}
