// Passes what it is given on to other services by name, whatever language they are written in.

package main

import (
	"fmt"

	restate "github.com/restatedev/sdk-go"
)

type hop struct {
	Service string  `json:"service"`
	Key     *string `json:"key,omitempty"`
}

func (h hop) client(ctx restate.Context, method string) restate.Client[any, []string] {
	if h.Key != nil {
		return restate.Object[[]string](ctx, h.Service, *h.Key, method)
	}
	return restate.Service[[]string](ctx, h.Service, method)
}

// callNext calls the rest of a route, and returns the places that it led through, after this one.
func callNext(ctx restate.Context, here string, route []hop) ([]string, error) {
	if len(route) == 0 {
		return []string{here}, nil
	}
	places, err := route[0].client(ctx, "call").Request(route[1:])
	return append([]string{here}, places...), err
}

func sendNext(ctx restate.Context, route []hop) (none, error) {
	if len(route) > 0 {
		route[0].client(ctx, "send").Send(route[1:])
	}
	return none{}, nil
}

func visited(ctx restate.ObjectContext) (string, error) {
	visits, err := restate.Get[int](ctx, "visits")
	if err != nil {
		return "", err
	}
	restate.Set(ctx, "visits", visits+1)
	return fmt.Sprintf("FirstPlace/%s %d", restate.Key(ctx), visits+1), nil
}

func relay() []restate.ServiceDefinition {
	return []restate.ServiceDefinition{
		restate.NewService("FirstRelay").
			Handler("call", restate.NewServiceHandler(func(ctx restate.Context, route []hop) ([]string, error) {
				return callNext(ctx, "FirstRelay", route)
			})).
			Handler("send", restate.NewServiceHandler(func(ctx restate.Context, route []hop) (none, error) {
				return sendNext(ctx, route)
			})),
		restate.NewObject("FirstPlace").
			Handler("call", restate.NewObjectHandler(func(ctx restate.ObjectContext, route []hop) ([]string, error) {
				here, err := visited(ctx)
				if err != nil {
					return nil, err
				}
				return callNext(ctx, here, route)
			})).
			Handler("send", restate.NewObjectHandler(func(ctx restate.ObjectContext, route []hop) (none, error) {
				if _, err := visited(ctx); err != nil {
					return none{}, err
				}
				return sendNext(ctx, route)
			})).
			Handler("visits", restate.NewObjectSharedHandler(func(ctx restate.ObjectSharedContext, _ none) (int, error) {
				return restate.Get[int](ctx, "visits")
			})),
	}
}
