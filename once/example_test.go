package once_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/once"
)

func ExampleFunc() {
	secret := diffhooktest.NewSecret() // in your server: diffhook.EnvSecrets()
	v, err := diffhook.NewVerifier(context.Background(), diffhook.Secrets{Current: secret}, nil)
	if err != nil {
		panic(err)
	}
	sendMail := func(_ context.Context, e *diffhook.Event) error {
		fmt.Println("mail:", e.MonitorID, "changed")
		return nil
	}
	store := once.NewMemory(0) // a single process; see oncesql for several
	h := v.EventHandler(once.Func(store, sendMail, &once.Options{
		Observe: func(_ context.Context, o once.Observation) { fmt.Println(o.Outcome) },
	}))

	for range 2 { // the answer to the first attempt is lost
		w := httptest.NewRecorder()
		h.ServeHTTP(w, diffhooktest.NewRequest("/hook", secret, diffhooktest.PageChanged()))
		fmt.Println(w.Code)
	}
	// Output:
	// mail: mon_abc123 changed
	// handled
	// 204
	// duplicate
	// 204
}
