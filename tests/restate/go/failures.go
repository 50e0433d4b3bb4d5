// Services of the conformance suite that fail, are cancelled or killed, or wait for each other.

package main

import (
	"fmt"
	"sync"
	"time"

	restate "github.com/restatedev/sdk-go"
)

// Counts how often something was tried in this process.
type tries struct {
	sync.Mutex
	of map[string]int
}

func (t *tries) add(name string) int {
	t.Lock()
	defer t.Unlock()
	t.of[name]++
	return t.of[name]
}

func (t *tries) get(name string) int {
	t.Lock()
	defer t.Unlock()
	return t.of[name]
}

func (t *tries) reset(name string) {
	t.Lock()
	defer t.Unlock()
	delete(t.of, name)
}

var tried = tries{of: map[string]int{}}

type failure struct {
	ErrorMessage string            `json:"errorMessage"`
	Metadata     map[string]string `json:"metadata,omitempty"`
}

func (f failure) terminal() error {
	return restate.ToTerminalError(fmt.Errorf("%s", f.ErrorMessage), restate.WithMetadataMap(f.Metadata))
}

func failing() restate.ServiceDefinition {
	return restate.NewObject("Failing").
		Handler("terminallyFailingCall", restate.NewObjectHandler(func(_ restate.ObjectContext, it failure) (none, error) {
			return none{}, it.terminal()
		})).
		Handler("callTerminallyFailingCall", restate.NewObjectHandler(func(ctx restate.ObjectContext, it failure) (none, error) {
			_, err := restate.Object[none](ctx, "Failing", restate.UUID(ctx).String(), "terminallyFailingCall").Request(it)
			if err == nil {
				return none{}, fmt.Errorf("the call should have failed")
			}
			return none{}, err
		})).
		Handler("failingCallWithEventualSuccess", restate.NewObjectHandler(func(restate.ObjectContext, none) (int, error) {
			count := tried.add("handler")
			if count < 4 {
				return 0, fmt.Errorf("failure %d", count)
			}
			tried.reset("handler")
			return count, nil
		})).
		Handler("terminallyFailingSideEffect", restate.NewObjectHandler(func(ctx restate.ObjectContext, it failure) (none, error) {
			err := restate.RunVoid(ctx, func(restate.RunContext) error { return it.terminal() }, restate.WithName("effect"))
			if err == nil {
				return none{}, fmt.Errorf("the step should have failed")
			}
			return none{}, err
		})).
		Handler("sideEffectSucceedsAfterGivenAttempts", restate.NewObjectHandler(func(ctx restate.ObjectContext, minimum uint) (int, error) {
			key := restate.Key(ctx)
			return restate.Run(ctx, func(restate.RunContext) (int, error) {
				count := tried.add(key)
				if count < int(minimum) {
					return 0, fmt.Errorf("failure %d", count)
				}
				return count, nil
			}, attempts(minimum+1)...)
		})).
		Handler("sideEffectFailsAfterGivenAttempts", restate.NewObjectHandler(func(ctx restate.ObjectContext, maximum uint) (int, error) {
			key := restate.Key(ctx)
			err := restate.RunVoid(ctx, func(restate.RunContext) error { return fmt.Errorf("failure %d", tried.add(key)) }, attempts(maximum)...)
			if err == nil {
				return 0, fmt.Errorf("the step should have failed")
			}
			return tried.get(key), nil
		}))
}

func attempts(maximum uint) []restate.RunOption {
	return []restate.RunOption{
		restate.WithName("effect"),
		restate.WithInitialRetryInterval(time.Millisecond),
		restate.WithRetryIntervalFactor(1),
		restate.WithMaxRetryAttempts(maximum),
	}
}

func nondeterministic() restate.ServiceDefinition {
	finish := func(ctx restate.ObjectContext) (none, error) {
		if err := restate.Sleep(ctx, 100*time.Millisecond); err != nil {
			return none{}, err
		}
		restate.ObjectSend(ctx, "Counter", restate.Key(ctx), "add").Send(1)
		return none{}, nil
	}
	return restate.NewObject("NonDeterministic").
		Handler("setDifferentKey", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) (none, error) {
			name := "a"
			if tried.add(restate.Key(ctx)+"/set") > 1 {
				name = "b"
			}
			restate.Set(ctx, name, "value")
			return finish(ctx)
		})).
		Handler("callDifferentMethod", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) (none, error) {
			method := "reset"
			if tried.add(restate.Key(ctx)+"/call") > 1 {
				method = "get"
			}
			if _, err := restate.Object[none](ctx, "Counter", "abc", method).Request(none{}); err != nil {
				return none{}, err
			}
			return finish(ctx)
		}))
}

