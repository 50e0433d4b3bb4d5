// Handlers that have the SDK send each message of the protocol.

package main

import (
	"errors"
	"fmt"
	"time"

	restate "github.com/restatedev/sdk-go"
)

// outcome returns what an operation gives, or the message with which it fails.
func outcome[T any](value T, err restate.TerminalError) string {
	if err != nil {
		return err.Message()
	}
	return fmt.Sprint(value)
}

// seen returns the outcomes of operations.
func seen(outcomes ...string) ([]string, error) { return outcomes, nil }

func keyed(name string, options ...restate.ServiceDefinitionOption) restate.ServiceDefinition {
	return restate.NewObject(name, options...).
		Handler("state", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) ([]string, error) {
			before := outcome(restate.Get[int](ctx, "a"))
			restate.Set(ctx, "a", 1)
			restate.Set(ctx, "b", "")
			set, names := outcome(restate.Get[int](ctx, "a")), outcome(restate.Keys(ctx))
			restate.Clear(ctx, "a")
			cleared := outcome(restate.Get[int](ctx, "a"))
			restate.ClearAll(ctx)
			return seen(before, set, names, cleared, outcome(restate.Keys(ctx)))
		})).
		Handler("keep", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) (none, error) {
			restate.Set(ctx, "kept", "value")
			return none{}, nil
		})).
		Handler("read", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) ([]string, error) {
			return seen(outcome(restate.Get[string](ctx, "kept")), outcome(restate.Keys(ctx)), outcome(restate.Get[string](ctx, "none")))
		}))
}

func calls(ctx restate.Context, _ none) ([]string, error) {
	headers, key := restate.WithHeaders(map[string]string{"x-tenant": "Mary"}), restate.UUID(ctx).String()
	called := outcome(restate.Service[string](ctx, "Tour", "echo").Request("called", headers, restate.WithIdempotencyKey(key)))
	read := outcome(restate.Object[[]string](ctx, "Eager", "k", "read").Request(none{}))
	failed := outcome(restate.Service[none](ctx, "Tour", "failOld").Request("no"))
	sent := restate.ServiceSend(ctx, "Tour", "echo").
		Send("sent", headers, restate.WithIdempotencyKey(key+"-sent"), restate.WithDelay(time.Millisecond))
	restate.ObjectSend(ctx, "Eager", "k", "keep").Send(none{})
	return seen(called, read, failed, outcome(restate.AttachInvocation[string](ctx, sent.GetInvocationId()).Response()))
}

func steps(ctx restate.Context, _ none) ([]string, error) {
	gives := restate.RunAsync(ctx, func(restate.RunContext) (string, error) { return "given", nil }, restate.WithName("gives"))
	fails := restate.RunAsync(ctx, func(restate.RunContext) (string, error) {
		return "", restate.ToTerminalError(errors.New("no"), restate.WithErrorCode(419))
	}, restate.WithName("fails"))
	both, err := allCompleted(ctx, []restate.Future{gives, fails})
	if err != nil {
		return nil, err
	}
	if err := restate.RunVoid(ctx, func(restate.RunContext) error { return nil }, restate.WithName("nothing")); err != nil {
		return nil, err
	}
	if err := restate.Sleep(ctx, time.Millisecond, restate.WithName("nap")); err != nil {
		return nil, err
	}
	long := restate.After(ctx, time.Minute)
	ran := restate.RunAsync(ctx, func(restate.RunContext) (string, error) { return "ran", nil })
	first, failure := restate.WaitFirst(ctx, long, ran)
	if failure != nil {
		return nil, failure
	}
	output, err := result(first)
	return append(both, output), err
}

func retries(ctx restate.Context, _ none) (string, error) {
	if _, err := restate.Run(ctx, func(restate.RunContext) (int, error) { return 1, nil }, restate.WithName("progress")); err != nil {
		return "", err
	}
	if count := tried.add("retries"); count%3 != 0 {
		return "", fmt.Errorf("again")
	}
	limited := []restate.RunOption{restate.WithName("later"), restate.WithInitialRetryInterval(time.Millisecond)}
	return restate.Run(ctx, func(restate.RunContext) (string, error) {
		if tried.add("later")%2 != 0 {
			return "", restate.RetryableErrorf("later")
		}
		return "done", nil
	}, limited...)
}

