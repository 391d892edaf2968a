// Package weir is a typed client of a Weir gateway: keys, tenants, inference, limits and usage, over Connect or gRPC.
package weir

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"connectrpc.com/connect"

	"weir.dev/weir/gen/go/weir/auth/v1/authv1connect"
	errorv1 "weir.dev/weir/gen/go/weir/error/v1"
	"weir.dev/weir/gen/go/weir/quota/v1/quotav1connect"
	"weir.dev/weir/gen/go/weir/router/v1/routerv1connect"
	"weir.dev/weir/gen/go/weir/usage/v1/usagev1connect"
)

// Client holds one typed client for each service. It is safe for concurrent use.
type Client struct {
	// Keys makes, lists and revokes keys.
	Keys authv1connect.KeyServiceClient
	// Tenants makes and lists organisations and projects.
	Tenants authv1connect.TenantServiceClient
	// Inference runs models.
	Inference routerv1connect.InferenceServiceClient
	// Limits sets limits and tells how full they are.
	Limits quotav1connect.LimitServiceClient
	// Usage lists and sums up what was used.
	Usage usagev1connect.UsageServiceClient
}

// Option changes how a Client calls.
type Option func(*settings)

type settings struct {
	grpc bool
	http connect.HTTPClient
}

// WithGRPC speaks the gRPC protocol instead of Connect's. It needs HTTP/2 all the way to the gateway.
func WithGRPC() Option {
	return func(s *settings) { s.grpc = true }
}

// WithHTTPClient sends the calls by a client of yours: for a proxy, a private CA or timeouts. With WithGRPC and an
// http:// address it must speak HTTP/2 without TLS.
func WithHTTPClient(client connect.HTTPClient) Option {
	return func(s *settings) { s.http = client }
}

// New returns a client of the gateway at baseURL ("http://127.0.0.1:8080") that presents key with every call. It opens
// no connection yet. Connect runs over HTTP/1.1 or HTTP/2, gRPC over HTTP/2 only, with TLS for https:// addresses.
func New(baseURL, key string, options ...Option) (*Client, error) {
	address, err := url.Parse(baseURL)
	if err != nil {
		return nil, err
	}
	if (address.Scheme != "http" && address.Scheme != "https") || address.Host == "" {
		return nil, errors.New("weir: the base URL must look like http://host:port or https://host")
	}
	if key == "" {
		return nil, errors.New("weir: the key is empty")
	}
	var chosen settings
	for _, option := range options {
		option(&chosen)
	}
	if chosen.http == nil {
		chosen.http = httpClient(address.Scheme == "http" && chosen.grpc)
	}
	call := []connect.ClientOption{connect.WithInterceptors(credential(key))}
	if chosen.grpc {
		call = append(call, connect.WithGRPC())
	}
	return &Client{
		Keys:      authv1connect.NewKeyServiceClient(chosen.http, baseURL, call...),
		Tenants:   authv1connect.NewTenantServiceClient(chosen.http, baseURL, call...),
		Inference: routerv1connect.NewInferenceServiceClient(chosen.http, baseURL, call...),
		Limits:    quotav1connect.NewLimitServiceClient(chosen.http, baseURL, call...),
		Usage:     usagev1connect.NewUsageServiceClient(chosen.http, baseURL, call...),
	}, nil
}

// Detail returns what the gateway says about a failed call: the reason to decide by, and whether to try again. It is
// nil for an error that the gateway did not make, such as a refused connection.
func Detail(err error) *errorv1.ErrorDetail {
	var failed *connect.Error
	if !errors.As(err, &failed) {
		return nil
	}
	for _, detail := range failed.Details() {
		if value, err := detail.Value(); err == nil {
			if found, ok := value.(*errorv1.ErrorDetail); ok {
				return found
			}
		}
	}
	return nil
}

// httpClient has no timeout of its own: a generation may stream for an hour, and a context bounds each call.
func httpClient(cleartextHTTP2 bool) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if cleartextHTTP2 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	return &http.Client{Transport: transport}
}

// credential presents a key with every call.
type credential string

func (c credential) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		c.set(request.Header())
		return next(ctx, request)
	}
}

func (c credential) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		stream := next(ctx, spec)
		c.set(stream.RequestHeader())
		return stream
	}
}

func (credential) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (c credential) set(header http.Header) {
	header.Set("Authorization", "Bearer "+string(c))
}
