package routers_test

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/diffhook/diffhook-go"
)

var chiRow = row{
	name: "chi",
	event: func(h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Method("POST", "/hook", h)
		return r
	},
	own: func(v *diffhook.Verifier, next http.Handler) http.Handler {
		r := chi.NewRouter()
		r.With(v.Handler).Method("POST", "/hook", next)
		return r
	},
}
