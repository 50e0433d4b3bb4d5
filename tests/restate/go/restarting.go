// An endpoint whose first life hangs in a step, and whose second life offers another service. `LIFE` says which it is.

package main

import (
	"fmt"
	"os"
	"time"

	restate "github.com/restatedev/sdk-go"
)

var firstLife = os.Getenv("LIFE") == "first"

func step(ctx restate.Context, how, name string, hangs bool) (string, error) {
	output, err := restate.Run(ctx, func(restate.RunContext) (string, error) {
		file, err := os.OpenFile(os.Getenv("STEPS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return "", err
		}
		defer file.Close()
		if _, err := fmt.Fprintln(file, how, name); err != nil {
			return "", err
		}
		if hangs {
			select {}
		}
		return name, nil
	}, restate.WithName(name))
	return output, err
}

func work(ctx restate.Context, how string) ([]string, error) {
	one, err := step(ctx, how, "one", false)
	if err != nil {
		return nil, err
	}
	done := []string{one}
	if how == "waits" {
		went, err := restate.Signal[string](ctx, "go").Result()
		if err != nil {
			return nil, err
		}
		done = append(done, went)
	}
	if how == "sleeps" {
		if err := restate.Sleep(ctx, 2*time.Second); err != nil {
			return nil, err
		}
	}
	two, err := step(ctx, how, "two", firstLife && how == "works")
	if err != nil {
		return nil, err
	}
	three, err := step(ctx, how, "three", false)
	return append(done, two, three), err
}

func restarting() []restate.ServiceDefinition {
	retries := restate.WithInvocationRetryPolicy(
		restate.WithMaxRetryInterval(200*time.Millisecond), restate.WithMaxRetryAttempts(1_000_000),
	)
	services := []restate.ServiceDefinition{
		restate.NewService("Working", retries).Handler("work", restate.NewServiceHandler(work)),
		restate.NewObject("Counter").
			Handler("add", restate.NewObjectHandler(func(ctx restate.ObjectContext, _ none) (int, error) {
				count, err := restate.Get[int](ctx, "count")
				if err != nil {
					return 0, err
				}
				restate.Set(ctx, "count", count+1)
				return count + 1, nil
			})),
	}
	if !firstLife {
		services = append(services, restate.NewService("Added").
			Handler("echo", restate.NewServiceHandler(func(_ restate.Context, it string) (string, error) { return it, nil })))
	}
	return services
}