func tourAwakeables(ctx restate.Context, _ none) ([]string, error) {
	one, two := restate.Awakeable[string](ctx), restate.Awakeable[string](ctx)
	restate.ServiceSend(ctx, "Tour", "complete").Send([]string{one.Id(), two.Id()})
	return seen(outcome(one.Result()), outcome(two.Result()))
}

func complete(ctx restate.Context, ids []string) (none, error) {
	restate.ResolveAwakeable(ctx, ids[0], "resolved")
	restate.RejectAwakeable(ctx, ids[1], restate.TerminalErrorf("rejected"))
	return none{}, nil
}

func signals(ctx restate.Context, _ none) ([]string, error) {
	restate.ServiceSend(ctx, "Tour", "signal").Send(ctx.Request().ID)
	return allCompleted(ctx, []restate.Future{restate.Signal[string](ctx, "one"), restate.Signal[string](ctx, "two")})
}

func signal(ctx restate.Context, id string) (none, error) {
	restate.ResolveSignal(ctx, id, "one", "resolved")
	restate.RejectSignal(ctx, id, "two", restate.TerminalErrorf("rejected"))
	return none{}, nil
}

func cancels(ctx restate.Context, _ none) (string, error) {
	id := restate.ServiceSend(ctx, "Tour", "forever").Send(none{}).GetInvocationId()
	restate.CancelInvocation(ctx, id)
	return outcome(restate.AttachInvocation[none](ctx, id).Response()), nil
}

func tour() []restate.ServiceDefinition {
	service := restate.NewService("Tour").
		Handler("echo", restate.NewServiceHandler(func(_ restate.Context, it string) (string, error) { return it, nil })).
		Handler("fail", restate.NewServiceHandler(func(_ restate.Context, it string) (none, error) {
			return none{}, restate.ToTerminalError(errors.New(it), restate.WithErrorCode(418), restate.WithMetadata("key", "value"))
		})).
		Handler("failOld", restate.NewServiceHandler(func(_ restate.Context, it string) (none, error) {
			return none{}, restate.TerminalErrorf("%s", it)
		})).
		Handler("calls", restate.NewServiceHandler(calls)).
		Handler("steps", restate.NewServiceHandler(steps)).
		Handler("retries", restate.NewServiceHandler(retries)).
		Handler("awakeables", restate.NewServiceHandler(tourAwakeables)).
		Handler("complete", restate.NewServiceHandler(complete)).
		Handler("signals", restate.NewServiceHandler(signals)).
		Handler("signal", restate.NewServiceHandler(signal)).
		Handler("cancels", restate.NewServiceHandler(cancels)).
		Handler("forever", restate.NewServiceHandler(func(ctx restate.Context, _ none) (none, error) {
			return none{}, restate.Sleep(ctx, 24*time.Hour)
		}))
	flow := restate.NewWorkflow("Flow").
		Handler("run", restate.NewWorkflowHandler(func(ctx restate.WorkflowContext, _ none) ([]string, error) {
			yes, no := restate.Promise[string](ctx, "yes"), restate.Promise[string](ctx, "no")
			return seen(outcome(yes.Peek()), outcome(yes.Result()), outcome(no.Result()), outcome(yes.Peek()))
		})).
		Handler("decide", restate.NewWorkflowSharedHandler(func(ctx restate.WorkflowSharedContext, _ none) (string, error) {
			yes, no := restate.Promise[string](ctx, "yes"), restate.Promise[string](ctx, "no")
			if err := yes.Resolve("resolved"); err != nil {
				return "", err
			}
			if err := no.Reject(restate.TerminalErrorf("rejected")); err != nil {
				return "", err
			}
			return outcome(none{}, no.Resolve("too late")), nil
		}))
	return []restate.ServiceDefinition{keyed("Eager"), keyed("Lazy", restate.WithEnableLazyState(true)), service, flow}
}
