package diffhookpgx_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookpgx"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DIFFHOOK_TEST_POSTGRES"))
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	// Among the migrations of the program:
	schema, err := diffhookpgx.Schema("example_once")
	if err != nil {
		panic(err)
	}
	if _, err := pool.Exec(ctx, "DROP TABLE IF EXISTS example_once, example_changes; CREATE TABLE example_changes (url TEXT);"+schema); err != nil {
		panic(err)
	}

	events, err := diffhookpgx.New(ctx, pool, &diffhookpgx.Options{Table: "example_once"})
	if err != nil {
		panic(err)
	}
	secret := diffhooktest.NewSecret() // in your server: diffhook.EnvSecrets()
	v, err := diffhook.NewVerifier(ctx, diffhook.Secrets{Current: secret}, nil)
	if err != nil {
		panic(err)
	}
	h := v.EventHandler(events.InTx(func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
		_, err := tx.Exec(ctx, "INSERT INTO example_changes (url) VALUES ($1)", e.URL)
		return err
	}))

	for range 3 { // the answers to two attempts are lost
		w := httptest.NewRecorder()
		h.ServeHTTP(w, diffhooktest.NewRequest("/hook", secret, diffhooktest.PageChanged()))
		fmt.Println(w.Code, http.StatusText(w.Code))
	}
	var n int
	if err := pool.QueryRow(ctx, "SELECT COUNT(*) FROM example_changes").Scan(&n); err != nil {
		panic(err)
	}
	fmt.Println("handled:", n)
	// Output:
	// 204 No Content
	// 204 No Content
	// 204 No Content
	// handled: 1
}