// --- cancel, kill, deadlocks ----------------------------------------------------------------------------------------

func holder() restate.ServiceDefinition {
	return restate.NewObject("AwakeableHolder").
		Handler("hold", restate.NewObjectHandler(func(ctx restate.ObjectContext, id string) (none, error) {
			restate.Set(ctx, "id", id)
			return none{}, nil
		})).
		Handler("hasAwakeable", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) (bool, error) {
			id, err := restate.Get[string](ctx, "id")
			return id != "", err
		})).
		Handler("unlock", restate.NewObjectHandler(func(ctx restate.ObjectContext, payload string) (none, error) {
			id, err := restate.Get[string](ctx, "id")
			if err != nil {
				return none{}, err
			}
			if id == "" {
				return none{}, restate.TerminalErrorf("no awakeable is registered")
			}
			restate.ResolveAwakeable(ctx, id, payload)
			restate.Clear(ctx, "id")
			return none{}, nil
		}))
}

func unlocked(_ restate.ObjectContext, _ none) (none, error) { return none{}, nil }

// hold waits for an awakeable whose id the AwakeableHolder of this key keeps.
func hold(ctx restate.ObjectContext) error {
	awakeable := restate.Awakeable[string](ctx)
	if _, err := restate.Object[none](ctx, "AwakeableHolder", restate.Key(ctx), "hold").Request(awakeable.Id()); err != nil {
		return err
	}
	_, err := awakeable.Result()
	if err != nil {
		return err
	}
	return nil
}

func blocking() restate.ServiceDefinition {
	const name = "CancelTestBlockingService"
	return restate.NewObject(name).
		Handler("block", restate.NewObjectHandler(func(ctx restate.ObjectContext, operation string) (none, error) {
			if err := hold(ctx); err != nil {
				return none{}, err
			}
			switch operation {
			case "CALL":
				_, err := restate.Object[none](ctx, name, restate.Key(ctx)+"-inner", "block").Request(operation)
				return none{}, err
			case "SLEEP":
				return none{}, restate.Sleep(ctx, 1024*24*time.Hour)
			default:
				_, err := restate.Awakeable[string](ctx).Result()
				return none{}, err
			}
		})).
		Handler("isUnlocked", restate.NewObjectHandler(unlocked))
}

func cancelRunner() restate.ServiceDefinition {
	return restate.NewObject("CancelTestRunner").
		Handler("startTest", restate.NewObjectHandler(func(ctx restate.ObjectContext, operation string) (none, error) {
			_, err := restate.Object[none](ctx, "CancelTestBlockingService", restate.Key(ctx), "block").Request(operation)
			if err == nil || err.Code() != 409 {
				return none{}, err
			}
			restate.Set(ctx, "state", true)
			return none{}, nil
		})).
		Handler("verifyTest", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) (bool, error) {
			return restate.Get[bool](ctx, "state")
		}))
}

func singleton() restate.ServiceDefinition {
	const name = "KillTestSingleton"
	return restate.NewObject(name).
		Handler("recursiveCall", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) (none, error) {
			awakeable := restate.Awakeable[string](ctx)
			restate.ObjectSend(ctx, "AwakeableHolder", restate.Key(ctx), "hold").Send(awakeable.Id())
			if _, err := awakeable.Result(); err != nil {
				return none{}, err
			}
			_, err := restate.Object[none](ctx, name, restate.Key(ctx), "recursiveCall").Request(none{})
			return none{}, err
		})).
		Handler("isUnlocked", restate.NewObjectHandler(unlocked))
}

func killRunner() restate.ServiceDefinition {
	return restate.NewObject("KillTestRunner").
		Handler("startCallTree", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) (none, error) {
			_, err := restate.Object[none](ctx, "KillTestSingleton", restate.Key(ctx), "recursiveCall").Request(none{})
			return none{}, err
		}))
}

func deadlocked() restate.ServiceDefinition {
	return restate.NewObject("Deadlocked").
		Handler("lock", restate.NewObjectHandler(func(ctx restate.ObjectContext, other string) (string, error) {
			if err := restate.Sleep(ctx, 50*time.Millisecond); err != nil {
				return "", err
			}
			return restate.Object[string](ctx, "Deadlocked", other, "lock").Request(restate.Key(ctx))
		}))
}
