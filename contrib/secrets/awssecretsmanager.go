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

// AWSSecretsManager is a store in AWS Secrets Manager. The secret must exist, may be
// without a value, and must not use the rotation of Secrets Manager. Policies, KMS key
// and tags belong to the tool that creates the secret.
type AWSSecretsManager struct {
	Client *secretsmanager.Client
	ID     string // name or ARN of the secret
}

// Readers get the version with the label AWSCURRENT. A new version carries diffhookNext
// until Swap moves AWSCURRENT to the new version.
const (
	awsCurrent   = "AWSCURRENT"
	diffhookNext = "DIFFHOOKNEXT"
)

// Get returns the version with the label AWSCURRENT, and the id of the version.
func (s AWSSecretsManager) Get(ctx context.Context) ([]byte, string, error) {
	out, err := s.Client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.ID})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the secret %s: %w", s.ID, err)
	}
	if out.SecretString == nil {
		return nil, "", fmt.Errorf("read the secret %s: the value is binary; store a document of package rotation as text", s.ID)
	}
	return []byte(*out.SecretString), aws.ToString(out.VersionId), nil
}

// Swap adds a version without readers, and then moves AWSCURRENT to this version. The move
// is the compare-and-swap, and fails unless the label is still at version.
func (s AWSSecretsManager) Swap(ctx context.Context, version string, doc []byte) error {
	next, err := s.Client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId:      &s.ID,
		SecretString:  aws.String(string(doc)),
		VersionStages: []string{diffhookNext},
	})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return fmt.Errorf("add a version to the secret %s: %w; create the secret without a value", s.ID, err)
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

// explain returns the result of a move that failed with err. AWSCURRENT may be moved all
// the same: by a request whose answer was lost, or by Secrets Manager itself for the first
// version of a secret.
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
