// Command go checks a running gateway from Go: it makes a key and a limit on it, streams a generation with the key, meets
// refusals, revokes the key, and exits with 1 at the first surprise. It prints the generated text.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	authv1 "weir.dev/weir/gen/go/weir/auth/v1"
	errorv1 "weir.dev/weir/gen/go/weir/error/v1"
	quotav1 "weir.dev/weir/gen/go/weir/quota/v1"
	routerv1 "weir.dev/weir/gen/go/weir/router/v1"
)

// gateway is what the check needs, however it is called.
type gateway interface {
	createKey(context.Context, *authv1.CreateKeyRequest) (*authv1.CreateKeyResponse, error)
	revokeKey(context.Context, *authv1.RevokeKeyRequest) error
	createLimit(context.Context, *quotav1.CreateLimitRequest) (*quotav1.CreateLimitResponse, error)
	deleteLimit(context.Context, *quotav1.DeleteLimitRequest) error
	limitStatus(context.Context, *quotav1.GetLimitStatusRequest) (*quotav1.GetLimitStatusResponse, error)
	// generate hands every event to visit, and returns the status of the call.
	generate(ctx context.Context, request *routerv1.GenerateRequest, visit func(*routerv1.GenerateResponse)) error
	// reason is what the gateway attached to an error.
	reason(error) errorv1.ErrorReason
}

// Revocation reaches every process within 2 s; the rest is for a busy machine.
const revocationPatience = 10 * time.Second

func main() {
	url := flag.String("url", "http://127.0.0.1:8080", "the gateway")
	key := flag.String("key", "", "a key that may make keys")
	protocol := flag.String("protocol", "connect", "connect, connect-grpc (connect-go speaking gRPC) or grpc (grpc-go)")
	model := flag.String("model", "weir-sim", "the model to run")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dial := func(key string) (gateway, error) { return open(*protocol, *url, key) }
	if err := check(ctx, dial, *key, *model); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", *protocol, err)
		os.Exit(1)
	}
}

func open(protocol, url, key string) (gateway, error) {
	switch protocol {
	case "connect", "connect-grpc":
		return openConnect(url, key, protocol == "connect-grpc")
	case "grpc":
		return openGRPC(url, key)
	default:
		return nil, fmt.Errorf("unknown protocol %q", protocol)
	}
}

func check(ctx context.Context, dial func(key string) (gateway, error), adminKey, model string) error {
	admin, err := dial(adminKey)
	if err != nil {
		return err
	}
	request := &authv1.CreateKeyRequest{
		RequestId: fmt.Sprintf("go-%d", time.Now().UnixNano()),
		Name:      "made by the Go check",
	}
	made, err := admin.createKey(ctx, request)
	if err != nil {
		return fmt.Errorf("create a key: %w", err)
	}
	again, err := admin.createKey(ctx, request)
	if err != nil {
		return fmt.Errorf("create it again: %w", err)
	}
	if again.Key.GetId() != made.Key.GetId() || again.Secret != "" {
		return errors.New("the same request_id made another key, or showed the secret twice")
	}
	caller, err := dial(made.Secret)
	if err != nil {
		return err
	}
	if err := checkLimits(ctx, admin, caller, made.Key.GetId()); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	text, err := generate(ctx, caller, model)
	if err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	fmt.Println(text)
	if err := checkRefusals(ctx, dial, caller, model); err != nil {
		return err
	}
	if err := admin.revokeKey(ctx, &authv1.RevokeKeyRequest{KeyId: made.Key.GetId()}); err != nil {
		return fmt.Errorf("revoke the key: %w", err)
	}
	return checkRevoked(ctx, caller, model)
}

// generate returns the text of a stream that is whole: started, text, one finished, one usage, and the end.
func generate(ctx context.Context, caller gateway, model string) (string, error) {
	var text string
	var started, finished, usages int
	var problem error
	err := caller.generate(ctx, generateRequest(model), func(response *routerv1.GenerateResponse) {
		switch event := response.Event.(type) {
		case *routerv1.GenerateResponse_Started:
			started++
			if text != "" {
				problem = errors.New("started after text")
			}
		case *routerv1.GenerateResponse_Delta:
			if started == 0 {
				problem = errors.New("text before started")
			}
			text += event.Delta.GetText()
		case *routerv1.GenerateResponse_Finished:
			finished++
		case *routerv1.GenerateResponse_Usage:
			usages++
			if event.Usage.PromptTokens <= 0 || event.Usage.CompletionTokens <= 0 {
				problem = fmt.Errorf("counted %v", event.Usage)
			}
		case *routerv1.GenerateResponse_Failed:
			problem = fmt.Errorf("failed: %v", event.Failed)
		}
	})
	if err != nil {
		return "", err
	}
	if problem != nil {
		return "", problem
	}
	if text == "" || started == 0 || finished != 1 || usages != 1 {
		return "", fmt.Errorf("%d started, %d bytes of text, %d finished, %d usage", started, len(text), finished, usages)
	}
	return text, nil
}

func generateRequest(model string) *routerv1.GenerateRequest {
	maxTokens := int32(16)
	return &routerv1.GenerateRequest{
		Model: model,
		Input: &routerv1.GenerateRequest_Conversation{Conversation: &routerv1.Conversation{
			Messages: []*routerv1.Message{{
				Role:  routerv1.Role_ROLE_USER,
				Parts: []*routerv1.Part{{Part: &routerv1.Part_Text{Text: "Say something."}}},
			}},
		}},
		Sampling: &routerv1.Sampling{MaxTokens: &maxTokens},
		Stream:   true,
	}
}

func checkRefusals(ctx context.Context, dial func(string) (gateway, error), caller gateway, model string) error {
	ignore := func(*routerv1.GenerateResponse) {}
	err := caller.generate(ctx, generateRequest("no-such-model"), ignore)
	if got := caller.reason(err); got != errorv1.ErrorReason_ERROR_REASON_MODEL_NOT_FOUND {
		return fmt.Errorf("an unknown model: %v (%v)", err, got)
	}
	_, err = caller.createKey(ctx, &authv1.CreateKeyRequest{RequestId: "go", Name: "not allowed"})
	if got := caller.reason(err); got != errorv1.ErrorReason_ERROR_REASON_PERMISSION_DENIED {
		return fmt.Errorf("a key without the permission: %v (%v)", err, got)
	}
	stranger, err := dial("weir_not_a_key")
	if err != nil {
		return err
	}
	err = stranger.generate(ctx, generateRequest(model), ignore)
	if got := stranger.reason(err); got != errorv1.ErrorReason_ERROR_REASON_CREDENTIAL_INVALID {
		return fmt.Errorf("a malformed key: %v (%v)", err, got)
	}
	return nil
}

func checkRevoked(ctx context.Context, caller gateway, model string) error {
	deadline := time.Now().Add(revocationPatience)
	for {
		err := caller.generate(ctx, generateRequest(model), func(*routerv1.GenerateResponse) {})
		if caller.reason(err) == errorv1.ErrorReason_ERROR_REASON_KEY_REVOKED {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("a revoked key still works after %v: %v", revocationPatience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
