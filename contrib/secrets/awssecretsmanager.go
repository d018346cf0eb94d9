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

// AWSSecretsManager is a store in AWS Secrets Manager. The secret must exist, with
// or without a value: policies, KMS key and tags belong to the tool that creates
// the secret. Leave the rotation of Secrets Manager off.
type AWSSecretsManager struct {
	Client *secretsmanager.Client
	ID     string // name or ARN of the secret
}

// AWSCURRENT is the label of the version for readers. A new version carries
// diffhookNext until AWSCURRENT moves there.
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
		return nil, "", fmt.Errorf("read the secret %s: the value is binary; store the document as text", s.ID)
	}
	return []byte(*out.SecretString), aws.ToString(out.VersionId), nil
}

// Swap adds a version without readers, and then moves AWSCURRENT to the new
// version. The move is the compare-and-swap: it fails unless version still has the
// label.
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

// explain returns the result of a move after err. The move may be complete in spite
// of err: a response was lost, or Secrets Manager itself labelled the first version
// of a secret.
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
