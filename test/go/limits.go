package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	errorv1 "weir.dev/weir/gen/go/weir/error/v1"
	quotav1 "weir.dev/weir/gen/go/weir/quota/v1"
)

// checkLimits sets a limit on a key, sees it in the key's own status, and takes it away again.
func checkLimits(ctx context.Context, admin, caller gateway, keyID string) error {
	request := &quotav1.CreateLimitRequest{
		RequestId: fmt.Sprintf("go-%d", time.Now().UnixNano()),
		Spec: &quotav1.LimitSpec{
			Name:      "made by the Go check",
			Subject:   &quotav1.Subject{Kind: quotav1.SubjectKind_SUBJECT_KIND_KEY, Id: keyID},
			Dimension: quotav1.Dimension_DIMENSION_REQUESTS,
			Ceiling:   &quotav1.LimitSpec_Count{Count: 600},
			Window:    &quotav1.LimitSpec_Rate{Rate: &quotav1.Rate{Per: durationpb.New(time.Minute)}},
		},
	}
	made, err := admin.createLimit(ctx, request)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	id := made.GetLimit().GetId()
	status, err := admin.limitStatus(ctx, &quotav1.GetLimitStatusRequest{KeyId: keyID})
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	if of(status, id).GetRemaining() != 600 {
		return fmt.Errorf("the status of a new limit: %v", status)
	}
	_, err = caller.createLimit(ctx, request)
	if got := caller.reason(err); got != errorv1.ErrorReason_ERROR_REASON_PERMISSION_DENIED {
		return fmt.Errorf("a limit without the permission: %v (%v)", err, got)
	}
	if err := admin.deleteLimit(ctx, &quotav1.DeleteLimitRequest{LimitId: id}); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	status, err = admin.limitStatus(ctx, &quotav1.GetLimitStatusRequest{KeyId: keyID})
	if err != nil {
		return fmt.Errorf("status after the deletion: %w", err)
	}
	if of(status, id) != nil {
		return errors.New("a deleted limit is still there")
	}
	return nil
}

func of(status *quotav1.GetLimitStatusResponse, limitID string) *quotav1.LimitStatus {
	for _, one := range status.GetLimits() {
		if one.GetLimit().GetId() == limitID {
			return one
		}
	}
	return nil
}
