package secrets

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/diffhook/diffhook-go/rotation"
)

// AWSSecretsManager is a store in AWS Secrets Manager. The secret must exist and
// may be without a value: its policies, its KMS key and its tags belong to the
// tool that creates it. The secret must not use the rotation of Secrets Manager.
type AWSSecretsManager struct {
	Client *secretsmanager.Client
	ID     string // name or ARN of the secret
}

// The label AWSCURRENT marks the version that readers get. A new version carries
// diffhookNext until AWSCURRENT moves to it.
const (
	awsCurrent   = "AWSCURRENT"
	diffhookNext = "DIFFHOOKNEXT"
)

// Get returns the version with the label AWSCURRENT, and its id.
func (s AWSSecretsManager) Get(ctx context.Context) ([]byte, string, error) {
	out, err := s.Client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.ID})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the secret %s: %w", s.ID, err)
	}
	if out.SecretString == nil {
		return nil, "", fmt.Errorf("read the secret %s: its value is binary; store a document of package rotation as text", s.ID)
	}
	return []byte(*out.SecretString), aws.ToString(out.VersionId), nil
}

// Swap adds a version that nobody reads yet, and then moves AWSCURRENT to it. The
// move is the compare-and-swap: it fails unless the label is still at version.
func (s AWSSecretsManager) Swap(ctx context.Context, version string, doc []byte) error {
	next, err := s.Client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId:      &s.ID,
		SecretString:  aws.String(string(doc)),
		VersionStages: []string{diffhookNext},
	})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return fmt.Errorf("add a version to the secret %s: %w; create the secret without a value first", s.ID, err)
	}
	if err != nil {
		return fmt.Errorf("add a version to the secret %s: %w", s.ID, err)
	}
	move := &secretsmanager.UpdateSecretVersionStageInput{
		SecretId:        &s.ID,
		VersionStage:    aws.String(awsCurrent),
		MoveToVersionId: next.VersionId,
	}
	if version != "" {
		move.RemoveFromVersionId = &version
	}
	if _, err := s.Client.UpdateSecretVersionStage(ctx, move); err != nil {
		return s.explain(ctx, version, aws.ToString(next.VersionId), err)
	}
	return nil
}

// explain returns the result of a move that failed with err. The move may have
// been carried out: by a request whose answer was lost, or, for the first version
// of a secret, by Secrets Manager itself.
func (s AWSSecretsManager) explain(ctx context.Context, version, next string, err error) error {
	_, current, getErr := s.Get(ctx)
	switch {
	case getErr != nil:
		return fmt.Errorf("move %s of the secret %s: %w", awsCurrent, s.ID, errors.Join(err, getErr))
	case current == next:
		return nil
	case current != version:
		return fmt.Errorf("move %s of the secret %s: %w", awsCurrent, s.ID, rotation.ErrConflict)
	}
	return fmt.Errorf("move %s of the secret %s: %w", awsCurrent, s.ID, err)
}
