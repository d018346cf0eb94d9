package secrets_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/rotation/rotationtest"
)

func TestStoresKeepTheRules(t *testing.T) {
	for name, open := range places(t) {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, rotationtest.TestStore(t.Context(), open))
		})
	}
}
