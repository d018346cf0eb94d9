package routers_test

import (
	"net/http"

	"github.com/diffhook/diffhook-go"
)

var netHTTP = row{
	name: "net/http",
	event: func(h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("POST /hook", h)
		return mux
	},
	own: func(v *diffhook.Verifier, next http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("POST /hook", v.Handler(next))
		return mux
	},
}
