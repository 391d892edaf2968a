package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	authv1 "weir.dev/weir/gen/go/weir/auth/v1"
	errorv1 "weir.dev/weir/gen/go/weir/error/v1"
	quotav1 "weir.dev/weir/gen/go/weir/quota/v1"
	routerv1 "weir.dev/weir/gen/go/weir/router/v1"
)

// grpcGateway calls by the stubs of grpc-go, over HTTP/2 without TLS.
type grpcGateway struct {
	key       string
	keys      authv1.KeyServiceClient
	limits    quotav1.LimitServiceClient
	inference routerv1.InferenceServiceClient
}

func openGRPC(url, key string) (gateway, error) {
	target, ok := strings.CutPrefix(url, "http://")
	if !ok {
		return nil, errors.New("grpc: only http:// addresses")
	}
	// The connection ends with the process.
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return grpcGateway{
		key:       key,
		keys:      authv1.NewKeyServiceClient(connection),
		limits:    quotav1.NewLimitServiceClient(connection),
		inference: routerv1.NewInferenceServiceClient(connection),
	}, nil
}

func (g grpcGateway) createKey(
	ctx context.Context,
	request *authv1.CreateKeyRequest,
) (*authv1.CreateKeyResponse, error) {
	return g.keys.CreateKey(g.outgoing(ctx), request)
}

func (g grpcGateway) revokeKey(ctx context.Context, request *authv1.RevokeKeyRequest) error {
	_, err := g.keys.RevokeKey(g.outgoing(ctx), request)
	return err
}

func (g grpcGateway) createLimit(
	ctx context.Context,
	request *quotav1.CreateLimitRequest,
) (*quotav1.CreateLimitResponse, error) {
	return g.limits.CreateLimit(g.outgoing(ctx), request)
}

func (g grpcGateway) deleteLimit(ctx context.Context, request *quotav1.DeleteLimitRequest) error {
	_, err := g.limits.DeleteLimit(g.outgoing(ctx), request)
	return err
}

func (g grpcGateway) limitStatus(
	ctx context.Context,
	request *quotav1.GetLimitStatusRequest,
) (*quotav1.GetLimitStatusResponse, error) {
	return g.limits.GetLimitStatus(g.outgoing(ctx), request)
}

func (g grpcGateway) generate(
	ctx context.Context,
	request *routerv1.GenerateRequest,
	visit func(*routerv1.GenerateResponse),
) error {
	stream, err := g.inference.Generate(g.outgoing(ctx), request)
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		visit(response)
	}
}

func (grpcGateway) reason(err error) errorv1.ErrorReason {
	for _, detail := range status.Convert(err).Details() {
		if found, ok := detail.(*errorv1.ErrorDetail); ok {
			return found.Reason
		}
	}
	return errorv1.ErrorReason_ERROR_REASON_UNSPECIFIED
}

func (g grpcGateway) outgoing(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+g.key)
}
