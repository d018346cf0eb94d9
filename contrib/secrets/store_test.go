package secrets_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/rotation/rotationtest"
)

func TestStoresKeepTheRules(t *testing.T) {
	for name, place := range allPlaces {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, rotationtest.TestStore(t.Context(), place(t)))
		})
	}
}
