package main

import (
	"context"

	"connectrpc.com/connect"

	weir "weir.dev/weir/clients/go"
	authv1 "weir.dev/weir/gen/go/weir/auth/v1"
	errorv1 "weir.dev/weir/gen/go/weir/error/v1"
	quotav1 "weir.dev/weir/gen/go/weir/quota/v1"
	routerv1 "weir.dev/weir/gen/go/weir/router/v1"
)

// connectGateway calls by our own client.
type connectGateway struct{ client *weir.Client }

func openConnect(url, key string, grpc bool) (gateway, error) {
	var options []weir.Option
	if grpc {
		options = append(options, weir.WithGRPC())
	}
	client, err := weir.New(url, key, options...)
	return connectGateway{client}, err
}

func (g connectGateway) createKey(
	ctx context.Context,
	request *authv1.CreateKeyRequest,
) (*authv1.CreateKeyResponse, error) {
	response, err := g.client.Keys.CreateKey(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

func (g connectGateway) revokeKey(ctx context.Context, request *authv1.RevokeKeyRequest) error {
	_, err := g.client.Keys.RevokeKey(ctx, connect.NewRequest(request))
	return err
}

func (g connectGateway) createLimit(
	ctx context.Context,
	request *quotav1.CreateLimitRequest,
) (*quotav1.CreateLimitResponse, error) {
	response, err := g.client.Limits.CreateLimit(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

func (g connectGateway) deleteLimit(ctx context.Context, request *quotav1.DeleteLimitRequest) error {
	_, err := g.client.Limits.DeleteLimit(ctx, connect.NewRequest(request))
	return err
}

func (g connectGateway) limitStatus(
	ctx context.Context,
	request *quotav1.GetLimitStatusRequest,
) (*quotav1.GetLimitStatusResponse, error) {
	response, err := g.client.Limits.GetLimitStatus(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

func (g connectGateway) generate(
	ctx context.Context,
	request *routerv1.GenerateRequest,
	visit func(*routerv1.GenerateResponse),
) error {
	stream, err := g.client.Inference.Generate(ctx, connect.NewRequest(request))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		visit(stream.Msg())
	}
	return stream.Err()
}

func (connectGateway) reason(err error) errorv1.ErrorReason {
	return weir.Detail(err).GetReason()
}
